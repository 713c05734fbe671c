"""What Kubernetes shows: why a container ended."""

from __future__ import annotations

from contextlib import suppress

# Kubernetes makes the file and shows what is in it (pod.spec.containers.terminationMessagePath).
_TERMINATION_LOG = "/dev/termination-log"
_LONGEST_REASON = 4096  # bytes that Kubernetes shows of a termination message


def leave_reason(text: str) -> None:
    """Write why a command fails to where Kubernetes looks for it, if that is there.

    Args:
        text: what a person is told.
    """
    with suppress(OSError), open(_TERMINATION_LOG, "r+b") as file:  # noqa: PTH123 - not created
        file.truncate()
        file.write(reason(text))


def reason(text: str) -> bytes:
    """Return why a command failed as Kubernetes' termination message, cut where it is too long.

    Args:
        text: what a person is told.
    """
    data = text.encode(errors="backslashreplace")  # a path may have bytes that are not UTF-8
    if len(data) <= _LONGEST_REASON:
        return data
    ending = " …".encode()
    return data[: _LONGEST_REASON - len(ending)].decode(errors="ignore").encode() + ending
