"""Reads a folder of SQL files: the migrations in their order, and everything wrong with them."""

from __future__ import annotations

import os
import re
import stat
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from migrator.files import rules, scanner
from migrator.files.migration import (
    MAX_VERSION,
    NAME,
    REPEATABLE_PREFIX,
    Migration,
    checksum,
    parse_name,
    read_description,
    read_directives,
)
from migrator.files.statement import unwrap
from migrator.process.errors import Problem, UsageError
from migrator.process.log import get_logger
from migrator.process.settings import given_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

log = get_logger()

_NAMING = "Name it NNN_description.sql, for example 002_add_user_locale.sql."
# A name that somebody may have meant for a migration: it begins like one, or has `.sql` in it.
_NEAR_MISS = re.compile(r"\d+_|R__|.*\.sql", re.IGNORECASE | re.DOTALL)
# A name that is a repeatable's, or that somebody may have meant for one.
_REPEATABLE = re.compile(r"R_", re.IGNORECASE)
_OTHER_DIGITS = r"\d*[^\D0-9]\d*_"  # such as those of Arabic
# What pg_dump writes, and how people write the same.
_ENCODING = (
    rb"(?i)\bSET\s+(?:LOCAL\s+|SESSION\s+)?(?:CLIENT_ENCODING\s*(?:=|\bTO\b)|NAMES\b)\s*"
    rb"['\"]?(?!UTF)([A-Za-z][\w-]*)"
)
_ELSEWHERE = (
    "Move its files up into the folder of the migrations; or, if they are no migrations, move it "
    "elsewhere or begin its name with a dot."
)
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Folder:
    """The content of a folder; a file that cannot be a migration is only among the problems.

    Whoever needs only the migrations and the problems can unpack it into these two.

    Attributes:
        migrations: the files with a version, ordered by version.
        problems: everything wrong with the files.
        repeatables: the repeatables, ordered by the name of the file.
    """

    def __init__(
        self,
        migrations: tuple[Migration, ...],
        problems: tuple[Problem, ...],
        repeatables: tuple[Migration, ...] = (),
    ) -> None:
        self.migrations = migrations
        self.problems = problems
        self.repeatables = repeatables

    def __iter__(self) -> Iterator[Any]:
        return iter((self.migrations, self.problems))


def load_folder(directory: str | os.PathLike[str], *, pending: bool = False) -> Folder:
    """Read and check every migration in a folder.

    Hidden files and folders, and files whose name does not end in `.sql`, are ignored. A name that
    looks as if it was meant for a migration is ignored with a warning in the log.

    Args:
        directory: the path of the folder.
        pending: whether every migration counts as pending, so that obstacles are problems. Without
            it, obstacles are left to the plan, which knows which migrations are pending.

    Raises:
        UsageError: the folder does not exist, cannot be read, or has no migration in it.
    """
    entries = _list(directory)
    files: list[os.DirEntry[str]] = []
    others: list[os.DirEntry[str]] = []
    for entry in entries:
        (files if _is_sql(entry.name) else others).append(entry)
    _warn_of_near_misses(others, [entry.name for entry in files])
    subfolders = [entry.name for entry in others if entry.is_dir() and _has_sql(entry.path)]
    if not files:
        where = f"; its subfolder {written(subfolders[0])} has some" if subfolders else ""
        raise UsageError(
            f"no migrations in {_full(directory)}: it has no file named *.sql{where}",
            f"Check {given_as('MIGRATIONS_DIR')} or the mount; `migrator new DESCRIPTION` creates "
            "the first one.",
        )
    loaded_files: list[Migration] = []
    problems = [
        Problem(written(name), "is a subfolder with .sql files, which are not read", _ELSEWHERE)
        for name in subfolders
    ]
    for entry in files:
        loaded = _load_file(entry)
        if isinstance(loaded, Migration):
            loaded_files.append(loaded)
            problems += rules.check(loaded)
            problems += rules.obstacles(loaded) if pending else ()
        else:
            problems.append(loaded)
    migrations = [loaded for loaded in loaded_files if not loaded.is_repeatable]
    migrations.sort(key=lambda migration: migration.version)
    problems += duplicates(migrations)
    repeatables = tuple(loaded for loaded in loaded_files if loaded.is_repeatable)
    if repeatables:
        from migrator.files import repeatable  # noqa: PLC0415 - many folders have none

        problems += repeatable.check(repeatables)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    return Folder(tuple(migrations), tuple(problems), repeatables)


