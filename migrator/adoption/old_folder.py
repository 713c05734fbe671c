"""Reads the folder of another tool, and changes nothing in it."""

from __future__ import annotations

import os
from pathlib import Path

from migrator.files.folder import written
from migrator.process.errors import UsageError

_MOST_FILES = 50_000


def shown(path: Path) -> str:
    """Return a path as text."""
    return written(str(path))


def files(folder: Path) -> tuple[str, ...]:
    """Return the files in a folder and in those below it, hidden ones left out, ordered by name.

    Raises:
        UsageError: a folder cannot be read, or there are far too many files.
    """

    def fail(error: OSError) -> None:
        raise UsageError(
            f"cannot read {written(str(error.filename))}: {error.strerror}",
            "Nothing was written. Let it be read, and convert again.",
        )

    found: list[str] = []
    for where, below, files in os.walk(folder, onerror=fail):
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = Path(where).relative_to(folder)
        found += [(inside / name).as_posix() for name in files if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise UsageError(
                f"there are more than {_MOST_FILES} files in {shown(folder)}",
                "Name the folder that has the migrations in it.",
            )
    return tuple(sorted(found))


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
