"""A run in numbers, as a file for the textfile collector of Prometheus' node_exporter."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from migrator.apply.outcome import MigrationFailed
from migrator.process import outside
from migrator.process.errors import FAILED, MigratorError, UsageError
from migrator.process.log import redact_answer
from migrator.process.settings import given_as
from migrator.process.terminal import visible
from migrator.process.version import __version__
from migrator.watch.impact import worst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.apply.outcome import Applied
    from migrator.apply.state import Outcome
    from migrator.history.filled import Filled


class Run(NamedTuple):
    """What is known of a run that has ended.

    Attributes:
        status: its exit status.
        ended: when, in seconds since 1970.
        seconds: how long it took.
        applied: what it ran, without checkpoints that it only recorded; None: not known.
        version: the version that the database is at; None: not known.
        pending: how many migrations are not applied; None: not known.
        left: how many backfills were left for later; None: not known.
        filled: the name of a running backfill, and how far it is; None: none runs.
        states: how many targets are in each state, for a run on many.
        versions: how many targets are at each version, for a run on many.
    """

    status: int | None
    ended: float | None
    seconds: float | None
    applied: Sequence[Applied] | None = None
    version: int | None = None
    pending: int | None = None
    left: int | None = None
    filled: tuple[str, Filled] | None = None
    states: Mapping[str, int] = MappingProxyType({})
    versions: Mapping[int, int] = MappingProxyType({})


def running(file: str, filled: Filled) -> Run:
    """Return what is known of a run while a backfill runs.

    Args:
        file: the name of the backfill.
        filled: how far it is.
    """
    return Run(None, None, None, filled=(file, filled))


def of(result: Outcome | Exception, *, ended: float, seconds: float) -> Run:
    """Return what is known of a run from what it returned or raised.

    Args:
        result: what `apply_pending` returned, or the error that ended the run.
        ended: when, in seconds since 1970.
        seconds: how long it took.
    """
    if isinstance(result, MigrationFailed):
        failure = result.failure
        return Run(result.status, ended, seconds, None, failure.current, failure.pending)
    if isinstance(result, Exception):
        status = result.status if isinstance(result, MigratorError) else FAILED
        return Run(status, ended, seconds)
    applied = [done for done in result.applied if not done.recorded_only]
    return Run(0, ended, seconds, applied, result.current, 0, len(result.left))


def text(run: Run) -> str:
    """Return a run in Prometheus' text format.

    The format is described in https://prometheus.io/docs/instrumenting/exposition_formats/.
    """
    durations = {
        _labels(version=done.version or "", file=done.file): done.duration_ms / 1000
        for done in run.applied or ()
    }
    locks = {
        _labels(
            version=done.version or done.file, relation=lock.relation, mode=lock.mode
        ): lock.held_ms / 1000
        for done in run.applied or ()
        for lock in worst(done.impact.locks)
    }
    done_rows, all_rows = {}, {}
    if run.filled:
        file, filled = run.filled
        done_rows, all_rows = {_labels(file=file): filled.rows}, {_labels(file=file): filled.of}
    count = None if run.applied is None else len(run.applied)
    gauges: tuple[tuple[str, str, Mapping[str, float | None]], ...] = (
        ("build_info", "The migrator's version.", {_labels(version=__version__): 1}),
        ("run_exit_status", "Exit status of the latest run; 0 is success.", {"": run.status}),
        (
            "run_end_timestamp_seconds",
            "When the latest run ended, Unix time.",
            {"": _rounded(run.ended)},
        ),
        ("run_duration_seconds", "How long the latest run took.", {"": _rounded(run.seconds)}),
        ("schema_version", "The highest version in the history.", {"": run.version}),
        (
            "pending_migrations",
            "Migrations and repeatables that are not applied.",
            {"": run.pending},
        ),
        ("left_backfills", "Backfills that the latest run left for later.", {"": run.left}),
        ("backfill_rows_done", "Rows that a running backfill has done.", done_rows),
        ("backfill_rows", "Rows that it has to do, estimated.", all_rows),
        (
            "applied_migrations",
            "Migrations and repeatables that the latest run applied.",
            {"": count},
        ),
        (
            "targets",
            "Targets of the latest run, by what became of them.",
            {_labels(state=state): count for state, count in run.states.items()},
        ),
        (
            "targets_at_version",
            "Targets of the latest run, by the version of their database.",
            {_labels(version=version): count for version, count in run.versions.items()},
        ),
        ("migration_duration_seconds", "How long a migration of the latest run took.", durations),
        ("migration_lock_held_seconds", "How long it held a lock on an existing relation.", locks),
    )
    lines = []
    for name, meaning, samples in gauges:
        known = {labels: value for labels, value in samples.items() if value is not None}
        if known:
            lines += [f"# HELP migrator_{name} {meaning}", f"# TYPE migrator_{name} gauge"]
            lines += [f"migrator_{name}{labels} {value}" for labels, value in known.items()]
    return "\n".join(lines) + "\n"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _labels(**values: object) -> str:
    escaped = {
        name: visible(redact_answer(str(value))).replace("\\", r"\\").replace('"', r"\"")
        for name, value in values.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"


def check(name: str) -> None:
    """See that a file can be written, before anything is applied.

    A link is no problem, because the new file replaces the link and not what the link leads to.

    Raises:
        UsageError: its folder does not exist or cannot be written to, or in its place is something
            else, such as a FIFO or a device, which a new file would replace.
    """
    path = Path(name)
    problem = ""
    if found := _found(path):
        problem = f"it is {found}"
    elif not path.parent.is_dir():
        problem = f"there is no folder {path.parent}"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        problem = f"the folder {path.parent} cannot be written to"
    if problem:
        raise UsageError(
            f"{given_as('MIGRATOR_METRICS_FILE')}={name!r}: {problem}",
            "Name a file in a folder that exists, with the ending .prom for node_exporter.",
        )


def _found(path: Path) -> str:
    """Return in words what is in the place of the file; empty for nothing, a file or a link."""
    try:
        mode = path.lstat().st_mode
        # A link to a folder is more likely a mistake than a file to replace.
        return "a folder" if path.is_dir() else "" if path.is_symlink() else outside.kind(mode)
    except OSError:
        return ""


def write(name: str, run: Run) -> None:
    """Write the file, so that whoever reads it finds the previous one or all of this one.

    Args:
        name: the path of the file; a new file beside it, whose name ends in `.tmp`, is renamed to
            it.
        run: what it is to say.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(name)
    # In containers that share the folder, every migrator is process 1.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text(run))
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
