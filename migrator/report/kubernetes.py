"""What Kubernetes shows: why a container ended."""

from __future__ import annotations

from migrator.process import outside
from migrator.process.log import get_logger
from migrator.process.terminal import lines

log = get_logger()

# Kubernetes makes the file and shows what is in it (pod.spec.containers.terminationMessagePath).
_TERMINATION_LOG = "/dev/termination-log"
_LONGEST_REASON = 4096  # bytes that Kubernetes shows of a termination message


def leave_reason(text: str) -> None:
    """Write why a command fails to where Kubernetes looks for it, if that is there.

    Args:
        text: what a person is told.
    """
    try:
        outside.write(_TERMINATION_LOG, reason(text), append=False)
    except FileNotFoundError:
        pass  # this is no container of Kubernetes
    except OSError as error:
        log.warning("reason not written", file=_TERMINATION_LOG, reason=error.strerror)


def reason(text: str) -> bytes:
    """Return why a command failed as Kubernetes' termination message, cut where it is too long.

    Args:
        text: what a person is told.
    """
    data = lines(text).encode()
    if len(data) <= _LONGEST_REASON:
        return data
    ending = " …".encode()
    return data[: _LONGEST_REASON - len(ending)].decode(errors="ignore").encode() + ending