def read_texts(
    directory: str | os.PathLike[str], named: Callable[[str], object] = parse_name
) -> dict[str, bytes | None]:
    """Return the content of every file that is named like a migration, and check nothing.

    Args:
        directory: the path of the folder.
        named: tells by its name whether a file is wanted, for others than migrations.

    Returns:
        The content by the name of the file; None for one that cannot be read.

    Raises:
        UsageError: the folder does not exist or cannot be read.
    """
    entries = [entry for entry in _list(directory) if named(entry.name)]
    contents = {entry.name: _read(entry) for entry in entries}
    return {
        name: None if isinstance(content, Problem) else content
        for name, content in contents.items()
    }


def written(name: str) -> str:
    r"""Return a file's name or path as text, with `\xNN` for each byte that is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _full(directory: str | os.PathLike[str]) -> str:
    return written(os.path.realpath(directory))


def _is_sql(name: str) -> bool:
    return name.lower().endswith(".sql")


def _has_sql(directory: str) -> bool:
    """Return whether a folder, or one below it that is not hidden, has a file named *.sql."""
    for _, below, files in os.walk(directory):  # a folder that cannot be read counts as empty
        if any(_is_sql(name) and not name.startswith(".") for name in files):
            return True
        below[:] = [name for name in below if not name.startswith(".")]
    return False


def _warn_of_near_misses(others: Sequence[os.DirEntry[str]], names: Sequence[str]) -> None:
    """Log each file that may be meant for a migration and is ignored.

    Args:
        others: what is in the folder besides the files named *.sql.
        names: the files named *.sql; what belongs to one of them, such as its backup or a note
            about it, is no near miss.
    """
    stems = {name.partition(".")[0] for name in names}
    for entry in others:
        name = entry.name
        if _NEAR_MISS.match(name) and name.partition(".")[0] not in stems and entry.is_file():
            log.warning(
                "not a migration",
                file=written(name),
                reason="the name does not end in .sql, so the file is ignored",
            )


def _list(directory: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """Return what is in a folder and not hidden, ordered by name."""
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        reason = "it does not exist"
    except NotADirectoryError:
        reason = "it is not a folder"
    except OSError as error:
        reason = str(error.strerror)
    else:
        return [entry for entry in entries if not entry.name.startswith(".")]
    by_flag = given_as("MIGRATIONS_DIR") == "--dir"
    setting = "--dir, or MIGRATIONS_DIR in its place," if by_flag else "MIGRATIONS_DIR or --dir"
    raise UsageError(
        f"cannot read the migrations in {_full(directory)}: {reason}",
        f"Set {setting} to the folder with the migrations.",
    )


def _load_file(entry: os.DirEntry[str]) -> Migration | Problem:
    name = entry.name
    version_and_words = _parse(name)
    if version_and_words is None:
        return _bad_name(name)
    data = _read(entry)
    if isinstance(data, Problem):
        return data
    try:
        source = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        column = len(data[start : error.start].decode("utf-8")) + 1
        message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        return Problem(name, message, _save_as_utf8(data), line, column)
    version, words = version_and_words
    digest = checksum(data) if version else _checksum_of_repeatable(data)
    del data  # so that the bytes of a large file are not in memory while its text is scanned
    script = scanner.read(source)
    directives = read_directives(script.header)[0]
    return Migration(
        version=version,
        file=name,
        description=read_description(script.header) or words,
        checksum=digest,
        directives=directives,
        script=script,
        statements=unwrap(script)[0] if directives.transaction else script.statements,
    )


def _parse(name: str) -> tuple[int, str] | None:
    """Split a file name into its version, 0 for a repeatable, and the words of the description."""
    if not _REPEATABLE.match(name):
        return parse_name(name)
    from migrator.files import repeatable  # noqa: PLC0415 - many folders have none

    words = repeatable.parse_name(name)
    return None if words is None else (0, words)


def _checksum_of_repeatable(data: bytes) -> str:
    from migrator.files import repeatable  # noqa: PLC0415 - many folders have none

    return repeatable.checksum_of(data)


def _read(entry: os.DirEntry[str]) -> bytes | Problem:
    """Return the content of a file, or why it cannot be read."""
    try:
        # Opening a FIFO waits for a writer, and opening a device may do anything. The folder has
        # told already whether it is an ordinary file, and not a link to something else.
        if not entry.is_file(follow_symlinks=False):
            kind = stat.S_IFMT(entry.stat().st_mode)
            if kind in _KINDS:
                reason = f"cannot be read: it is {_KINDS[kind]}"
                return Problem(entry.name, reason, "Put an ordinary file in its place.")
        # pathlib takes 4 ms to import, and there is nothing to buffer.
        with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        return Problem(entry.name, f"cannot be read: {error.strerror}")


def _save_as_utf8(data: bytes) -> str:
    """Return what to do about a file that is not UTF-8."""
    setting = re.search(_ENCODING, data)
    if setting is None:
        return "Save the file as UTF-8."
    encoding = setting[1].decode()
    return (
        f"Save the file as UTF-8 (it says that it is {encoding}), and remove the statement that "
        "sets this encoding."
    )


def _bad_name(name: str) -> Problem:
    if written(name) != name:
        return Problem(written(name), "has a name that is not UTF-8", f"Rename the file. {_NAMING}")
    match = NAME.fullmatch(name)
    if match is None and _REPEATABLE.match(name):
        hint = f"Name it {REPEATABLE_PREFIX}description.sql, for example R__user_progress.sql."
        return Problem(name, "is not named like a repeatable", hint)
    if match is None:
        if re.match(_OTHER_DIGITS, name):
            hint = f"The digits of the number are 0 to 9. {_NAMING}"
        elif name.endswith((".up.sql", ".down.sql")):
            hint = "There are no down files; undo a migration with a new one. " + _NAMING
        else:
            hint = _NAMING
        return Problem(name, "is not named like a migration", hint)
    if int(match[1]) == 0:
        return Problem(name, "has version 0", "The first version is 1; 0 means an empty database.")
    return Problem(name, f"has a version above {MAX_VERSION}", "Use a smaller number.")


def duplicates(migrations: Sequence[Migration]) -> list[Problem]:
    """Return a problem for each file that has the version of the file before it.

    Args:
        migrations: ordered by version.
    """
    pairs = [
        (earlier, later)
        for earlier, later in pairwise(migrations)
        if earlier.version == later.version
    ]
    return [
        Problem(
            later.file,
            f"has version {later.version}, which {earlier.file} has too",
            "Rename the file that no database has applied to the next free number"
            f"{_next_number(migrations[-1], later, place)}. If the other file comes from another "
            "branch: `migrator renumber --against BRANCH`.",
        )
        for place, (earlier, later) in enumerate(pairs, 1)
    ]


def _next_number(newest: Migration, renamed: Migration, place: int) -> str:
    """Return a comma and a free number with as many digits as a file's own; empty for none.

    Args:
        newest: the file with the highest number.
        renamed: the file.
        place: which of the free numbers, from 1.
    """
    digits, _, _ = renamed.file.partition("_")
    number = newest.version + place
    return "" if number > MAX_VERSION else f", {number:0{len(digits)}}"
