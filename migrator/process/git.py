"""Reads a git repository through the program git: commits, their files, a merge base.

Only commands that read are used, none of which runs a hook. They are started without a shell, and
answer no question at the terminal.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


# git sets these for its hooks. They would lead to the repository of the hook, instead of the one
# that the folder is in (git-rev-parse(1), --local-env-vars).
_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX")
_OURS = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}
_FILE = b"100"  # what the mode of an ordinary file begins with, in a tree (git-fast-import(1))
_LINK = b"120"  # the same of a symbolic link


# Settings of a user that would change what `git log` prints (git-config(1), "log").
_PLAIN_LOG = ("log.showSignature=false", "log.diffMerges=separate", "log.follow=false")


class Blob(NamedTuple):
    """A file of a commit.

    Attributes:
        object_id: the name of its content.
        is_link: whether it is a symbolic link, whose content is the path that it leads to.
    """

    object_id: str
    is_link: bool


class Repository:
    """The repository that a folder is in.

    Attributes:
        folder: the path of the folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def top(self) -> Path:
        """The folder that the whole working tree is in."""
        return Path(os.fsdecode(self._answer("rev-parse", "--show-toplevel")))

    def commit(self, ref: str) -> str:
        """Return the id of a commit.

        Args:
            ref: a branch, a tag, an id, or what else git takes for a commit; never an option.

        Returns:
            Empty when git knows no such commit.
        """
        done = self._run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        return "" if done.returncode else done.stdout.decode().strip()

    def merge_base(self, commit: str) -> str:
        """Return the id of the newest commit from which both HEAD and another commit come.

        Returns:
            Empty when there is none, or a shallow clone does not have it.
        """
        done = self._run("merge-base", "HEAD", commit)
        return "" if done.returncode else done.stdout.decode().strip()

    def remotes(self) -> list[str]:
        """Return the names of the other repositories that this one fetches from."""
        return os.fsdecode(self._answer("remote")).splitlines()

    def files(self, commit: str) -> dict[str, Blob]:
        """Return the files that the folder has in a commit, by name, without subfolders."""
        below = self._answer("rev-parse", "--show-prefix")
        where: tuple[str | bytes, ...] = ("--", below) if below else ()
        listed = self._answer("ls-tree", "-z", "--full-tree", commit, *where)
        files = {}
        for entry in filter(None, listed.split(b"\0")):
            described, _, path = entry.partition(b"\t")
            mode, _, object_id = described.split(b" ")
            if mode.startswith((_FILE, _LINK)):
                name = os.fsdecode(path.removeprefix(below))
                files[name] = Blob(object_id.decode(), mode.startswith(_LINK))
        return files

    def earlier(self, commit: str, files: Iterable[str]) -> dict[str, list[str]]:
        """Return the contents that files in the folder had before, newest first, by object id.

        What a merge has brought counts as one change; the commits of the other side do not
        (git-log(1), "--first-parent").

        Args:
            commit: the last commit that counts. Its own contents are left out.
            files: the names of the files.
        """
        listed = self._answer(
            *(part for option in _PLAIN_LOG for part in ("-c", option)),
            *("log", "--first-parent", "-m", "--raw", "--no-abbrev", "--no-renames", "--format="),
            *("-z", commit, "--", *files),
        )
        found: dict[str, list[str]] = {}
        # `:100644 100644 OLD NEW M`, a NUL, the path, and a NUL (git-diff(1), "Raw output format").
        parts = [stripped for part in listed.split(b"\0") if (stripped := part.strip(b"\n"))]
        for described, path in zip(parts[::2], parts[1::2], strict=True):
            mode, _, old, _, _ = described.removeprefix(b":").split(b" ")
            if mode.startswith(_FILE):
                name = os.fsdecode(path).rpartition("/")[2]
                found.setdefault(name, []).append(old.decode())
        return found

    def contents(self, object_ids: Iterable[str]) -> Mapping[str, bytes]:
        """Return the content of files, by object id, as it is in the repository.

        Raises:
            UsageError: a content is not there, because the repository is damaged.
        """
        wanted = sorted(set(object_ids))
        answer = self._answer("cat-file", "--batch", given="".join(f"{i}\n" for i in wanted))
        contents, position = {}, 0
        for object_id in wanted:
            end = answer.index(b"\n", position)
            header = answer[position:end].split(b" ")
            if len(header) < 3:  # noqa: PLR2004 - an id, a type, a size (git-cat-file(1))
                raise UsageError(
                    f"the repository of {self.folder} lacks the content of a file ({object_id})",
                    "Run `git fsck`, which names what else is missing; a new clone has everything.",
                )
            position = end + 1 + int(header[2])
            contents[object_id] = answer[end + 1 : position]
            position += 1  # a line feed ends each content
        return contents

    def _answer(self, *arguments: str | bytes, given: str = "") -> bytes:
        """Return what git prints, without the line feed at its end.

        Raises:
            UsageError: git refuses the command.
        """
        done = self._run(*arguments, given=given)
        if done.returncode:
            raise _refused(self.folder, done.stderr)
        return done.stdout.removesuffix(b"\n")

    def _run(self, *arguments: str | bytes, given: str = "") -> subprocess.CompletedProcess[bytes]:
        environment = {name: v for name, v in os.environ.items() if name not in _OF_HOOKS}
        try:
            return subprocess.run(
                ["git", *arguments],
                check=False,
                cwd=self.folder,
                env={**environment, **_OURS},
                input=given.encode(),
                capture_output=True,
            )
        except FileNotFoundError:
            raise UsageError(
                "git is not installed here, so it cannot be asked for another branch",
                "Give the folder that has the migrations of that branch, such as one that "
                "`git worktree add --detach FOLDER BRANCH` makes; or run this where git is. The "
                "image has no git.",
            ) from None
        except OSError as error:
            raise UsageError(f"git cannot be started: {error.strerror}") from None


def _refused(folder: str, words: bytes) -> UsageError:
    """Return the error for a command that git has refused.

    Args:
        folder: where git was run.
        words: what it has written to stderr.
    """
    text = words.decode("utf-8", "backslashreplace").strip()
    first = text.partition("\n")[0].removeprefix("fatal: ")
    if "dubious ownership" in first:
        command = text.rpartition("\n")[2].strip()
        return UsageError(
            f"git does not read the repository of {folder}, because another user owns it: {first}",
            f"Run this as the owner of the files; or, if you trust them, run `{command}`.",
        )
    return UsageError(f"git cannot read the repository of {folder}: {first}")


def find_repository(folder: str) -> Repository | None:
    """Return the repository that a folder is in; None when it is in none.

    Args:
        folder: the path of a folder.

    Raises:
        UsageError: git is not installed, or refuses to read the repository.
    """
    repository = Repository(folder)
    done = repository._run("rev-parse", "--is-inside-work-tree")  # noqa: SLF001 - of this module
    if done.returncode and b"not a git repository" in done.stderr:
        return None
    if done.returncode:
        raise _refused(folder, done.stderr)
    return repository
