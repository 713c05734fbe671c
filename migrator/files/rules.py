"""Finds what is wrong with a migration by reading its text, without a database."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise, takewhile
from typing import TYPE_CHECKING

from migrator.files import scanner
from migrator.files.migration import Migration, read_directives
from migrator.files.other_tools import WAY_DOWN_WORDS, is_way_down
from migrator.files.statement import (
    not_in_transaction,
    sets_encoding,
    transaction_control,
    unwrap,
)
from migrator.process.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    _Rule = Callable[[scanner.Script, scanner.Statement], tuple[str, str] | None]


_DIRECTIVE = re.compile(r"migrator[ \t]*:", re.IGNORECASE)
_COMMENT = re.compile(r"--\s*migrator", re.IGNORECASE)  # in a file with a misplaced directive
# No rule refuses these statements. They are skipped, because a file can have a hundred thousand.
_ALWAYS_FINE = re.compile(r"(?:INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\$\{[^{}\n]*\}")
# Characters. Longer statements contain rows or a function's body, and the words that a rule looks
# for are at their beginning.
_LONGEST_COMMAND = 10_000
_ENCODING_WORDS = ("CLIENT_ENCODING", "NAMES")  # one of them is in what sets an encoding
# The template of `migrator new` contains this text. A file that contains it, and has no statement,
# is not written yet.
UNWRITTEN = "Replace this paragraph with the reason"


OUTSIDE_REPEATABLE = (
    "A repeatable is one transaction. What cannot be in one belongs into a migration of its own, "
    "NNN_description.sql, that begins with the line `-- migrator: no-transaction`."
)


def check(migration: Migration) -> list[Problem]:
    """Return everything that is wrong with a migration, whether it is applied or pending."""
    script = migration.script
    if not script.source or script.source.isspace():
        empty = Problem(
            migration.file,
            "the file is empty",
            "Write the migration, or a comment that says why there is nothing to do.",
        )
        return [empty]
    problems = list(script.problems)
    _, directive_problems = read_directives(script.header)
    problems += directive_problems
    problems += _checkpoint_number(migration)
    problems += _backfill(migration)
    problems += _misplaced_directives(script)
    if migration.directives.transaction:
        if len(migration.statements) < len(script.statements):
            problems += unwrap(script)[1]
        rule = _outside_repeatable if migration.is_repeatable else _outside_transaction
        problems += _refusals(migration, rule, _copies_out)
    else:
        problems += _refusals(migration, _transactions, _nameless_indexes, _copies_out)
    return [located(migration, problem) for problem in sorted(problems)]


def obstacles(migration: Migration) -> list[Problem]:
    """Return the problems of a migration that matter only as long as it is pending."""
    script = migration.script
    problems = sorted(
        (
            *_ways_down(script),
            *_unwritten(script),
            *_other_encodings(script),
            *_placeholders(script),
        )
    )
    if not migration.directives.transaction and len(migration.statements) > 1:
        problems = sorted([*problems, *_refusals(migration, _temporary)])
    return [located(migration, problem) for problem in problems]


def located(migration: Migration, problem: scanner.Fault) -> Problem:
    """Return a problem of the scanner with its file, its line and its column."""
    from migrator.files.excerpt import excerpt  # noqa: PLC0415 - only a problem needs it

    line, column = migration.place(problem.offset)
    source = excerpt(migration.script.source, problem.offset, around=0)
    return Problem(migration.file, problem.message, problem.hint, line, column, source)


def _checkpoint_number(migration: Migration) -> Iterator[scanner.Fault]:
    """Yield the problem of a checkpoint whose own number is not above those it stands for."""
    if migration.directives.checkpoint:
        from migrator.files.checkpoint import number_fault  # noqa: PLC0415 - few files are one

        if fault := number_fault(migration.directives.checkpoint, migration.version):
            yield fault


def _backfill(migration: Migration) -> list[scanner.Fault]:
    """Return the problems of the statement of a backfill."""
    directive = migration.directives.backfill
    if directive is None or migration.is_repeatable:  # a repeatable is refused for any directive
        return []
    from migrator.files.backfill import faults  # noqa: PLC0415 - few files are one

    return faults(migration.script, migration.statements, directive)


def _misplaced_directives(script: scanner.Script) -> list[scanner.Fault]:
    # To search the whole file is quicker than to look between each two of many statements.
    if not script.statements or not _COMMENT.search(script.source, script.statements[0].end):
        return []
    return [
        scanner.Fault(
            offset,
            "a directive below the first statement has no effect",
            "Move it into the comments at the top of the file.",
        )
        for start, end in _gaps(script)
        if _COMMENT.search(script.source, start, end)
        for offset, comment in scanner.comments(script.source, start, end)
        if _DIRECTIVE.match(comment) and _begins_line(script.source, offset)
    ]


def _ways_down(script: scanner.Script) -> Iterator[scanner.Fault]:
    """Yield each comment of another tool that has undoing statements below it."""
    source, statements = script.source, script.statements
    if not statements or "--" not in source:
        return
    if not scanner.mentions(source, 0, len(source), WAY_DOWN_WORDS):
        return
    *gaps, _ = [(0, statements[0].start), *_gaps(script)]
    for start, end in gaps:
        if end - start < len("--//@undo"):
            continue
        for offset, comment in scanner.comments(source, start, end):
            if is_way_down(comment) and _begins_line(source, offset):
                yield scanner.Fault(
                    offset,
                    "the statements below this line undo the migration, and would be run too",
                    "Delete this line and the undoing statements below it; to undo a migration "
                    "that is applied, write a new one.",
                )


def _begins_line(source: str, offset: int) -> bool:
    line = max(source.rfind("\n", 0, offset), source.rfind("\r", 0, offset)) + 1
    return not source[line:offset].strip()


def _other_encodings(script: scanner.Script) -> Iterator[scanner.Fault]:
    """Yield each statement because of which the server would misread text that follows it."""
    source = script.source
    if source.isascii() or not scanner.mentions(source, 0, len(source), _ENCODING_WORDS):
        return
    encoding, offset = "", 0
    for statement in script.statements:
        start, end = statement.start, statement.end
        setting = sets_encoding(source[start : min(end, start + _LONGEST_COMMAND)])
        if setting is not None:
            encoding, offset = setting, start
        elif encoding and not script.is_ascii(statement):
            yield scanner.Fault(
                offset,
                f"the server would read the text below as {encoding}, and the file is UTF-8",
                "Remove this statement: the server knows that migrations are sent as UTF-8.",
            )
            encoding = ""


def _unwritten(script: scanner.Script) -> Iterator[scanner.Fault]:
    """Yield the comment of the template that asks for the migration, if there is no statement."""
    if script.statements:
        return
    for offset, comment in script.header:
        if comment.startswith(UNWRITTEN):
            yield scanner.Fault(
                offset,
                "the file is still the template of `migrator new`: it has no statement",
                "Write the migration; or, if there is nothing to do, replace this comment with "
                "one that says why.",
            )


def _placeholders(script: scanner.Script) -> Iterator[scanner.Fault]:
    """Yield each `${NAME}` that another program should have replaced with a value.

    In a string it can be meant as it is, for example in the text of a mail or of a function. A
    string that is nothing else is a value that was left out, except in rows.
    """
    source = script.source
    if "${" not in source:
        return
    for statement in script.statements:
        if source.find("${", statement.start, statement.end) < 0:
            continue
        has_rows = bool(_ALWAYS_FINE.match(source, statement.start, statement.end))
        for start, after in scanner.token_spans(source, statement.start, statement.end):
            if name := _placeholder(source, start, after, has_rows=has_rows):
                yield scanner.Fault(
                    start,
                    f"{name} is a placeholder that nothing has replaced",
                    "Write the value into the SQL; but set a password outside of the migrations.",
                )


def _placeholder(source: str, start: int, after: int, *, has_rows: bool) -> str:
    """Return the placeholder that a token is, has in its name, or ends at; otherwise nothing."""
    if outside := _PLACEHOLDER.match(source, after - 1):
        return outside[0]
    inside = _PLACEHOLDER.search(source, start, after)
    if inside is None or source[start] not in "'\"":
        return ""
    is_name = source[start] == '"'
    is_value = inside.span() == (start + 1, after - 1)
    return inside[0] if is_name or (is_value and not has_rows) else ""


def _gaps(script: scanner.Script) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each part of a file that is between or after the statements.

    Text that looks like a comment can also be inside a statement, such as in a function's body, or
    be a row of a COPY.
    """
    ends = accumulate(
        (
            statement.copy_data[1] if statement.copy_data else statement.end
            for statement in script.statements
        ),
        max,
    )
    starts = [statement.start for statement in script.statements[1:]]
    return zip(ends, [*starts, len(script.source)], strict=False)


