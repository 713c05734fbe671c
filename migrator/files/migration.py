"""One SQL file as a value: its version, description, directives, checksum and statements."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.files.other_tools import FRAME, is_for_tools
from migrator.process.digest import sha256
from migrator.process.settings import Settings, duration

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from migrator.files.backfill import Backfill
    from migrator.files.checkpoint import Checkpoint, StoodFor


NAME = re.compile(r"([0-9]+)_(\w[\w-]*)\.sql")
REPEATABLE_PREFIX = "R__"
MAX_VERSION = 2**63 - 1  # the largest bigint
FIRST_TIMESTAMP = 10**13  # YYYYMMDDHHMMSS has fourteen digits
_ISOLATION = {"repeatable-read": "REPEATABLE READ", "serializable": "SERIALIZABLE"}
_BLANKS = b" \t\n\r\f\v"
# The ends of a text that `Migration.checksums` tries: up to four blanks of any kind, and more of
# one kind.
_ENDS = (
    *(bytes(end) for length in range(5) for end in itertools.product(b" \t\n", repeat=length)),
    *(blank * length for blank in (b" ", b"\t", b"\n") for length in range(5, 33)),
)
_OF_CHECKPOINTS = ("checkpoint", "stands-for")
_OF_BACKFILLS = ("backfill", "batch-time", "pause", "max-lag")
_LONGEST = 100_000  # characters
_DIRECTIVE = re.compile(r"migrator\s*:\s*(.*)", re.IGNORECASE)


class Directives(NamedTuple):
    """How one file asks to be run.

    Attributes:
        transaction: whether the file runs in a transaction.
        lock_timeout: seconds; None means the setting of the run.
        statement_timeout: seconds; None means the setting of the run.
        isolation: the isolation level of the transaction, as SQL; empty for READ COMMITTED.
        checkpoint: the versions that the file stands for; None for a file that is no checkpoint.
        backfill: the ranges in which the statement is run; None for a file that is no backfill.
    """

    transaction: bool = True
    lock_timeout: float | None = None
    statement_timeout: float | None = None
    isolation: str = ""
    checkpoint: Checkpoint | None = None
    backfill: Backfill | None = None

    @property
    def resumable(self) -> bool:
        """Whether the file is several transactions, so that a next run can go on in its middle."""
        return not self.transaction or self.backfill is not None

    @property
    def needs_session(self) -> str:
        """The directive that needs a session of its own, with a lock; empty when none does."""
        return "no-transaction" if not self.transaction else "isolation" if self.isolation else ""


_USUAL = Directives()


class Migration(NamedTuple):
    """One SQL file.

    Attributes:
        version: the number that the file's name begins with; 0 for a repeatable, which has none.
        file: the file's name.
        description: the first comment line that is not for a tool, or the words of the file's name.
        checksum: SHA-256 of the text, line endings normalised to LF, without a byte-order mark. Of
            a repeatable, the text ends with one line break, however it ends in the file.
        directives: how the file asks to be run.
        script: the file's text, split into statements.
        statements: the statements that are run. A BEGIN and a COMMIT around the whole file are not
            among them, because the migrator begins and commits the transaction.
        records: the versions that are recorded together with the file: in a plan, those that a
            checkpoint stands for when it is run.
    """

    version: int
    file: str
    description: str
    checksum: str
    directives: Directives
    script: scanner.Script
    statements: tuple[scanner.Statement, ...]
    records: tuple[StoodFor, ...] = ()

    @property
    def recorded_only(self) -> bool:
        """Whether, in a plan, this is a checkpoint that is recorded and not run."""
        return self.directives.checkpoint is not None and not self.records

    def limits(self, settings: Settings) -> tuple[float, float]:
        """Return lock_timeout and statement_timeout in seconds: the directives', or the settings'.

        If `lock_hold_max` limits how long locks are held, the lock_timeout of the settings is at
        most half of that limit. So the lock_timeout ends a wait first: after a lock timeout the
        migration is tried again, but after an exceeded limit it has failed.
        """
        lock_timeout = settings.lock_timeout
        longest = settings.lock_hold_max / 2
        if longest and not 0 < lock_timeout <= longest:
            lock_timeout = longest
        own_lock_timeout = self.directives.lock_timeout
        own_statement_timeout = self.directives.statement_timeout
        return (
            lock_timeout if own_lock_timeout is None else own_lock_timeout,
            settings.statement_timeout if own_statement_timeout is None else own_statement_timeout,
        )

    @property
    def is_repeatable(self) -> bool:
        """Whether the file is run again whenever its text has changed."""
        return not self.version

    @property
    def number(self) -> dict[str, int]:
        """The version as a key of a line of the log; a repeatable has none."""
        return {"version": self.version} if self.version else {}

    @property
    def words(self) -> str:
        """The file's name without its number and its ending."""
        return words_of(self.file)

    @property
    def checksums(self) -> frozenset[str]:
        """The checksums of this text, whatever blanks it had at its end.

        An editor or a formatter changes these blanks without being asked. A history has only the
        checksum of the text as it was, so the usual ends are tried.
        """
        text = _normalised(self.script.source.encode())
        begin = sha256(text.rstrip(_BLANKS))
        found = {self.checksum}
        for end in _ENDS:
            whole = begin.copy()
            whole.update(end)
            found.add(whole.hexdigest())
        return frozenset(found)

    @property
    def statements_checksum(self) -> str | None:
        """SHA-256 of the statements alone: their tokens and rows, without comments and blanks.

        None for a file without a statement, and for a large one, because reading every token takes
        long: half a second for a million characters.
        """
        source, statements = self.script.source, self.script.statements
        if not statements or len(source) > _LONGEST:
            return None
        hashed = sha256()
        for statement in statements:
            text = scanner.bare(source, statement.start, statement.end)
            rows = source[slice(*statement.copy_data)] if statement.copy_data else ""
            hashed.update(_normalised(f"{text};\n{rows}\n".encode()))
        return hashed.hexdigest()

    def place(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and column of a character of the text."""
        return scanner.place(self.script.source, offset)


def parse_name(name: str) -> tuple[int, str] | None:
    """Split a file name into the version and the words of the description.

    Returns:
        None when the name is not that of a migration.
    """
    match = NAME.fullmatch(name)
    if match is None or not 0 < int(match[1]) <= MAX_VERSION:
        return None
    return int(match[1]), match[2].replace("_", " ")


def words_of(name: str) -> str:
    """Return a file's name without its number and its ending: `add_pets` of `002_add_pets.sql`."""
    if name.startswith(REPEATABLE_PREFIX):
        return name.removeprefix(REPEATABLE_PREFIX).removesuffix(".sql")
    return name.lstrip("0123456789").removeprefix("_").removesuffix(".sql")


def checksum(data: bytes) -> str:
    """Return the SHA-256 of a file's text in hexadecimal.

    A copy with other line endings, or with a byte-order mark, has the same checksum, because
    version control and editors change these without being asked.
    """
    return sha256(_normalised(data.removeprefix(b"\xef\xbb\xbf"))).hexdigest()


def comparable(data: bytes) -> bytes:
    """Return a file's text without what may differ between two copies of the same migration.

    That is what the history overlooks too: line endings, a byte-order mark, blanks at the end.
    """
    return _normalised(data.removeprefix(b"\xef\xbb\xbf")).rstrip(_BLANKS)


def _normalised(data: bytes) -> bytes:
    """Return a text with its line endings as LF."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def read_description(header: Iterable[tuple[int, str]]) -> str:
    """Return the first comment line that is not for a tool; empty when there is none.

    Args:
        header: the line comments above the first statement: offset and text of each.
    """
    for _, comment in header:
        words = comment.strip(FRAME)
        if words and not _DIRECTIVE.match(comment) and not is_for_tools(words):
            return words
    return ""


def read_directives(header: Iterable[tuple[int, str]]) -> tuple[Directives, list[scanner.Fault]]:
    """Return the directives of a file, and what is wrong with them.

    Args:
        header: the line comments above the first statement: offset and text of each.
    """
    found = [
        (offset, match[1].strip())
        for offset, comment in header
        if (match := _DIRECTIVE.fullmatch(comment.strip()))
    ]
    if not found:
        return _USUAL, []
    transaction, isolation = True, ""
    isolation_at = 0
    timeouts: dict[str, float] = {}
    problems: list[scanner.Fault] = []
    for offset, text in found:
        name, separator, value = (part.strip() for part in text.partition("="))
        if name == "no-transaction" and not separator:
            transaction = False
        elif name == "isolation" and value.lower() in _ISOLATION:
            isolation, isolation_at = _ISOLATION[value.lower()], offset
        elif name == "isolation":
            levels = " or ".join(_ISOLATION)
            problems.append(scanner.Fault(offset, f"directive isolation: expected {levels}", ""))
        elif name in ("lock-timeout", "statement-timeout"):
            try:
                timeouts[name] = duration(value)
            except ValueError as error:
                problems.append(scanner.Fault(offset, f"directive {name}: {error}", ""))
        elif name not in (*_OF_CHECKPOINTS, *_OF_BACKFILLS):
            problems.append(_unknown(offset, text))
    if isolation and not transaction:
        problems.append(
            scanner.Fault(
                isolation_at,
                "an isolation level in a no-transaction file",
                "Remove one of the two directives: without a transaction, there is no isolation.",
            )
        )
    checkpoint, faults = _read_checkpoint(found, transaction=transaction)
    backfill, backfill_faults = _read_backfill(found)
    directives = Directives(
        transaction,
        timeouts.get("lock-timeout"),
        timeouts.get("statement-timeout"),
        isolation,
        checkpoint,
        backfill,
    )
    return directives, [*problems, *faults, *backfill_faults]


def _unknown(offset: int, text: str) -> scanner.Fault:
    return scanner.Fault(
        offset,
        f"unknown directive {text!r}",
        "Directives are no-transaction, lock-timeout=3s, statement-timeout=10min, "
        "isolation=repeatable-read; those of a backfill: backfill=pets.id, batch-time=100ms, "
        "pause=10ms, max-lag=10s; and those of a checkpoint: checkpoint=299 and stands-for.",
    )


def _read_backfill(
    found: Sequence[tuple[int, str]],
) -> tuple[Backfill | None, list[scanner.Fault]]:
    """Return what the directives of a backfill say, and what is wrong with them.

    Args:
        found: all directives: the offset and the text of each.
    """
    own = _named(found, _OF_BACKFILLS)
    if not own:
        return None, []
    from migrator.files.backfill import read_header  # noqa: PLC0415 - few files are one

    backfill, faults = read_header(own)
    others = {text.partition("=")[0].strip() for _, text in found}
    for other in ("no-transaction", "isolation", *_OF_CHECKPOINTS):
        if other in others:
            fault = scanner.Fault(
                own[0][0],
                f"the directives backfill and {other} in one file",
                "Remove one of the two: each range of a backfill is a transaction of its own, at "
                "READ COMMITTED.",
            )
            faults = [*faults, fault]
    return backfill, faults


def _named(found: Sequence[tuple[int, str]], names: Collection[str]) -> list[tuple[int, str, str]]:
    """Return the offset, the name and the value of the directives with one of some names."""
    parts = [(offset, *text.partition("=")) for offset, text in found]
    return [
        (offset, name.strip(), value.strip())
        for offset, name, _, value in parts
        if name.strip() in names
    ]


def _read_checkpoint(
    found: Sequence[tuple[int, str]], *, transaction: bool
) -> tuple[Checkpoint | None, list[scanner.Fault]]:
    """Return what the directives of a checkpoint say, and what is wrong with them.

    Args:
        found: all directives: the offset and the text of each.
        transaction: whether the file runs in a transaction.
    """
    own = _named(found, _OF_CHECKPOINTS)
    if not own:
        return None, []
    from migrator.files.checkpoint import read_header  # noqa: PLC0415 - few files are one

    checkpoint, faults = read_header(own)
    if not transaction:
        fault = scanner.Fault(
            own[0][0],
            "a checkpoint in a no-transaction file",
            "Remove the directive no-transaction: a checkpoint and the versions that it stands for "
            "are recorded in one transaction.",
        )
        faults = [*faults, fault]
    return checkpoint, faults
