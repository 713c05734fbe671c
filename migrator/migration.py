"""A folder of SQL files becomes ordered migrations, and a list of what is wrong with them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from migrator.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from migrator import rules, sql
    from migrator.settings import Settings

_NAME = re.compile(r"(\d+)_(\w[\w-]*)\.sql")
_MAX_VERSION = 2**63 - 1  # the largest bigint
_NAMING = "Name it NNN_description.sql, for example 002_add_user_locale.sql."


@dataclass(frozen=True)
class Migration:
    """One SQL file, whose text is read again when something of it is first asked for.

    Attributes:
        version: the number its name begins with.
        file: its name.
        checksum: SHA-256 of its text, line endings normalised to LF, without a byte-order mark.
        read: returns its bytes.
    """

    version: int
    file: str
    checksum: str
    read: Callable[[], bytes]

    @cached_property
    def _source(self) -> tuple[str, Problem | None]:
        data = self.read()
        try:
            return data.decode("utf-8").removeprefix("\ufeff"), None
        except UnicodeDecodeError as error:
            return data.decode("utf-8", "replace"), _not_utf8(self.file, data, error.start)

    @cached_property
    def _text(self) -> rules.Text:
        from migrator import rules  # noqa: PLC0415 - not needed when nothing is pending

        return rules.read(self._source[0])

    @property
    def script(self) -> sql.Script:
        """Its text, split into statements."""
        return self._text.script

    @property
    def description(self) -> str:
        """Its first comment line, or the words of its name."""
        name = parse_name(self.file)
        return self._text.description or (name[1] if name else self.file)

    @property
    def directives(self) -> rules.Directives:
        """How it wants to be run."""
        return self._text.directives

    @property
    def statements(self) -> tuple[sql.Statement, ...]:
        """What is run: the script's statements without a BEGIN and COMMIT around the file."""
        return self._text.statements

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with its text, as far as the text alone can tell."""
        source, not_utf8 = self._source
        if not_utf8:
            return (not_utf8,)
        if not source or source.isspace():
            hint = "Write the migration, or a comment that says why there is nothing to do."
            return (Problem(self.file, "the file is empty", hint),)
        return tuple(_located(self, problem) for problem in self._text.problems)

    def limits(self, settings: Settings) -> tuple[float, float]:
        """Return lock_timeout and statement_timeout in seconds: its directives', else the run's.

        With a limit on how long locks are held, the run's lock_timeout ends a wait before that
        limit does: a lock that is not to be had is tried for again, an exceeded limit is final.
        """
        lock, statement = self.directives.lock_timeout, self.directives.statement_timeout
        usual, most = settings.lock_timeout, settings.lock_hold_max / 2
        if most and not 0 < usual <= most:
            usual = most
        return (
            usual if lock is None else lock,
            settings.statement_timeout if statement is None else statement,
        )

    def place(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and column of a character of the text."""
        from migrator import sql  # noqa: PLC0415

        return sql.place(self.script.source, offset)


class Folder(NamedTuple):
    """What a folder holds: its migrations, ordered by version, and everything wrong with them."""

    migrations: tuple[Migration, ...]
    problems: tuple[Problem, ...]


def find(directory: Path) -> Folder:
    """Read the name and the checksum of every migration in a folder.

    Files whose name does not end in `.sql` and hidden files are not looked at. What is wrong with
    a migration's text is in its `problems`.

    Args:
        directory: the folder.

    Raises:
        UsageError: the folder does not exist, cannot be read, or has no migration in it.
    """
    names = [name for name in _list(directory) if name.lower().endswith(".sql")]
    if not names:
        raise UsageError(
            f"no migrations in {directory.resolve()}: it has no file named *.sql",
            "Check MIGRATIONS_DIR or the mount; `migrator new DESCRIPTION` creates the first one.",
        )
    found = [_find_file(directory / name) for name in names]
    migrations = [each for each in found if isinstance(each, Migration)]
    migrations.sort(key=lambda migration: migration.version)
    problems = [each for each in found if isinstance(each, Problem)]
    return Folder(tuple(migrations), _sorted([*problems, *_duplicates(migrations)]))


def load(directory: Path) -> Folder:
    """Read every migration in a folder as `find` does, and check its text."""
    migrations, problems = find(directory)
    in_texts = [problem for migration in migrations for problem in migration.problems]
    return Folder(migrations, _sorted([*problems, *in_texts]))


def parse_name(name: str) -> tuple[int, str] | None:
    """Split a file name into its version and its description's words.

    Returns:
        None when it is not the name of a migration.
    """
    match = _NAME.fullmatch(name)
    if match is None or not 0 < int(match[1]) <= _MAX_VERSION:
        return None
    return int(match[1]), match[2].replace("_", " ")


def checksum(data: bytes) -> str:
    """Return the SHA-256 of a file's text in hexadecimal.

    It is the same for a copy with other line endings or a byte-order mark, which version control
    and editors change without anyone meaning it.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return hashlib.sha256(data).hexdigest()


def _located(migration: Migration, problem: sql.Problem) -> Problem:
    from migrator.excerpt import excerpt  # noqa: PLC0415 - only a problem needs it

    line, column = migration.place(problem.offset)
    source = excerpt(migration.script.source, problem.offset, around=0)
    return Problem(migration.file, problem.message, problem.hint, line, column, source)


def _sorted(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda each: (each.file, each.line, each.column)))


def _list(directory: Path) -> list[str]:
    try:
        entries = sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        reason = "it does not exist"
    except NotADirectoryError:
        reason = "it is not a folder"
    except OSError as error:
        reason = str(error.strerror)
    else:
        return [name for name in entries if not name.startswith(".")]
    raise UsageError(
        f"cannot read the migrations in {directory.resolve()}: {reason}",
        "Set MIGRATIONS_DIR or --dir to the folder with the migrations.",
    )


def _find_file(path: Path) -> Migration | Problem:
    name = parse_name(path.name)
    if name is None:
        return _bad_name(path.name)
    try:
        digest = checksum(path.read_bytes())
    except OSError as error:
        return Problem(path.name, f"cannot be read: {error.strerror}")
    return Migration(name[0], path.name, digest, partial(_read_again, path, digest))


def _read_again(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read any more: {error.strerror}") from None
    if checksum(data) != digest:
        raise UsageError(
            f"{path.name} has changed since it was first read", "Run the migrator again."
        )
    return data


def _not_utf8(name: str, data: bytes, offset: int) -> Problem:
    line = data.count(b"\n", 0, offset) + 1
    start = data.rfind(b"\n", 0, offset) + 1
    column = len(data[start:offset].decode("utf-8")) + 1
    message = f"byte 0x{data[offset]:02x} is not valid UTF-8"
    return Problem(name, message, "Save the file as UTF-8.", line, column)


def _bad_name(name: str) -> Problem:
    match = _NAME.fullmatch(name)
    if match is None:
        if name.endswith((".up.sql", ".down.sql")):
            hint = "There are no down files; undo with a new migration. " + _NAMING
        else:
            hint = _NAMING
        return Problem(name, "is not named like a migration", hint)
    if int(match[1]) == 0:
        return Problem(name, "has version 0", "The first version is 1; 0 means an empty database.")
    return Problem(name, f"has a version above {_MAX_VERSION}", "Use a smaller number.")


def _duplicates(migrations: Sequence[Migration]) -> list[Problem]:
    return [
        Problem(
            later.file,
            f"has version {later.version}, and so has {earlier.file}",
            "Give the one that is not applied anywhere yet the next free number.",
        )
        for earlier, later in pairwise(migrations)
        if earlier.version == later.version
    ]
