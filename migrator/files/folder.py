"""Reads a folder of SQL files: the migrations in their order, and everything wrong with them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import rules, scanner
from migrator.files.migration import (
    MAX_VERSION,
    NAME,
    Migration,
    checksum,
    parse_name,
    read_description,
    read_directives,
)
from migrator.files.statement import unwrap
from migrator.process.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_NAMING = "Name it NNN_description.sql, for example 002_add_user_locale.sql."


class Folder(NamedTuple):
    """The content of a folder: its migrations, ordered by version, and everything wrong with them.

    A file that cannot be a migration is only among the problems.
    """

    migrations: tuple[Migration, ...]
    problems: tuple[Problem, ...]


def load_folder(directory: Path, *, pending: bool = False) -> Folder:
    """Read and check every migration in a folder.

    Hidden files, and files whose name does not end in `.sql`, are ignored.

    Args:
        directory: the folder.
        pending: whether every migration counts as pending, so that obstacles are problems. Without
            it, obstacles are left to the plan, which knows which migrations are pending.

    Raises:
        UsageError: the folder does not exist, cannot be read, or has no migration in it.
    """
    names = [name for name in _list(directory) if name.lower().endswith(".sql")]
    if not names:
        raise UsageError(
            f"no migrations in {directory.resolve()}: it has no file named *.sql",
            "Check MIGRATIONS_DIR or the mount; `migrator new DESCRIPTION` creates the first one.",
        )
    migrations: list[Migration] = []
    problems: list[Problem] = []
    for name in names:
        loaded = _load_file(directory / name)
        if isinstance(loaded, Migration):
            migrations.append(loaded)
            problems += rules.check(loaded)
            problems += rules.obstacles(loaded) if pending else ()
        else:
            problems.append(loaded)
    migrations.sort(key=lambda migration: migration.version)
    problems += _duplicates(migrations)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    return Folder(tuple(migrations), tuple(problems))


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


def _load_file(path: Path) -> Migration | Problem:
    version_and_words = parse_name(path.name)
    if version_and_words is None:
        return _bad_name(path.name)
    try:
        data = path.read_bytes()
    except OSError as error:
        return Problem(path.name, f"cannot be read: {error.strerror}")
    try:
        source = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        column = len(data[start : error.start].decode("utf-8")) + 1
        message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        return Problem(path.name, message, "Save the file as UTF-8.", line, column)
    version, words = version_and_words
    digest = checksum(data)
    del data  # so that the bytes of a large file are not in memory while its text is scanned
    script = scanner.read(source)
    directives = read_directives(script.header)[0]
    return Migration(
        version=version,
        file=path.name,
        path=path,
        description=read_description(script.header) or words,
        checksum=digest,
        directives=directives,
        script=script,
        statements=unwrap(script)[0] if directives.transaction else script.statements,
    )


def _bad_name(name: str) -> Problem:
    match = NAME.fullmatch(name)
    if match is None:
        if name.endswith((".up.sql", ".down.sql")):
            hint = "There are no down files; undo a migration with a new one. " + _NAMING
        else:
            hint = _NAMING
        return Problem(name, "is not named like a migration", hint)
    if int(match[1]) == 0:
        return Problem(name, "has version 0", "The first version is 1; 0 means an empty database.")
    return Problem(name, f"has a version above {MAX_VERSION}", "Use a smaller number.")


def _duplicates(migrations: Sequence[Migration]) -> list[Problem]:
    return [
        Problem(
            later.file,
            f"has version {later.version}, which {earlier.file} has too",
            "Give the one that is not applied anywhere yet the next free number.",
        )
        for earlier, later in pairwise(migrations)
        if earlier.version == later.version
    ]
