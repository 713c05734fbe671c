"""The table that a person sees while a command runs on many targets."""

from __future__ import annotations

import time

from migrator.fleet.board import Board
from migrator.fleet.result import Result, State
from migrator.process.log import show_live


def test_it_shows_what_runs_and_what_is_left() -> None:
    board = Board(100)
    board.count(Result("a", State.DONE, 0))
    board.count(Result("b", State.FAILED, 1))
    with board.row("globex"), board.row("acme"):
        show_live("001_a.sql:3: 4 s  waits for pid 7")
        first, *rows = board.table(time.monotonic() + 9, 24)
        assert first == "1 of 100 done, 2 running, 1 failed, 96 left"
        assert board.counted == "of 100 targets, 1 done, 1 failed, 2 running, 96 not begun"
        assert rows == ["  globex: 9 s", "  acme: 001_a.sql:3: 4 s  waits for pid 7"]
        show_live("")
        assert board.table(time.monotonic() + 9, 24)[2] == "  acme: 9 s"
        assert len(board.table(time.monotonic(), 3)) == 2  # a low terminal
    assert board.table(time.monotonic(), 24) == ["1 of 100 done, 0 running, 1 failed, 98 left"]


def test_the_time_that_is_left_is_told_when_it_can_be_known() -> None:
    board = Board(100)
    for number in range(50):
        board.count(Result(str(number), State.DONE, 0))
    [line] = board.table(time.monotonic() + 40, 24)
    assert line == "50 of 100 done, 0 running, 50 left, about 40 s left"
