"""Log lines are JSON with their keys in order, or readable; no password is in either."""

from __future__ import annotations

import io
import json
import os
import sys
import termios
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.process.log import _redactor, configure_log, hide, is_console, redact, show_live
from migrator.process.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "p@:/%#?w'\"\\Q7"


@pytest.fixture(autouse=True)
def nothing_hidden() -> Iterator[None]:
    _redactor.secrets.clear()
    yield
    _redactor.secrets.clear()
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestJson:
    def test_is_one_object_a_line_with_the_common_keys_first(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure_log(LogSettings("json", "info"))
        structlog.get_logger().info("applied", version=1, file="001_größe.sql", odd=("a\nb", None))
        structlog.get_logger().warning("trying again")
        first, second = capsys.readouterr().err.splitlines()
        assert list(json.loads(first)) == ["timestamp", "level", "event", "version", "file", "odd"]
        assert json.loads(first)["odd"] == ["a\nb", None]
        assert "001_größe.sql" in first
        assert json.loads(second)["level"] == "warning"
        written = datetime.fromisoformat(json.loads(first)["timestamp"])
        assert written.utcoffset() is not None
        assert abs((datetime.now(written.tzinfo) - written).total_seconds()) < 60

    @pytest.mark.parametrize(
        ("level", "shown"),
        [
            ("debug", ["debug", "info", "warning", "error"]),
            ("info", ["info", "warning", "error"]),
            ("warning", ["warning", "error"]),
            ("error", ["error"]),
        ],
    )
    def test_of_the_level_that_is_set_and_above(
        self, capsys: pytest.CaptureFixture[str], level: str, shown: list[str]
    ) -> None:
        configure_log(LogSettings("json", level))
        for name in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger(), name)("happened")
        lines = capsys.readouterr().err.splitlines()
        assert [json.loads(line)["level"] for line in lines] == shown


class TestConsole:
    def test_is_readable(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_log(LogSettings("console", "info"))
        structlog.get_logger().info("applied", version=1, file="001_a.sql")
        line = capsys.readouterr().err
        assert "applied" in line
        assert "version=1" in line
        assert "file=001_a.sql" in line
        assert "\x1b" not in line

    @pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
    def test_is_coloured_on_a_terminal(
        self, monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
    ) -> None:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("NO_COLOR", no_color)
        configure_log(LogSettings("auto", "info"))
        structlog.get_logger().info("applied")
        assert ("\x1b[" in terminal.getvalue()) == coloured

    @pytest.mark.parametrize(
        ("format_", "terminal", "console"),
        [
            ("auto", True, True),
            ("auto", False, False),
            ("console", False, True),
            ("json", True, False),
        ],
    )
    def test_is_for_a_terminal_or_for_who_asks(
        self, monkeypatch: pytest.MonkeyPatch, format_: str, terminal: bool, console: bool
    ) -> None:
        monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
        assert is_console(LogSettings(format_, "info")) == console


class TestLiveLine:
    """Another session's query may be in it."""

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("short", "short"),
            ("x" * 79, "x" * 79),
            ("x" * 80, "x" * 78 + "…"),
            ("語" * 60, "語" * 39 + "…"),
            ("a\tb\x1b[2Jc", "a    b<U+001B>[2Jc"),
            ("\t" * 30, " " * 78 + "…"),
        ],
        ids=["short", "just fits", "long", "wide", "control characters", "tabs"],
    )
    def test_is_one_line_of_the_terminal(
        self, monkeypatch: pytest.MonkeyPatch, text: str, shown: str
    ) -> None:
        terminal = Terminal()  # which does not tell its width
        monkeypatch.setattr(sys, "stderr", terminal)
        show_live(text)
        assert terminal.getvalue() == f"\r\x1b[K{shown}"
        show_live("")

    def test_is_as_wide_as_the_terminal_of_the_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 20))
        with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            show_live("x" * 80)
            assert os.read(ours, 100).decode() == f"\r\x1b[K{'x' * 18}…"
            show_live("")
        os.close(ours)


class TestPasswords:
    def test_are_replaced_in_whatever_is_logged(self, capsys: pytest.CaptureFixture[str]) -> None:
        hide(SECRET)
        configure_log(LogSettings("json", "info"))
        structlog.get_logger().error(
            "refused",
            message=f"no {SECRET} here, nor {SECRET}",
            problems=[{"file": SECRET, "line": 1}, (SECRET, [SECRET])],
            left_s=1.5,
        )
        [line] = capsys.readouterr().err.splitlines()
        assert json.dumps(SECRET)[1:-1] not in line
        logged = json.loads(line)
        assert logged["message"] == "no [password] here, nor [password]"
        assert logged["problems"] == [
            {"file": "[password]", "line": 1},
            ["[password]", ["[password]"]],
        ]
        assert logged["left_s"] == 1.5

    @settings(deadline=None)
    @given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=4), st.text("abc"))
    def test_are_replaced_also_where_one_is_a_part_of_another(
        self, secrets: list[str], text: str
    ) -> None:
        _redactor.secrets.clear()
        random = [f"{secret}{'x7#' * 3}" for secret in secrets]
        for secret in random:
            hide(secret)
        rest = redact(f"{text}{'x7#' * 3}{text}").replace("[password]", "|")
        assert not any(secret in rest for secret in random)

    def test_that_begin_alike_leave_no_end_behind(self) -> None:
        for secret in ("first", "first-and-more", "first-and"):
            hide(secret)
        assert redact("x first-and-more y first z") == "x [password] y [password] z"

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_that_are_an_ordinary_word_leave_names_and_our_sentences_alone(
        self, capsys: pytest.CaptureFixture[str], form: str
    ) -> None:
        for secret in ("users", "not", "applied"):
            hide(secret)
        configure_log(LogSettings(form, "info"))
        structlog.get_logger().info(
            "applied", file="001_add_users.sql", description="users", reason="it was not started"
        )
        line = capsys.readouterr().err
        assert "001_add_users.sql" in line
        assert "it was not started" in line
        assert "[password]" not in line

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_that_are_an_ordinary_word_are_replaced_in_what_the_server_says(
        self, capsys: pytest.CaptureFixture[str], form: str
    ) -> None:
        hide("users")
        configure_log(LogSettings(form, "info"))
        structlog.get_logger().info("server notice", message="it is users, not all_users")
        assert "it is [password], not all_users" in capsys.readouterr().err

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_that_are_empty_hide_nothing(self, nothing: str | None) -> None:
        hide(nothing)
        assert redact("as it is") == "as it is"
