"""Makes a folder that is there as a whole or not at all: built beside its place, then renamed."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrator.adoption.old_folder import shown
from migrator.files.folder import written
from migrator.process.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_free(new: Path, old: Path) -> None:
    """See that a new folder can be made without touching an old one, or anything else.

    Args:
        new: the new folder; it must not be there, or be empty.
        old: the old folder.

    Raises:
        UsageError: the old folder is none, the new one is it or in it, or has something in it.
    """
    if not old.is_dir():
        reason = "is not a folder" if old.exists() else "does not exist"
        raise UsageError(f"{shown(old)} {reason}", "Name the folder with the old migrations.")
    if new.resolve().is_relative_to(old.resolve()):
        raise UsageError(
            f"{shown(new)} is {shown(old)}, or in it, and the old folder is never touched",
            "Name another folder with --into.",
        )
    if not os.path.lexists(new):
        return
    try:
        inside = sorted(entry.name for entry in new.iterdir())
    except OSError as error:
        raise UsageError(
            f"cannot use {shown(new)}: {error.strerror}", "Name another folder with --into."
        ) from None
    if inside:
        raise UsageError(
            f"{shown(new)} is not empty: it has {written(inside[0])}",
            "Nothing was changed. Name a folder with --into that does not exist yet.",
        )


@contextmanager
def making(new: Path) -> Iterator[Path]:
    """Give a folder in which the files are written; it gets its name when all of them are there.

    Args:
        new: the new folder, which is not there or empty.

    Raises:
        UsageError: the folder or a file cannot be made, or there is something in it meanwhile.
    """
    real = new.resolve()
    building = real.parent / f".{real.name}.{os.getpid()}"
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir()
    except OSError as error:
        raise UsageError(
            f"cannot make a folder in {shown(real.parent)}: {error.strerror}",
            "Name a folder with --into that lies in one where you may write.",
        ) from None
    try:
        yield building
        building.rename(real)
    except OSError as error:
        raise UsageError(
            f"cannot make {shown(new)}: {error.strerror}",
            "Nothing was left behind. Make room, or name a folder with --into that does not exist "
            "yet.",
        ) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
