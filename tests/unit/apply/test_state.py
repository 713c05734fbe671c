"""What is said of a run that ended in the middle of a file."""

from __future__ import annotations

import pytest

from migrator.apply.outcome import Applied
from migrator.apply.state import RunState
from migrator.files import scanner
from migrator.files.migration import Directives, Migration
from migrator.watch.impact import Impact


def file(version: int, *, transaction: bool = False) -> Migration:
    script = scanner.read("SELECT 1; SELECT 2; SELECT 3;")
    directives = Directives(transaction=transaction)
    name = f"{version:03}_i.sql"
    return Migration(version, name, "i", "text", directives, script, script.statements)


HALF_DONE = {
    None: "010_i.sql was not finished",
    0: "010_i.sql is not done; the next run begins with statement 1 of 3",
    1: "010_i.sql is half done: statement 1 of 3 stays done; the next run continues at statement 2",
    2: "010_i.sql is half done: statements 1 to 2 of 3 stay done; the next run continues at "
    "statement 3",
    3: "all statements of 010_i.sql are done; if it is not recorded as applied yet, the next run "
    "records it",
}


@pytest.mark.parametrize("steps", HALF_DONE)
def test_a_no_transaction_file_is_told_by_its_statements(steps: int | None) -> None:
    state = RunState()
    state.known, state.current = True, 3
    state.group, state.steps = (file(10),), steps
    nothing = "" if steps else ", this run has applied nothing"
    assert state.unfinished == f"{HALF_DONE[steps]}; the database is at version 3{nothing}"


def test_what_was_applied_before_it_is_told_too() -> None:
    state = RunState()
    state.known = True
    state.add(Applied(9, "009_h.sql", "h", 1, Impact()), flushed=True)
    state.group, state.steps = (file(10),), 1
    assert state.unfinished.endswith(
        "; the database is at version 9, this run has applied 009_h.sql"
    )


def test_of_one_transaction_the_files_were_not_applied() -> None:
    state = RunState()
    state.group = (file(1, transaction=True), file(2, transaction=True))
    words = "001_i.sql, 002_i.sql were not applied; this run has applied nothing"
    assert state.unfinished == state.unanswered == words
