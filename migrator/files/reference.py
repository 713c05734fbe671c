"""The migrations of a git ref or of another folder, with which the files here are compared."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from migrator.files.folder import read_texts
from migrator.files.migration import parse_name
from migrator.files.repeatable import parse_name as parse_repeatable
from migrator.process.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from migrator.process.git import Blob, Repository

    _Texts = dict[str, bytes | None]

# Git LFS has such a text in the place of the file (its docs/spec.md).
_LFS = b"version https://git-lfs.github.com/spec/"


class Repeatables(NamedTuple):
    """The repeatables of what the files here are compared with, by the name of the file.

    Attributes:
        there: the content of each; None if it is not known.
        base: the same of the commit from which both come; None as for migrations.
        earlier: for those that are not the same here, the texts that it had before.
    """

    there: Mapping[str, bytes | None]
    base: Mapping[str, bytes | None] | None = None
    earlier: Mapping[str, Sequence[bytes]] = MappingProxyType({})


class Reference(NamedTuple):
    """What the files here are compared with.

    Attributes:
        name: the git ref, or the path of the folder, as it was given.
        commit: the id of the commit; empty for a folder.
        texts: the content of each migration by the name of its file; None if it is not known, as
            of a symbolic link.
        base: the same of the commit from which the branch here and the ref come; None if it is not
            known, as for a folder.
        folder: the path of the folder with the files here.
        has_path: whether git finds the files by their paths from the folder we were started in.
        repeatables: the repeatables.
    """

    name: str
    commit: str
    texts: Mapping[str, bytes | None]
    base: Mapping[str, bytes | None] | None
    folder: str
    has_path: bool = False
    repeatables: Repeatables = Repeatables({})

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no git ref."""
        return not self.commit

    @property
    def described(self) -> str:
        """The name, and which commit that is at the moment."""
        return self.name if self.is_folder else f"{self.name} (commit {self.commit[:10]})"

    def restoring(self, file: str) -> str:
        """Return the command that gives a file the text which it has there."""
        here = str(Path(self.folder, file))
        if self.is_folder:
            return shlex.join(["cp", str(Path(self.name, file)), here])
        if self.has_path:
            return shlex.join(["git", "checkout", self.name, "--", here])
        return shlex.join(["git", "-C", self.folder, "checkout", self.name, "--", file])


def read_reference(name: str, folder: str) -> Reference:
    """Read the migrations of a git ref or of another folder.

    Args:
        name: the ref or the path. What begins with `/`, `./` or `../` is a path.
        folder: the path of the folder with the files here. Its repository is the one with the ref.

    Raises:
        UsageError: there is no such ref or folder, there are both, or git cannot be asked.
    """
    if not name or name.startswith("-"):
        raise UsageError(
            f"--against {name!r} is neither a git ref nor a folder",
            "Give a branch, such as --against origin/main, or a folder, such as --against ./main.",
        )
    is_folder = os.path.isdir(name)  # noqa: PTH112 - that of pathlib raises for a long name
    if name.startswith(("/", "./", "../")) or name in (".", ".."):
        return _of_folder(name, folder)
    from migrator.process.git import find_repository  # noqa: PLC0415 - folders need no git

    try:
        repository = find_repository(folder)
    except UsageError:
        if is_folder:
            return _of_folder(name, folder)
        raise
    commit = repository.commit(name) if repository else ""
    if is_folder and commit:
        raise UsageError(
            f"--against {name} is both a folder and a git ref",
            f"Give ./{name} for the folder; for a branch, give refs/heads/{name}.",
        )
    if is_folder:
        return _of_folder(name, folder)
    if repository is None:
        raise UsageError(
            f"{folder} is in no git repository, and there is no folder {name}",
            "Give the folder with the migrations to compare with.",
        )
    if not commit:
        raise UsageError(
            f"git knows no commit {name} in the repository of {folder}", _fetching(repository, name)
        )
    return _of_commit(repository, name, commit, folder)


