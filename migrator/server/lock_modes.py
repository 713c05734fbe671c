"""The modes of table locks, and which of them stop the reads or writes of other sessions."""

from __future__ import annotations

# From the weakest to the strongest (PostgreSQL documentation, "Explicit Locking").
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_WRITES = "writes"
_ALL = "reads and writes"
# The modes that stop plain reads or writes of other sessions, with the word for it.
BLOCKS = {
    "SHARE": _WRITES,
    "SHARE ROW EXCLUSIVE": _WRITES,
    "EXCLUSIVE": _WRITES,
    "ACCESS EXCLUSIVE": _ALL,
}
# Which modes conflict with each mode (PostgreSQL documentation, "Explicit Locking").
CONFLICTS = {
    "ACCESS SHARE": MODES[7:],
    "ROW SHARE": MODES[6:],
    "ROW EXCLUSIVE": MODES[4:],
    "SHARE UPDATE EXCLUSIVE": MODES[3:],
    "SHARE": (*MODES[2:4], *MODES[5:]),
    "SHARE ROW EXCLUSIVE": MODES[2:],
    "EXCLUSIVE": MODES[1:],
    "ACCESS EXCLUSIVE": MODES,
}
# The weaker modes are not reported: every SELECT, INSERT, UPDATE and DELETE takes one of them.
REPORTED = frozenset(MODES[3:])
# By the name that the server uses in pg_locks, such as AccessShareLock.
SERVER_MODES = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES}
CONFLICTS_ON_SERVER = {
    name: frozenset(other for other, spelt in SERVER_MODES.items() if spelt in CONFLICTS[mode])
    for name, mode in SERVER_MODES.items()
}
BLOCKING_ON_SERVER = tuple(name for name, mode in SERVER_MODES.items() if mode in BLOCKS)


def mode(server_name: str) -> str:
    """Return a lock mode as LOCK TABLE spells it: AccessShareLock is ACCESS SHARE."""
    return SERVER_MODES[server_name]
