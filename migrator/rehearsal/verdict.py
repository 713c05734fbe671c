"""Says in words what a statement blocks for other users, and how to avoid the blocking."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from migrator.server.lock_modes import MODES
from migrator.watch import impact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.rehearsal.step import Step
    from migrator.watch.impact import Lock

_CREATE_INDEX = re.compile(r"CREATE\s+(?:UNIQUE\s+)?INDEX\b", re.IGNORECASE)
_TRUNCATE = re.compile(r"TRUNCATE\b", re.IGNORECASE)
# These read rows for a check or an index; other statements read rows as an application does.
_CHECKS_ROWS = re.compile(r"(?:ALTER|CREATE)\b", re.IGNORECASE)
_REWRITTEN, _READ = "rewritten", "read"
_ADD_COLUMN = (
    r"ALTER\s+TABLE\b.*\bADD\s+(?:COLUMN\b|(?!CONSTRAINT\b|CHECK\b|UNIQUE\b|PRIMARY\b|FOREIGN\b))"
)
# For each kind of statement: a pattern, what must have happened to the table, and the advice.
_INSTEAD = (
    (_CREATE_INDEX.pattern, "", "use CREATE INDEX CONCURRENTLY in a no-transaction file"),
    (r"REINDEX\b", "", "use REINDEX CONCURRENTLY in a no-transaction file"),
    (r"REFRESH\s+MATERIALIZED\s+VIEW\b", "", "use REFRESH MATERIALIZED VIEW CONCURRENTLY"),
    (
        _ADD_COLUMN + r".*\bSTORED\b",
        _REWRITTEN,
        (
            "add an ordinary column and a trigger that fills it, then fill the old rows with a "
            "backfill"
        ),
    ),
    (
        _ADD_COLUMN + r".*\b(?:\w*SERIAL\d?|IDENTITY)\b",
        _REWRITTEN,
        (
            "add the column as an integer, create a sequence, SET DEFAULT nextval of it, fill the "
            "old rows with a backfill, then SET NOT NULL"
        ),
    ),
    (
        _ADD_COLUMN + r"(?=.*\bDEFAULT\b).*\bNOT\s+NULL\b",
        _REWRITTEN,
        (
            "add the column without NOT NULL and without the default, then SET DEFAULT, fill the "
            "old rows with a backfill, then SET NOT NULL"
        ),
    ),
    (
        _ADD_COLUMN + r".*\bDEFAULT\b",
        _REWRITTEN,
        (
            "add the column without the default, then SET DEFAULT, then fill the old rows with a "
            "backfill"
        ),
    ),
    (
        r"ALTER\s+TABLE\b.*\bTYPE\b",
        _REWRITTEN,
        "add another column, fill it with a backfill, and switch to it",
    ),
    (
        r"ALTER\s+TABLE\b.*\bSET\s+NOT\s+NULL\b",
        _READ,
        "add CHECK (... IS NOT NULL) NOT VALID, validate it in a later file, then SET NOT NULL",
    ),
    (
        r"ALTER\s+TABLE\b.*\bADD\b.*\b(?:UNIQUE|PRIMARY\s+KEY)\b",
        _READ,
        "CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT ... USING INDEX",
    ),
    (
        r"ALTER\s+TABLE\b.*\b(?:CHECK|REFERENCES)\b",
        _READ,
        "add the constraint NOT VALID, and VALIDATE CONSTRAINT in a later file",
    ),
    (r"ALTER\s+TABLE\b.*\bVALIDATE\s+CONSTRAINT\b", _READ, "VALIDATE CONSTRAINT in a later file"),
)

_SUE, _SRE, _AE = "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"
# For each kind of statement: a pattern, the lock on the first table that the statement names, and
# the lock on any other table (PostgreSQL documentation, "Explicit Locking", "ALTER TABLE").
_DOCUMENTED = (
    (r"ALTER\s+TABLE\b.*\bADD\s+COLUMN\b", _AE, _SRE),
    (r"ALTER\s+TABLE\s+\S+\s+ADD\b.*\bFOREIGN\s+KEY\b", _SRE, _SRE),
    (r"ALTER\s+TABLE\b.*\bVALIDATE\s+CONSTRAINT\b", _SUE, None),
    (r"ALTER\s+TABLE\b.*\b(?:ENABLE|DISABLE)\s+TRIGGER\b", _SRE, None),
    (r"ALTER\s+TABLE\b.*\b(?:SET\s+STATISTICS|CLUSTER\s+ON)\b", _SUE, None),
    (r"ALTER\s+TABLE\b", _AE, _SRE),
    (r"CREATE\s+(?:UNIQUE\s+)?INDEX\b", "SHARE", None),
    (r"REINDEX\b", "SHARE", None),
    (r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:CONSTRAINT\s+)?TRIGGER\b", _SRE, None),
    (r"CREATE\s+TABLE\b.*\bREFERENCES\b", _SRE, _SRE),
    (r"(?:CREATE\s+STATISTICS|COMMENT\s+ON|ANALYZE)\b", _SUE, None),
    (r"(?:DROP|TRUNCATE|CLUSTER|REFRESH)\b", _AE, _AE),
)


class Held(NamedTuple):
    """The strongest lock that the file holds on a relation, and the line that took the lock."""

    mode: str
    line: int


def sentence(
    step: Step, statement: str, lock: Lock, empty: frozenset[str], held: Mapping[str, Held]
) -> str:
    """Say what a lock means for other users of the database.

    Args:
        step: the results for the statement.
        statement: the text of the statement.
        lock: one of the locks of the statement.
        empty: the tables that have no rows in this database, as far as the server knows.
        held: the locks of earlier statements of the file, by the names of the relations.
    """
    name = lock.relation
    if lock.mode == "SHARE UPDATE EXCLUSIVE":
        return f"blocks neither reads nor writes on {name}, only DDL and VACUUM"
    if not lock.blocks:
        return f"blocks only changes of the same rows on {name}"
    effect = "" if _is_stronger(held.get(name), lock) else _effect(step, statement, name)
    what = f"; {effect} in the {step.duration_ms} ms of the statement" if effect else ""
    here = f"; {name} is empty here" if name in empty and name not in step.dropped else ""
    return (
        f"blocks {lock.blocks} on {name} for {lock.held_ms} ms, to the end of the file{what}{here}"
    )


def under_earlier_locks(step: Step, statement: str, held: Mapping[str, Held]) -> tuple[str, ...]:
    """Say what a statement does under locks that earlier statements of the file took.

    Args:
        step: the results for the statement.
        statement: the text of the statement.
        held: the locks of these statements that block others, by the names of the relations.
    """
    return tuple(
        f"{_effect(step, statement, name)}, under the lock of line {lock.line}"
        for name, lock in _under_earlier(step, statement, held).items()
    )


def _under_earlier(step: Step, statement: str, held: Mapping[str, Held]) -> dict[str, Held]:
    """Return the relations on which a statement works under an earlier lock, and that lock."""
    own = {lock.relation: lock for lock in step.locks if lock.blocks}
    names = [rewrite.relation for rewrite in step.rewritten]
    names += [*step.dropped, *step.rebuilt]
    if _CHECKS_ROWS.match(statement):
        names += step.read
    found = {}
    for name in dict.fromkeys(names):
        lock = held.get(name) or held.get(step.rebuilt.get(name, name))
        if lock and (name not in own or _is_stronger(lock, own[name])):
            found[name] = lock
    return found


def _is_stronger(held: Held | None, lock: Lock) -> bool:
    return held is not None and MODES.index(held.mode) > MODES.index(lock.mode)


def _effect(step: Step, statement: str, name: str) -> str:
    """Say what a statement does to a relation that it locks; empty for what takes no time."""
    size = next((rewrite.bytes for rewrite in step.rewritten if rewrite.relation == name), None)
    if _TRUNCATE.match(statement):
        return f"{name} is emptied"
    if size is not None:
        return f"{name} is rewritten ({impact.size(size)})"
    if name in step.dropped:
        return f"{name} is dropped"
    if name in step.rebuilt:
        return f"the index {name} is built anew"
    if _CREATE_INDEX.match(statement):
        return f"an index of {name} is built"
    return f"the rows of {name} are read" if name in step.read else ""


def instead(step: Step, statement: str, held: Mapping[str, Held]) -> str:
    """Say how to avoid the blocking; empty when there is no advice.

    Args:
        step: the results for the statement.
        statement: the text of the statement.
        held: the locks of earlier statements of the file, by the names of the relations.
    """
    blocked = {lock.relation for lock in step.locks if lock.blocks}
    blocked.update(_under_earlier(step, statement, held))
    happened = {""} if blocked else set()
    if blocked & {rewrite.relation for rewrite in step.rewritten}:
        happened.add(_REWRITTEN)
    elif blocked & set(step.read):
        happened.add(_READ)
    return next(
        (
            advice
            for pattern, needed, advice in _INSTEAD
            if needed in happened and re.match(pattern, statement, re.IGNORECASE | re.DOTALL)
        ),
        "",
    )


def documented_mode(statement: str, *, first: bool) -> str | None:
    """Return the lock that a statement takes on a table that it names, according to the manual.

    Args:
        statement: the text of the statement.
        first: whether the table is the first one that the statement names.

    Returns:
        None for a statement that only reads and writes rows, and for an unknown statement.
    """
    modes = next(
        (
            modes
            for pattern, *modes in _DOCUMENTED
            if re.match(pattern, statement, re.IGNORECASE | re.DOTALL)
        ),
        (None, None),
    )
    return modes[0] if first else modes[1]
