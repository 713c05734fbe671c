"""What is told about a statement while it runs: the fields of a log line, and a live line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.process.log import redact
from migrator.process.terminal import one_line
from migrator.watch.growth import Sizes

if TYPE_CHECKING:
    from migrator.server.activity import Activity, Blocker
    from migrator.watch.progress import Progress
    from migrator.watch.subject import Subject
    from migrator.watch.waiters import Waiting

_MINUTE, _HOUR = 60, 3600  # seconds
_LONGEST_SQL = 120  # characters of a statement in a line of the log
_SHORTEST_SQL = 40  # the same in a line that a terminal shows
_READ = 5000  # characters of a statement that are searched for passwords
_SECTION = "Many rows: a backfill"  # of docs/writing-migrations.md


class Report(NamedTuple):
    """What the server and its sessions say about a running statement.

    Attributes:
        state: the state of the session, such as `active`.
        wait: the event that it waits for, such as `Lock/relation` or `IO/DataFileRead`.
        blockers: the sessions that it waits for.
        waiting: the sessions that wait for it.
        progress: how far the command is, when the server reports that.
        phase_left_s: an estimate of how long its phase will last, in seconds.
        sizes: what was measured of its table, or of the database.
    """

    state: str | None = None
    wait: str | None = None
    blockers: tuple[Blocker, ...] = ()
    waiting: Waiting | None = None
    progress: Progress | None = None
    phase_left_s: float | None = None
    sizes: Sizes = Sizes()

    @property
    def is_blocked(self) -> bool:
        """Whether the statement waits for a lock."""
        return bool(self.blockers) or (self.wait or "").startswith("Lock/")


# That a statement runs is told also when the server, or the second connection, does not answer.
UNSEEN = Report()


def fields(activity: Activity, elapsed: float, report: Report, hint: str) -> dict[str, Any]:
    """Return the keys of the event `still running`, without those of which nothing is known.

    Args:
        activity: the statement.
        elapsed: for how many seconds it has been running.
        report: what is known of it.
        hint: what to do; may be empty.
    """
    # A repeatable has no version.
    place: dict[str, Any] = {"version": activity.version} if activity.version else {}
    place |= {"file": activity.file}
    if activity.statement is not None:
        place |= {"line": activity.line, "statement": activity.statement}
    progress, waiting, left = report.progress, report.waiting, report.phase_left_s
    facts = {
        "last_statement": activity.last_statement,
        "elapsed_s": round(elapsed, 1),
        "sql": beginning(activity, _LONGEST_SQL),
        "pid": activity.pid,
        "state": report.state,
        "wait": report.wait,
        "doing": progress.doing if progress else None,
        "percent": progress.percent if progress else None,
        "rows": progress.rows if progress else None,
        "phase_left_s": None if left is None else max(1, round(left)),
        "table": report.sizes.target,
        "database_grown": report.sizes.database_grown,
        "blocked_by": [str(blocker) for blocker in report.blockers],
        "sessions_waiting": waiting.count if waiting else None,
        "longest_wait_s": waiting.longest_s if waiting else None,
        "waiting_for_us": list(waiting.described) if waiting else [],
        "hint": hint or None,
    }
    return place | {key: value for key, value in facts.items() if value not in (None, [], "")}


def line(activity: Activity, elapsed: float, report: Report) -> str:
    """Return the line that a person sees at a terminal while a statement runs.

    The terminal cuts it, so what calls for action comes first.
    """
    place = activity.file if activity.line is None else f"{activity.file}:{activity.line}"
    waiting, progress, sizes = report.waiting, report.progress, report.sizes
    parts = [
        f"waits for {report.blockers[0]}" if report.blockers else "",
        str(waiting) if waiting else "",
    ]
    if progress:
        percent = progress.percent
        parts += [
            progress.doing,
            "" if percent is None else f"{percent:.0f} %",
            f"{progress.rows:,} rows" if progress.rows else "",
            f"about {about(report.phase_left_s)} left in this phase" if report.phase_left_s else "",
        ]
    elif not report.blockers:
        parts += [
            beginning(activity, _SHORTEST_SQL),
            str(sizes.target or ""),
            f"the database {sizes.database_grown}" if sizes.database_grown else "",
            report.wait or "",
        ]
    return f"{place}: {elapsed:.0f} s  {', '.join(filter(None, parts))}".rstrip()


def beginning(activity: Activity, longest: int) -> str:
    """Return the beginning of the statement on one line, without passwords.

    Args:
        activity: the statement.
        longest: characters of the result.
    """
    end = min(activity.end, activity.start + _READ)
    return one_line(redact(activity.source[activity.start : end]), longest)


def advice(subject: Subject) -> str:
    """Return what to do about a statement that nobody can see the progress of; empty for others."""
    if not subject.is_hidden:
        return ""
    article = "an" if subject.verb == "UPDATE" else "a"
    return (
        f"PostgreSQL does not report the progress of {article} {subject.verb}. Stopping it undoes "
        "all its work. Let it end; the next time, make it a backfill, which commits in steps: "
        f'docs/writing-migrations.md, section "{_SECTION}".'
    )


def about(seconds: float) -> str:
    """Return a time in words, no more exact than an estimate is."""
    if seconds < 90:  # noqa: PLR2004 - the last number before minutes say as much
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * _MINUTE:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.1f} h"
