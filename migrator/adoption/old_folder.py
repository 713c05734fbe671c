"""Reads the folder of another tool, and changes nothing in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.files.folder import written
from migrator.process.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_FILES = 50_000


def shown(path: Path) -> str:
    """Return a path as text."""
    return written(str(path))


def files(folder: Path) -> tuple[str, ...]:
    """Return the files in a folder and in those below it, hidden ones left out, ordered by name.

    Raises:
        UsageError: a folder cannot be read, or there are far too many files.
    """
    found: list[str] = []
    for where, _, names in _walk(folder):
        found += [(where / name).as_posix() for name in names if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise UsageError(
                f"there are more than {_MOST_FILES} files in {shown(folder)}",
                "Name the folder that has the migrations in it.",
            )
    return tuple(sorted(found))


def links(folder: Path) -> tuple[str, ...]:
    """Return the links to folders, which `files` does not follow.

    Raises:
        UsageError: a folder cannot be read.
    """
    return tuple(
        (where / name).as_posix()
        for where, below, _ in _walk(folder)
        for name in below
        if (folder / where / name).is_symlink()
    )


def _walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder that is not hidden, from the given one on, what is in it, and its files."""

    def fail(error: OSError) -> None:
        raise UsageError(
            f"cannot read {written(str(error.filename))}: {error.strerror}",
            "Nothing was written. Let it be read, and convert again.",
        )

    for where, below, names in os.walk(folder, onerror=fail):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield Path(where).relative_to(folder), below, names


def read(path: Path) -> bytes:
    """Return what is in an old file.

    Raises:
        UsageError: it cannot be read, or is no ordinary file.
    """
    try:
        if not path.is_file():  # opening a FIFO would wait for a writer
            reason = "it is no ordinary file" if path.exists() else "it leads nowhere"
        else:
            return path.read_bytes()
    except OSError as error:
        reason = str(error.strerror)
    raise UsageError(
        f"cannot read {shown(path)}: {reason}",
        "Nothing was written. Let it be read, or remove it, and convert again.",
    )


def decoded(data: bytes) -> str | None:
    """Return a text; None when it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
