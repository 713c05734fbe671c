"""What a command is: the constant `COMMAND` that each command's file defines."""

from __future__ import annotations

from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping
    from types import SimpleNamespace

    from migrator.commands.context import Context


# Sentences that several manual pages have in common.
ANSWER = "The answer goes to stdout, as JSON with --json; the log and errors go to stderr."
READS = "It needs only the right to read the history table, and takes no lock."

# Settings that mean something to several commands, by the names of their variables.
FILES = ("MIGRATIONS_DIR",)
CONNECTION = (
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "POSTGRES_PASSWORD",
    "POSTGRES_PASSWORD_FILE",
    "MIGRATOR_WAIT",
)
HISTORY = (*CONNECTION, "MIGRATOR_TABLE")  # to read it
# What files and history may disagree in, and what is left for later.
RULES = ("MIGRATOR_AHEAD", "MIGRATOR_OUT_OF_ORDER", "MIGRATOR_BACKFILL")
LOCKS = ("MIGRATOR_LOCK_WAIT", "MIGRATOR_LOCK_TIMEOUT")  # to change the history or the schema
RUNNING = (*LOCKS, "MIGRATOR_STATEMENT_TIMEOUT", "MIGRATOR_HEARTBEAT", "MIGRATOR_POOLER")
SCRATCH = (*RUNNING, "MIGRATOR_SCRATCH_URL", "MIGRATOR_SCRATCH_URL_FILE")  # to build a schema
ONE_TARGET = ("MIGRATOR_TARGETS", "MIGRATOR_TARGETS_QUERY", "MIGRATOR_ONE_TARGET")
TARGETS = (*ONE_TARGET, "MIGRATOR_JOBS", "MIGRATOR_SHARD")
WAVES = ("MIGRATOR_CANARY", "MIGRATOR_MAX_FAILURES")  # of commands that change the targets
APPLYING = (
    *(*FILES, *HISTORY, *RULES, *RUNNING),
    *("MIGRATOR_LOCK_HOLD_WARN", "MIGRATOR_LOCK_HOLD_MAX", "MIGRATOR_METRICS_FILE"),
)
LOG = ("MIGRATOR_LOG_FORMAT", "MIGRATOR_LOG_LEVEL")  # these mean something to every command


class Page:
    """What the manual says of one command beyond its options.

    Attributes:
        text: what the command does, reads, changes and leaves alone; a blank line ends a paragraph.
        success: what exit status 0 means.
        statuses: the other statuses it can end with, besides 2 and those of a signal.
        examples: command lines, each with what it is for.
    """

    # Every run makes a page and a command; as named tuples they would take half a millisecond.
    def __init__(
        self,
        text: str,
        success: str,
        statuses: tuple[str, ...],
        examples: tuple[tuple[str, str], ...],
    ) -> None:
        self.text = text
        self.success = success
        self.statuses = statuses
        self.examples = examples


class OnTargets(Enum):
    """What a command does with many targets."""

    READS = auto()  # so it goes on after a failure, and there is no canary
    CHANGES = auto()


def _no_options(parser: ArgumentParser) -> None:
    """Add nothing: the command has no options of its own."""


def _never(_: SimpleNamespace) -> bool:
    """Say that a person reads the log, whatever the options are."""
    return False


class Command:
    """A command of the command line.

    Attributes:
        name: what is written after the program's name; its file has the same name.
        order: its place in `--help`, from low to high.
        summary: what it does, in the one line that `--help` has for it.
        page: its manual page.
        run: does it, and returns the exit status.
        add_options: adds the options that only this command has.
        has_json: whether it takes `--json`.
        settings: the flags of settings that it takes; None: all of them. A command that needs no
            database takes few; the others take all, so that flags can be given to any of them.
        meaningful: the variables of the settings that mean something to it, which its `--help`
            shows, besides those of the log; None: all flags that it takes, and no variables.
        changed_settings: how it takes the flag of a setting that means something else to it, as
            arguments of `add_argument`.
        flag: an option of the program that stands for the command; empty: there is none.
        on_targets: what it does with many targets; None: it refuses more than one.
        unattended: says, by the options, whether a deployment runs the command and a program reads
            its log. Then the log is JSON lines by default, where stderr is no terminal.
    """

    def __init__(
        self,
        name: str,
        order: int,
        summary: str,
        page: Page,
        run: Callable[[Context], int],
        add_options: Callable[[ArgumentParser], None] = _no_options,
        *,
        has_json: bool = False,
        settings: tuple[str, ...] | None = None,
        meaningful: tuple[str, ...] | None = None,
        changed_settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        flag: str = "",
        on_targets: OnTargets | None = None,
        unattended: Callable[[SimpleNamespace], bool] = _never,
    ) -> None:
        self.name = name
        self.order = order
        self.summary = summary
        self.page = page
        self.run = run
        self.add_options = add_options
        self.has_json = has_json
        self.settings = settings
        self.meaningful = meaningful
        self.changed_settings = changed_settings
        self.flag = flag
        self.on_targets = on_targets
        self.unattended = unattended
