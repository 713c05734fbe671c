"""Says in words what a statement blocks for other users, and how to avoid the blocking."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrator.watch import impact

if TYPE_CHECKING:
    from migrator.rehearsal.step import Step
    from migrator.watch.impact import Lock

_CREATE_INDEX = re.compile(r"CREATE\s+(?:UNIQUE\s+)?INDEX\b", re.IGNORECASE)
_TRUNCATE = re.compile(r"TRUNCATE\b", re.IGNORECASE)
_REWRITTEN, _READ = "rewritten", "read"
# For each kind of statement: a pattern, what must have happened to the table, and the advice.
_INSTEAD = (
    (_CREATE_INDEX.pattern, "", "use CREATE INDEX CONCURRENTLY in a no-transaction file"),
    (r"REINDEX\b", "", "use REINDEX CONCURRENTLY in a no-transaction file"),
    (r"REFRESH\s+MATERIALIZED\s+VIEW\b", "", "use REFRESH MATERIALIZED VIEW CONCURRENTLY"),
    (
        r"ALTER\s+TABLE\b.*\bADD\s+(?:COLUMN\b|(?!CONSTRAINT\b|CHECK\b|UNIQUE\b|PRIMARY\b|FOREIGN\b))",
        _REWRITTEN,
        "add the column without the default, fill it in batches, then SET DEFAULT",
    ),
    (
        r"ALTER\s+TABLE\b.*\bTYPE\b",
        _REWRITTEN,
        "add another column, fill it in batches, and switch to it",
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
    (r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:CONSTRAINT\s+)?TRIGGER\b", _SRE, None),
    (r"CREATE\s+TABLE\b.*\bREFERENCES\b", _SRE, _SRE),
    (r"(?:CREATE\s+STATISTICS|COMMENT\s+ON|ANALYZE)\b", _SUE, None),
    (r"(?:DROP|TRUNCATE|CLUSTER|REFRESH)\b", _AE, _AE),
)


def sentence(step: Step, statement: str, lock: Lock, empty: frozenset[str]) -> str:
    """Say what a lock means for other users of the database.

    Args:
        step: the results for the statement.
        statement: the text of the statement.
        lock: one of the locks of the statement.
        empty: the tables that have no rows in this database, as far as the server knows.
    """
    name = lock.relation
    if lock.mode == "SHARE UPDATE EXCLUSIVE":
        return f"blocks neither reads nor writes on {name}, only DDL and VACUUM"
    if not lock.blocks:
        return f"blocks only changes of the same rows on {name}"
    size = next((rewrite.bytes for rewrite in step.rewritten if rewrite.relation == name), None)
    if _TRUNCATE.match(statement):
        why = ", and empties it"
    elif size is not None:
        why = f", while it is rewritten ({impact.size(size)})"
    elif name in step.dropped:
        why = ", and drops it"
    elif _CREATE_INDEX.match(statement):
        why = ", while the index is built"
    elif name in step.read:
        why = f", while its rows are read ({step.read[name]})"
    else:
        why = ""
    here = f"; {name} is empty here" if name in empty and name not in step.dropped else ""
    return f"blocks {lock.blocks} on {name} for {lock.held_ms} ms{why}{here}"


def instead(step: Step, statement: str) -> str:
    """Say how to avoid the blocking; empty when there is no advice.

    Args:
        step: the results for the statement.
        statement: the text of the statement.
    """
    blocked = {lock.relation for lock in step.locks if lock.blocks}
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
