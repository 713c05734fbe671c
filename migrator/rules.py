"""What a migration's text says of itself, and what it may not do."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator import sql
from migrator.settings import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    _Rule = Callable[[sql.Script, sql.Statement], tuple[str, str] | None]

_DIRECTIVE = re.compile(r"migrator\s*:\s*(.*)", re.IGNORECASE)
_DIRECTIVE_LINE = re.compile(r"^[ \t]*(--[ \t]*migrator[ \t]*:)", re.IGNORECASE | re.MULTILINE)
_LONGEST_COMMAND = 10_000  # characters; what is longer is rows or a function's body


@dataclass(frozen=True, slots=True)
class Directives:
    """How one file wants to be run.

    Attributes:
        transaction: whether it runs in a transaction.
        lock_timeout: seconds; None: as set for the run.
        statement_timeout: seconds; None: as set for the run.
    """

    transaction: bool = True
    lock_timeout: float | None = None
    statement_timeout: float | None = None


class Text(NamedTuple):
    """A migration's text, read.

    Attributes:
        script: split into statements.
        description: its first comment line; empty when it has none.
        directives: how it wants to be run.
        statements: what is run: those of the script without a BEGIN and COMMIT around the file.
        problems: everything that is wrong with it, in the order of the text.
    """

    script: sql.Script
    description: str
    directives: Directives
    statements: tuple[sql.Statement, ...]
    problems: tuple[sql.Problem, ...]


def read(source: str) -> Text:
    """Read a migration's text, and check it as far as the text alone can tell."""
    script = sql.read(source)
    directives, found = _directives(script.header)
    found += [*script.problems, *_misplaced_directives(script)]
    statements = script.statements
    if directives.transaction:
        statements, problems = sql.unwrap(script)
        found += problems
        found += _refusals(script, statements, _outside_transaction)
    else:
        found += _refusals(script, statements, _transactions)
        found += _refusals(script, statements, _nameless_indexes)
    found += _refusals(script, statements, _copies_out)
    return Text(script, _description(script.header), directives, statements, tuple(sorted(found)))


def _description(header: Iterable[tuple[int, str]]) -> str:
    for _, text in header:
        words = text.strip("-=*# \t")
        if words and not _DIRECTIVE.match(text):
            return words
    return ""


def _directives(header: Iterable[tuple[int, str]]) -> tuple[Directives, list[sql.Problem]]:
    transaction = True
    timeouts: dict[str, float] = {}
    problems: list[sql.Problem] = []
    for offset, text in header:
        match = _DIRECTIVE.fullmatch(text.strip())
        if match is None:
            continue
        name, separator, value = (part.strip() for part in match[1].partition("="))
        if name == "no-transaction" and not separator:
            transaction = False
        elif name in ("lock-timeout", "statement-timeout"):
            try:
                timeouts[name] = duration(value)
            except ValueError as error:
                problems.append(sql.Problem(offset, f"directive {name}: {error}", ""))
        else:
            problems.append(
                sql.Problem(
                    offset,
                    f"unknown directive {match[1].strip()!r}",
                    "Known are no-transaction, lock-timeout=3s and statement-timeout=10min.",
                )
            )
    directives = Directives(
        transaction, timeouts.get("lock-timeout"), timeouts.get("statement-timeout")
    )
    return directives, problems


def _misplaced_directives(script: sql.Script) -> list[sql.Problem]:
    if not script.statements:
        return []
    return [
        sql.Problem(
            match.start(1),
            "a directive below the first statement has no effect",
            "Move it into the comments at the top of the file.",
        )
        for match in _DIRECTIVE_LINE.finditer(script.source, script.statements[0].start)
        if not _is_inside(script.statements, match.start(1))
    ]


def _is_inside(statements: Sequence[sql.Statement], offset: int) -> bool:
    """Tell whether a comment is part of a statement, such as a function's body."""
    following = bisect_right(statements, offset, key=lambda statement: statement.start)
    return following > 0 and offset < statements[following - 1].end


def _refusals(
    script: sql.Script, statements: Sequence[sql.Statement], rule: _Rule
) -> list[sql.Problem]:
    """Return a problem for each statement that a rule has words for: what is wrong, and a hint."""
    return [
        sql.Problem(statement.start, *found)
        for statement in statements
        if (found := rule(script, statement))
    ]


def _outside_transaction(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    end = min(statement.end, statement.start + _LONGEST_COMMAND)
    command = sql.not_in_transaction(script.source[statement.start : end])
    if command is None:
        return None
    return (
        f"{command} cannot run in a transaction",
        "Put it in a file of its own that begins with the line `-- migrator: no-transaction`.",
    )


def _transactions(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    text = script.text(statement)
    command = sql.transaction_control(text)
    if command:
        return (
            f"{command} in a no-transaction file",
            "Remove it: every statement of such a file is a transaction of its own.",
        )
    if sql.not_in_transaction(text) == "DISCARD ALL":
        return (
            "DISCARD ALL gives away the lock that keeps other migrators out",
            "Remove it: the next file has a fresh session anyway; or name what to discard.",
        )
    return None


def _nameless_indexes(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    words = [word for word in sql.words(script.text(statement)) if word != "UNIQUE"]
    if words[:4] != ["CREATE", "INDEX", "CONCURRENTLY", "ON"]:
        return None
    return (
        "CREATE INDEX CONCURRENTLY without a name for the index",
        "Give the index a name, so that a failed build can be found again.",
    )


def _copies_out(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    if script.source[statement.start : statement.start + 4].upper() != "COPY":
        return None
    text = script.text(statement)
    if not _writes_rows(sql.words(text, len(text))):
        return None
    return (
        "COPY … TO STDOUT: nobody reads the rows",
        "Remove it, or copy into a table or to a file on the server.",
    )


def _writes_rows(words: Sequence[str]) -> bool:
    """Tell COPY … TO STDOUT, which may be spelled TO STDIN, from every other COPY."""
    depth, previous = 0, ""
    for word in words:
        if not depth and previous == "TO":
            return word in ("STDIN", "STDOUT")
        depth += {"(": 1, ")": -1}.get(word, 0)
        previous = word
    return False