def _of_folder(name: str, folder: str) -> Reference:
    try:
        texts = read_texts(name)
        repeatables = read_texts(name, parse_repeatable)
    except UsageError as error:
        raise UsageError(
            error.message.replace("the migrations in ", "--against ", 1),
            "Give --against a folder with migrations, or a git ref.",
        ) from None
    if Path(name).samefile(folder):
        raise UsageError(
            f"--against {name} is the folder that is to be compared",
            "Give the folder of the other branch.",
        )
    # An empty folder stands for a branch that has no migrations yet.
    if (
        not texts
        and not repeatables
        and any(not entry.name.startswith(".") for entry in Path(name).iterdir())
    ):
        raise UsageError(
            f"--against {name} has no migrations in it",
            f"Give the folder that has the files{_below(name, folder)}.",
        )
    return Reference(name, "", texts, None, folder, repeatables=Repeatables(repeatables))


def _below(name: str, folder: str) -> str:
    """Return where the migrations may be instead, as the end of a sentence; may be empty."""
    inside = Path(name, os.path.relpath(folder))
    return f", such as {inside}" if inside.is_dir() else ""


def _of_commit(repository: Repository, name: str, commit: str, folder: str) -> Reference:
    there = _files(repository, commit)
    base_commit = repository.merge_base(commit)
    base = _files(repository, base_commit) if base_commit else {}
    blobs = [blob for blob in (*there.values(), *base.values()) if not blob.is_link]
    contents = repository.contents(blob.object_id for blob in blobs)

    def texts(files: Mapping[str, Blob], named: Callable[[str], object]) -> _Texts:
        return {
            file: _text(contents.get(blob.object_id)) for file, blob in files.items() if named(file)
        }

    repeatables = Repeatables(
        texts(there, parse_repeatable), texts(base, parse_repeatable) if base_commit else None
    )
    differing = [
        file
        for file, text in read_texts(folder, parse_repeatable).items()
        if text is not None and text != repeatables.there.get(file)
    ]
    return Reference(
        name,
        commit,
        texts(there, parse_name),
        texts(base, parse_name) if base_commit else None,
        folder,
        has_path=_has_path(repository, folder),
        repeatables=repeatables._replace(earlier=_earlier(repository, commit, differing)),
    )


def _text(content: bytes | None) -> bytes | None:
    """Return the content of a file, unless the repository has something else in its place."""
    return None if content is None or content.startswith(_LFS) else content


def _files(repository: Repository, commit: str) -> dict[str, Blob]:
    files = repository.files(commit)
    return {
        file: blob for file, blob in files.items() if parse_name(file) or parse_repeatable(file)
    }


def _earlier(
    repository: Repository, commit: str, files: Sequence[str]
) -> dict[str, tuple[bytes, ...]]:
    """Return the texts that files had in a branch, newest first, without the last one."""
    if not files:
        return {}
    blobs = repository.earlier(commit, files)
    contents = repository.contents(blob for found in blobs.values() for blob in found)
    return {file: tuple(contents[blob] for blob in found) for file, found in blobs.items()}


def _has_path(repository: Repository, folder: str) -> bool:
    """Return whether a path from here is a path in the repository: git follows no links."""
    from migrator.process.git import find_repository  # noqa: PLC0415 - as above

    try:
        ours = find_repository(".")
        is_same = ours is not None and ours.top.samefile(repository.top)
    except (UsageError, OSError):
        return False
    return is_same and os.path.realpath(folder) == os.path.abspath(folder)  # noqa: PTH100 - as git


def _fetching(repository: Repository, name: str) -> str:
    """Return how a ref becomes known."""
    for remote in repository.remotes():
        branch = name.removeprefix(f"{remote}/")
        if branch != name:
            target = f"refs/remotes/{remote}/{branch}"
            # Without the second part, a clone of a single branch would not keep it.
            command = shlex.join(["git", "fetch", remote, f"{branch}:{target}"])
            return (
                f"Run `{command}` first; with actions/checkout, set fetch-depth: 0, so that it "
                "fetches all branches."
            )
        if repository.commit(f"{remote}/{name}"):
            return f"Give --against {remote}/{name}, which it knows."
    return "Check the name; `git branch --all` and `git tag` list what it can be."
