"""The commands of other migration tools, and how each is called here, if it is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

_APPLY = "here it is `migrator apply`, or `migrator` alone: it applies everything pending"
_NEW = "here it is `migrator new add user locale`: it creates the next file"
_NO_WAY_DOWN = (
    "it never goes back, because that loses data. Write a new migration that undoes the change. On "
    "your own machine, `migrator reset --confirm DATABASE` deletes all data and builds everything "
    "again"
)
_NO_PART = (
    "`migrator apply` applies everything pending, up to the newest file; to stop before a file, "
    "leave that file out of the folder"
)
_VERSION = (
    "`migrator current` prints the version of the database, `migrator --version` that of the "
    "program"
)
_STATUS = "here it is `migrator status`: every file and every row of the history, with its state"
_RECORD = (
    "`migrator baseline N` records versions as applied without running them, and `migrator repair` "
    "accepts files that were edited, renumbered or removed; a failed migration leaves nothing to "
    "force"
)
_RESET = (
    "here it is `migrator reset --confirm DATABASE`: it drops everything that our role owns, with "
    "all data, and builds it again"
)
_NO_SET_UP = (
    "there is nothing to set up: `migrator new add user locale` creates the first file and its "
    "folder, and the first `migrator apply` creates the history"
)
_PLAN = (
    "`migrator plan` lists what would be applied and runs nothing; `migrator rehearse` runs it on "
    "a copy of the database and rolls it back"
)
_DUMP = "there is none: `pg_dump --schema-only` writes the schema, `migrator verify` checks it"
_DIFFERENCE = "`migrator verify` compares the database with what the applied files describe"
_CHECK_FILES = "here it is `migrator validate`: it checks the files without a database"

_BY_LINE = {
    _APPLY: "up migrate upgrade update deploy run execute exec",
    _NEW: "create add make generate gen revision",
    _NO_WAY_DOWN: "down rollback downgrade undo revert redo down-to rollback-to",
    _NO_PART: "goto up-to up-by-one step steps to",
    _VERSION: "version dbversion",
    _STATUS: "list ls info history log heads show show-migrations showmigrations state",
    _RECORD: "force stamp resolve mark fake fix set unlock",
    _RESET: "drop clean fresh refresh wipe recreate",
    _NO_SET_UP: "init initialize initialise install setup",
    _PLAN: "dry-run dryrun preview explain",
    _DUMP: "dump load schema inspect snapshot",
    _DIFFERENCE: "diff drift compare",
    _CHECK_FILES: "lint hash",
    "here it is `migrator --help`": "help",
}
_LINES = {word: line for line, words in _BY_LINE.items() for word in words.split()}


# Words that some tools put before the command, such as `migrate status` and `db:rollback`.
_BEFORE = ("migrate", "migration", "migrations", "db", "database", "schema")


def line(word: str, following: Sequence[str], known: Container[str]) -> str | None:
    """Return how a command of another tool is called here, or why there is none.

    Args:
        word: what stands in the place of the command.
        following: the word behind it, if there is one.
        known: the commands that exist here.

    Returns:
        The end of a sentence; None for a word that is not known.
    """
    first, *rest = [*word.lower().split(":"), *following]
    if first in _BEFORE and rest:
        if rest[0] in known:
            return f"here it is `migrator {rest[0]}`"
        if rest[0] in _LINES:
            return _LINES[rest[0]]
    return _LINES.get(first)