def _refusals(migration: Migration, *rules: _Rule) -> list[scanner.Fault]:
    """Return a problem for each statement that a rule refuses.

    Args:
        migration: the migration.
        rules: each returns a message and a hint for a statement that it refuses, None for others.
    """
    script = migration.script
    is_all = len(migration.statements) == len(script.statements)
    return [
        scanner.Fault(statement.start, *refusal)
        for statement in (script.others if is_all else migration.statements)
        if not _ALWAYS_FINE.match(script.source, statement.start, statement.end)
        for rule in rules
        if (refusal := rule(script, statement))
    ]


def _outside_transaction(
    script: scanner.Script, statement: scanner.Statement
) -> tuple[str, str] | None:
    end = min(statement.end, statement.start + _LONGEST_COMMAND)
    command = not_in_transaction(script.source[statement.start : end])
    if command is None:
        return None
    hint = "Put it in a file of its own that begins with the line `-- migrator: no-transaction`."
    if command == "CREATE DATABASE":
        hint = (
            "Remove it: a migration runs in the one database that it is applied to, which exists. "
            f"If another database is to be created: {hint[0].lower()}{hint[1:]}"
        )
    return f"{command} cannot run in a transaction", hint


def _outside_repeatable(
    script: scanner.Script, statement: scanner.Statement
) -> tuple[str, str] | None:
    refusal = _outside_transaction(script, statement)
    if refusal is None:
        return None
    return refusal[0], OUTSIDE_REPEATABLE


