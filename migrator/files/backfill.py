"""Reads the directives of a backfill, and the variables in its statement.

A backfill is one statement that is run for one range of a table's key after another. The ends of a
range stand in the statement as psql's variables `:first` and `:last`, so `psql -v first=1 -v
last=1000 -f` runs the file, too. Nothing else of psql's variables is read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.files.relations import relations
from migrator.files.scanner import Fault
from migrator.process.settings import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migrator.files.scanner import Script, Statement

KEY = "backfill"
BATCH_TIME, PAUSE, MAX_LAG = "batch-time", "pause", "max-lag"
EXAMPLE = "`-- migrator: backfill = typing_sessions.id`"
FORM = (
    "Write one UPDATE, DELETE, INSERT or MERGE, with WHERE … id BETWEEN :first AND :last; or, for "
    "a key that is no integer, BETWEEN :'first' AND :'last'."
)
_DML = ("UPDATE", "DELETE", "INSERT", "MERGE")
_VARIABLES = ("first", "last")
_SHORTEST_BATCH = 0.01  # seconds; less is spent on beginning and ending a range
_AFTER_SET = ("FROM", "WHERE", "WHEN", "RETURNING")
_NAME = re.compile(r'(?:[uU]&)?"(?:[^"]|"")+"|[^\W\d][\w$]*')
_ESCAPED = re.compile(r"\\(?:([0-9A-Fa-f]{4})|\+([0-9A-Fa-f]{6}))")


class Backfill(NamedTuple):
    """What the directives of a backfill say.

    Attributes:
        table: the table whose key is divided, as SQL writes it, perhaps with its schema.
        column: the key, as the server knows it; empty for the primary key.
        batch_time: for how many seconds the rows of one range are to be locked.
        pause: how many seconds there are between two ranges.
        max_lag: how many seconds a standby may be behind; 0 for any time.
        offset: the place of the directive in the text of the file.
    """

    table: str
    column: str
    batch_time: float = 0.1
    pause: float = 0.01
    max_lag: float = 10.0
    offset: int = 0


class Variable(NamedTuple):
    """A place in a statement where an end of the range stands.

    Attributes:
        name: `first` or `last`.
        start: the offset of the colon in the source.
        end: the offset after the variable.
        quoted: whether it is written as `:'first'`, for which psql puts in a string.
    """

    name: str
    start: int
    end: int
    quoted: bool


def read_header(
    directives: Sequence[tuple[int, str, str]],
) -> tuple[Backfill | None, list[Fault]]:
    """Read the directives of a backfill.

    Args:
        directives: those of a backfill: offset, name and value of each.

    Returns:
        The backfill, and what is wrong with the directives; None when something is.
    """
    faults: list[Fault] = []
    times: dict[str, float] = {}
    key: Backfill | None = None
    seen: set[str] = set()
    for offset, name, value in directives:
        if name in seen:
            faults.append(Fault(offset, f"directive {name} is there twice", "Remove one of them."))
        seen.add(name)
        if name == KEY:
            key = _read_key(offset, value)
            if key is None:
                message = "directive backfill: expected a table and its key"
                hint = (
                    f"Write for example {EXAMPLE}; or only the table, for its primary key; with a "
                    "schema: app.typing_sessions.id."
                )
                faults.append(Fault(offset, message, hint))
        else:
            try:
                times[name] = _time(name, value)
            except ValueError as error:
                faults.append(Fault(offset, f"directive {name}: {error}", ""))
    if KEY not in seen:
        offset, name, _ = directives[0]
        message = f"directive {name} without the directive backfill"
        faults.append(Fault(offset, message, f"Write {EXAMPLE} above it, or remove it."))
    if key is None or faults:
        return None, faults
    return key._replace(
        batch_time=times.get(BATCH_TIME, key.batch_time),
        pause=times.get(PAUSE, key.pause),
        max_lag=times.get(MAX_LAG, key.max_lag),
    ), []


def _time(name: str, value: str) -> float:
    seconds = duration(value)
    if name == BATCH_TIME and seconds < _SHORTEST_BATCH:
        raise ValueError("expected at least 10ms")
    return seconds


def _read_key(offset: int, value: str) -> Backfill | None:
    """Read `table`, `table.column` or `schema.table.column`; None for anything else."""
    names: list[str] = []
    at = 0
    while (match := _NAME.match(value, at)) is not None:
        names.append(match[0])
        at = match.end()
        if at == len(value):
            break
        if value[at] != ".":
            return None
        at += 1
    if at < len(value) or not 1 <= len(names) <= 3 or value.endswith("."):  # noqa: PLR2004
        return None
    *table, column = names if len(names) > 1 else (names[0], "")
    return Backfill(".".join(table), _folded(column), offset=offset)


def _folded(name: str) -> str:
    """Return a name of SQL as the server knows it."""
    if name[:3].upper() == 'U&"':
        inside = name[3:-1].replace('""', '"')
        return _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), inside)
    return scanner.folded(name)


def variables(source: str, statement: Statement) -> list[Variable]:
    """Return the places in a statement where an end of the range stands, in their order.

    As psql does, this leaves strings, quoted names, comments and `::` alone.

    Args:
        source: the text of the file.
        statement: the statement.
    """
    return [*_variables(source, statement)]


def _variables(source: str, statement: Statement) -> Iterator[Variable]:
    colon = before = -1  # where the part ended that is a colon, and where the one before it did
    for start, end in scanner.token_spans(source, statement.start, statement.end):
        part = source[start:end]
        if colon == start:
            name = part[1:-1] if part.startswith("'") else part
            if name in _VARIABLES:
                yield Variable(name, start - 1, end, part.startswith("'"))
        # `::` is a cast for psql, too.
        colon = before = end if part == ":" and before != start else -1


def faults(script: Script, statements: Sequence[Statement], backfill: Backfill) -> list[Fault]:
    """Return what is wrong with the statement of a backfill, as far as its text says.

    Args:
        script: the text of the file.
        statements: the statements that are run.
        backfill: what the directives say.
    """
    if len(statements) != 1:
        count = f"{len(statements)} statements" if statements else "no statement"
        at = statements[1].start if statements else backfill.offset
        return [Fault(at, f"a backfill is one statement, and the file has {count}", FORM)]
    statement = statements[0]
    source = script.source
    words = scanner.words(script.text(statement), 1)
    changes = words[0] in _DML or (
        words[0] == "WITH" and scanner.mentions(source, statement.start, statement.end, _DML)
    )
    if not changes or statement.copy_data:
        return [Fault(statement.start, f"a backfill cannot be this statement: {words[0]}", FORM)]
    found = variables(source, statement)
    for name in _VARIABLES:
        if name not in {variable.name for variable in found}:
            message = f"the statement of the backfill has no :{name}"
            return [Fault(statement.start, message, FORM)]
    if len({variable.quoted for variable in found}) > 1:
        odd = next(variable for variable in found if variable.quoted != found[0].quoted)
        message = "some variables are in quotes, and others are not"
        hint = "Write :first and :last for an integer, and :'first' and :'last' for any other key."
        return [Fault(odd.start, message, hint)]
    return assigns_key(script, statement, [backfill.table], backfill.column)


def assigns_key(
    script: Script, statement: Statement, tables: Sequence[str], column: str
) -> list[Fault]:
    """Return the fault of a statement that changes the key of its own ranges.

    Args:
        script: the text of the file.
        statement: the statement.
        tables: the table of the key, and views that change its rows, as SQL writes them.
        column: the key, as the server knows it; empty when it is not known.
    """
    source = script.source
    names = {_last_name(table) for table in tables}
    changed = {_last_name(relation) for relation in changed_relations(source, statement)}
    if names.isdisjoint(changed):
        return []
    for name, offset in _assigned(source, statement):
        if column and _folded(name) == column:
            return [
                Fault(
                    offset,
                    f"the statement changes {column}, by which the rows are divided into ranges",
                    "A row could get into a range that is still to come. Divide by another key, in "
                    "the directive; or change this column in a migration of its own.",
                )
            ]
    return []


def changed_relations(source: str, statement: Statement) -> list[str]:
    """Return the relations that a statement changes, also in a WITH, as they are written."""
    found = [relations(source, statement.start, statement.end).changed]
    before = ""
    for start, end in scanner.token_spans(source, statement.start, statement.end):
        word = source[start:end].upper()
        if word in ("UPDATE", "INSERT", "MERGE") and before == "(":
            found.append(relations(source, start, statement.end).changed)
        before = word
    return [relation for relation in found if relation]


def _last_name(relation: str) -> str:
    """Return the name of a relation without its schema, as the server knows it."""
    parts = [*scanner.tokens_between(relation, 0, len(relation))]
    return _folded(parts[-1]) if parts else ""


def _assigned(source: str, statement: Statement) -> Iterator[tuple[str, int]]:
    """Yield each column that a SET of the statement assigns: the name and its offset.

    `SET a = 1, (b, c) = (1, 2), d[1] = 2, e.f = 3` assigns a, b, c, d and e.
    """
    depth, base = 0, -1  # how many parentheses are open, and how many were at the SET
    expected = listed = False  # whether a column comes now, or a list of columns in parentheses
    for start, end in scanner.token_spans(source, statement.start, statement.end):
        part = source[start:end]
        word = part.upper()
        depth += {"(": 1, ")": -1}.get(part, 0)
        if word == "SET":
            base, expected, listed = depth, True, False
        elif base < 0:
            continue
        elif listed:
            listed = part != ")"
            if _NAME.fullmatch(part):
                yield part, start
        elif expected:
            expected, listed = False, part == "("
            if _NAME.fullmatch(part):
                yield part, start
        elif depth < base or (depth == base and word in _AFTER_SET):
            base = -1
        elif part == "," and depth == base:
            expected = True
