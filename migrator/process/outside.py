"""Writes into files that another program has made, and that somebody else may have replaced.

A link in a shared folder may lead to a file that only we may write. To open a FIFO that nobody
reads waits for ever, and to open a device may do anything. So such a file is opened only if it is a
regular file with a single name, and is never waited for.
"""

from __future__ import annotations

import errno
import os
import stat

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def kind(mode: int) -> str:
    """Return in words what a path leads to; empty for a regular file.

    Args:
        mode: the `st_mode` of the path.
    """
    return _KINDS.get(stat.S_IFMT(mode), "")


def write(path: str, data: bytes, *, append: bool, create: bool = False) -> None:
    """Write into a file.

    Args:
        path: the path of the file.
        data: what is written.
        append: whether what is in the file stays.
        create: whether the file is made if nothing has its name.

    Raises:
        OSError: it cannot be written, or it is not a regular file with a single name.
    """
    # Without O_TRUNC, because at that time it is not known what was opened.
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    flags |= os.O_APPEND * append | os.O_CREAT * create
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link", path) from None
        if error.errno == errno.ENXIO:  # open(2): a FIFO that nobody reads, or a socket
            raise OSError(errno.ENXIO, "it is a FIFO or a socket", path) from None
        raise
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        found = os.fstat(descriptor)
        if problem := kind(found.st_mode):
            raise OSError(errno.EINVAL, f"it is {problem}", path)
        if found.st_nlink > 1:
            raise OSError(errno.EMLINK, "it has another name in another place (a hard link)", path)
        if not append:
            os.ftruncate(descriptor, 0)
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
