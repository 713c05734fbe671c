"""What has become of one target, and of all of them."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.process import errors
from migrator.process.errors import DatabaseUnavailable, Interrupted, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.process.errors import MigratorError

# Which status a command has that ran on many targets: the first of these that one of them has.
_ORDER = (
    errors.USAGE,
    errors.FAILED,
    errors.DISAGREEMENT,
    errors.LOCKED,
    errors.UNREACHABLE,
    errors.PENDING,
)
_MOST_NAMES = 5  # of targets in one line
_NO_WORD = 4  # characters of a name that is recognised without quotes


class State(StrEnum):
    """What has become of a target. The order is that of a summary."""

    DONE = "done"
    PENDING = "pending"  # the command was to say so, or would have had to wait for something else
    FAILED = "failed"
    NOT_REACHED = "not reached"
    INTERRUPTED = "interrupted"
    NOT_BEGUN = "not begun"


class Result(NamedTuple):
    """What has become of one target.

    Attributes:
        name: its name.
        state: what has become of it.
        status: the exit status that the command would have had with this target alone; None when
            it was not begun.
        seconds: how long it took.
        version: the version of its database, as far as the command has learnt it.
        applied: how many files were applied, for a command that applies some.
        text: the answer for people.
        data: the answer for programs, JSON that is compressed; empty: there is none.
        error: why there is no answer, or why it failed.
        alike: the words of the error without what is only this target's: those of two targets are
            the same when the same went wrong.
        server_away: whether the server was waited for in vain.
    """

    name: str
    state: State
    status: int | None = None
    seconds: float = 0.0
    version: int | None = None
    applied: int | None = None
    text: str = ""
    data: bytes = b""
    error: MigratorError | None = None
    alike: str = ""
    server_away: bool = False

    @property
    def failed(self) -> bool:
        """Whether the target counts as failed."""
        return self.state in (State.FAILED, State.NOT_REACHED)


def state_of(status: int, error: MigratorError | None) -> State:
    """Return the state of a target whose command has ended.

    Args:
        status: its exit status.
        error: what ended it, if anything did.
    """
    if status == errors.OK:
        return State.DONE
    if isinstance(error, Interrupted):
        return State.INTERRUPTED
    if status == errors.PENDING:
        return State.PENDING
    reached = isinstance(error, NotAllowed) or not isinstance(error, DatabaseUnavailable)
    return State.FAILED if reached else State.NOT_REACHED


def status_of(results: Sequence[Result], signum: int = 0) -> int:
    """Return the exit status of a command that ran on many targets.

    Args:
        results: what has become of each.
        signum: the signal that has arrived; 0 for none.
    """
    if signum and any(one.state in (State.INTERRUPTED, State.NOT_BEGUN) for one in results):
        return 128 + signum
    statuses = {result.status for result in results}
    return next((status for status in _ORDER if status in statuses), errors.OK)


def without_names(text: str, names: Sequence[str]) -> str:
    """Return the words of an error without the names of one target, and without numbers.

    Args:
        text: the words.
        names: what the words may call the target: its name, its database, its schema, its host.
    """
    for name in sorted(filter(None, names), key=len, reverse=True):
        quoted = re.escape(name)
        # A short name may be a word of ours.
        bare = rf"(?<!\w){quoted}(?!\w)" if len(name) >= _NO_WORD else rf"(?<=schema ){quoted}\b"
        text = re.sub(rf"""(?<=["']){quoted}(?=["'.])|{bare}""", "…", text)
    return re.sub(r"\d+(?:\.\d+)?", "0", text)


class Group(NamedTuple):
    """Targets of which the same is to be told.

    Attributes:
        first: what has become of the first of them.
        names: the names of all.
    """

    first: Result
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """The names, as many as a line has room for, and how many there are."""
        shown = ", ".join(self.names[:_MOST_NAMES])
        if len(self.names) == 1:
            return shown
        more = len(self.names) - _MOST_NAMES
        return f"{shown}{f' and {more:,} more' if more > 0 else ''} ({len(self.names):,} targets)"


def failures(results: Sequence[Result]) -> list[Group]:
    """Return the targets that failed, those with the same failure together."""
    return _grouped([result for result in results if result.error is not None], "alike")


def answers(results: Sequence[Result]) -> list[Group]:
    """Return the targets that have an answer, those with the same answer together."""
    return _grouped([result for result in results if result.text], "text")


def _grouped(results: Sequence[Result], key: str) -> list[Group]:
    groups: dict[object, list[Result]] = {}
    for result in results:
        alike = (result.state, result.version, getattr(result, key))
        groups.setdefault(alike, []).append(result)
    return [Group(some[0], tuple(one.name for one in some)) for some in groups.values()]


def counts(results: Sequence[Result]) -> dict[str, int]:
    """Return how many targets are in each state, without the states that none is in."""
    counted = Counter(result.state for result in results)
    return {state.value: counted[state] for state in State if counted[state]}


def versions(results: Sequence[Result]) -> dict[int, int]:
    """Return how many targets are at each version, the highest one first."""
    known = Counter(result.version for result in results if result.version is not None)
    return {version: known[version] for version in sorted(known, reverse=True)}


def summary(results: Sequence[Result]) -> str:
    """Return in one line how many targets there are, at which versions, and in which states."""
    at = [f"{count:,} at version {version}" for version, count in versions(results).items()]
    states = counts(results)
    others = [f"{count:,} {state}" for state, count in states.items() if state != State.DONE]
    done = states.get(State.DONE.value, 0)
    parts = [f"{done:,} done", *others]
    total = f"{len(results):,} {'target' if len(results) == 1 else 'targets'}"
    known = f"; {', '.join(at)}" if at else ""
    return f"{total}: {', '.join(parts)}{known}"


def data(results: Sequence[Result], total: int) -> dict[str, Any]:
    """Return the numbers of a summary for programs.

    Args:
        results: those of the targets of this process.
        total: how many targets the list has.
    """
    return {
        "targets": len(results),
        "listed": total,
        "states": counts(results),
        "versions": {str(version): count for version, count in versions(results).items()},
    }