def _transactions(script: scanner.Script, statement: scanner.Statement) -> tuple[str, str] | None:
    text = script.text(statement)
    command = transaction_control(text)
    if command:
        return (
            f"{command} in a no-transaction file",
            "Remove it: every statement of such a file is a transaction of its own.",
        )
    if not_in_transaction(text) == "DISCARD ALL":
        return (
            "DISCARD ALL releases the lock that keeps other migrators out",
            "Remove it: the next file has a fresh session anyway; or use DISCARD TEMP or PLANS.",
        )
    return None


def _nameless_indexes(
    script: scanner.Script, statement: scanner.Statement
) -> tuple[str, str] | None:
    words = [word for word in scanner.words(script.text(statement)) if word != "UNIQUE"]
    if words[:4] != ["CREATE", "INDEX", "CONCURRENTLY", "ON"]:
        return None
    return (
        "CREATE INDEX CONCURRENTLY without a name for the index",
        "Give the index a name, so that a failed build can be found again.",
    )


_TEMPORARY = frozenset(("TEMP", "TEMPORARY", "PG_TEMP"))


def _temporary(script: scanner.Script, statement: scanner.Statement) -> tuple[str, str] | None:
    """Refuse what the server drops with the connection: no later run can go on behind it."""
    words = scanner.words(script.text(statement), 200)
    what = {"PREPARE": "a prepared statement", "DECLARE": "a cursor"}.get("".join(words[:1]))
    if _makes_temporary(words):
        what = "a temporary table"
    if what is None:
        return None
    message = (
        f"{what} in a no-transaction file of several statements: after a lost connection it is "
        "gone, and no run could go on behind it"
    )
    hint = (
        "Do all that needs it in one DO block; or use an ordinary table and drop it at the end of "
        "the file; or, where the file can be one transaction, remove the directive."
    )
    return message, hint


def _makes_temporary(words: Sequence[str]) -> bool:
    """Return whether a statement makes a temporary table, view or function.

    Args:
        words: the first words of the statement.
    """
    if words[:1] == ("CREATE",):
        kind = [word for word in words[1:5] if word not in ("OR", "REPLACE", "GLOBAL", "LOCAL")]
        head = takewhile(lambda word: word != "(", words[:10])
        return not _TEMPORARY.isdisjoint(kind[:1]) or ("PG_TEMP", ".") in pairwise(head)
    return words[:1] in (("SELECT",), ("WITH",)) and any(
        word == "INTO" and following in _TEMPORARY for word, following in pairwise(words)
    )


def _copies_out(script: scanner.Script, statement: scanner.Statement) -> tuple[str, str] | None:
    if script.source[statement.start : statement.start + 4].upper() != "COPY":
        return None
    text = script.text(statement)
    if not scanner.copies_through_client(scanner.words(text, len(text)), "TO"):
        return None
    return (
        "COPY … TO STDOUT: no program reads the rows",
        "Remove it, or copy into a table or to a file on the server.",
    )
