"""The errors that end a run, each with its exit status; a server's own errors are in `server`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


OK = 0
FAILED = 1
USAGE = 2
PENDING = 3
UNREACHABLE = 4
DISAGREEMENT = 5
LOCKED = 6


class MigratorError(Exception):
    """The base class of all errors that this package raises on purpose.

    Args:
        message: one sentence that says what is wrong, without a final period.
        hint: one sentence that says what to do about it; may be empty.
    """

    status: int = FAILED
    event: ClassVar[str] = "failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def fields(self) -> dict[str, object]:
        """Return the keys that this error adds to its log line."""
        return {}


class UsageError(MigratorError):
    """An argument, an environment variable, a file or a folder is wrong."""

    status = USAGE
    event = "usage error"


class DatabaseUnavailable(MigratorError):
    """Within the wait, the database could not be reached, or refused the connection."""

    status = UNREACHABLE
    event = "database unavailable"


class NotReached(DatabaseUnavailable):
    """The server was waited for as long as the settings say, and could not be reached."""


class NotAllowed(DatabaseUnavailable):
    """The database was reached, and our role may not do there what it takes."""


class SchemaDiffers(MigratorError):
    """The schema of the database differs from the files, so nothing was recorded."""

    status = DISAGREEMENT
    event = "schema differs"


class EarlierPending(MigratorError):
    """Backfills cannot be run alone, because other files before or after them are pending.

    Args:
        pending: the names of these files.
    """

    status = PENDING
    event = "pending"

    def __init__(self, pending: Sequence[str]) -> None:
        super().__init__(
            f"these files are pending, and other ones than backfills are among them: "
            f"{', '.join(pending)}",
            "Run `migrator apply`: it applies them, and the backfills among them.",
        )


class LockUnavailable(MigratorError):
    """The migrator lock or a table lock could not be taken before the time for it was over."""

    status = LOCKED
    event = "lock unavailable"


class Interrupted(MigratorError):
    """SIGINT or SIGTERM arrived.

    Args:
        signum: the signal's number; the exit status is 128 plus this number, as in a shell.
        state: what happened to the running statement, in words; may be empty.
    """

    event = "interrupted"

    def __init__(self, signum: int, state: str = "") -> None:
        name = {2: "SIGINT", 15: "SIGTERM"}[signum]
        message = "; ".join(filter(None, (f"stopped by {name}", state)))
        super().__init__(message, "Run the migrator again to continue.")
        self.signum = signum
        self.status = 128 + signum


class Problem(NamedTuple):
    """One thing that is wrong with a migration, found without running the migration.

    Attributes:
        file: the file's name, or the version when there is no file.
        message: what is wrong, one sentence without a final period.
        hint: what to do about the problem, one sentence; may be empty.
        line: 1-based; 0 when the problem is not at a place in the text.
        column: 1-based, in characters; 0 when the line is 0.
        source: the line and those around it, numbered, with a caret under the place.
    """

    file: str
    message: str
    hint: str = ""
    line: int = 0
    column: int = 0
    source: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """`file:line:column`, or only the file when the problem is not at a place in the text."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def data(self) -> dict[str, object]:
        """Return the fields for JSON; the line and the column are None without a place."""
        return self._asdict() | {"line": self.line or None, "column": self.column or None}


class ProblemsFound(MigratorError):
    """The files cannot be applied as they are, or they disagree with the history.

    Args:
        problems: every problem; all are reported together.
        state: whether the database was changed before the problems were found, in words.
        hint: what to do about all of them, one sentence; may be empty.
    """

    status = DISAGREEMENT
    event = "refused"
    subject = "the migrations"

    def __init__(
        self, problems: Sequence[Problem], state: str = "nothing was changed", hint: str = ""
    ) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} with {self.subject}; {state}", hint)
        self.problems = tuple(problems)

    def fields(self) -> dict[str, object]:
        """Return the problems as a list of mappings."""
        return {"problems": [problem.data() for problem in self.problems]}


class NotOurs(ProblemsFound):
    """Somebody else has built the database, or made the table that has the name of the history."""

    subject = "the database"
