"""What a command is given, and what several commands do in the same way."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from migrator.files.folder import load_folder, read_texts
from migrator.process.errors import MigratorError, NotOurs, ProblemsFound, UsageError
from migrator.process.log import get_logger, redact_answer, redacted
from migrator.process.settings import require_database
from migrator.process.terminal import json_text, lines

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator, Mapping
    from types import SimpleNamespace

    from migrator.apply.state import Outcome, RunState
    from migrator.files.folder import Folder
    from migrator.files.merge import Comparison
    from migrator.files.migration import Migration
    from migrator.files.reference import Reference
    from migrator.history.filled import Filled
    from migrator.history.plan import Plan
    from migrator.process.errors import Problem
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop
    from migrator.server.session import Session

log = get_logger()


class Context:
    """One command on its way.

    Attributes:
        options: the parsed arguments.
        settings: the validated settings.
        environ: the environment with the flags laid over it.
        stop: tells whether a signal has arrived.
        command_line: makes the parser of the whole command line.
        answered: whether the command has printed its answer.
        began: when the command began, by the monotonic clock.
        version: the version that the database is at; None as long as that is not known.
    """

    def __init__(
        self,
        options: SimpleNamespace,
        settings: Settings,
        environ: Mapping[str, str],
        stop: Stop,
        command_line: Callable[[], ArgumentParser],
    ) -> None:
        self.options = options
        self.settings = settings
        self.environ = environ
        self.stop = stop
        self.command_line = command_line
        self.answered = False
        self.began = time.monotonic()
        self.version: int | None = None

    def folder(self, *, pending: bool = False) -> Folder:
        """Return the files, also if some of them cannot be applied as they are.

        Args:
            pending: whether each of them is yet to be applied somewhere.
        """
        return load_folder(self.settings.directory, pending=pending)

    def files(self, *, pending: bool = False) -> Folder:
        """Load the files.

        Args:
            pending: whether each of them is yet to be applied somewhere.

        Raises:
            ProblemsFound: some of them cannot be applied as they are.
        """
        folder = self.folder(pending=pending)
        if folder.problems:
            raise ProblemsFound(folder.problems)
        return folder

    def migrations(self, *, pending: bool = False) -> tuple[Migration, ...]:
        """Load the files, for a command that does nothing about repeatables.

        Args:
            pending: whether each of them is yet to be applied somewhere.

        Raises:
            ProblemsFound: some of them cannot be applied as they are.
        """
        return self.files(pending=pending).migrations

    def compare(self) -> tuple[Reference, dict[str, bytes | None], Comparison]:
        """Compare the files with those of the branch or folder that --against names.

        Returns:
            What they were compared with, the content of each file by its name, and the differences.

        Raises:
            UsageError: the files to compare with cannot be read.
        """
        from migrator.files import merge  # noqa: PLC0415 - only --against needs it
        from migrator.files.reference import read_reference  # noqa: PLC0415 - as merge

        directory = self.settings.directory
        with self.stop.idle():  # it may wait for git
            here = read_texts(directory)
            reference = read_reference(self.options.against, directory)
        return reference, here, merge.compare(here, reference)

    def repeatable_texts(self) -> dict[str, bytes | None]:
        """Return the content of each repeatable here by the name of its file.

        Raises:
            UsageError: the folder cannot be read.
        """
        from migrator.files.repeatable import parse_name  # noqa: PLC0415 - many folders have none

        return read_texts(self.settings.directory, parse_name)

    def command(self, name: str, *arguments: str) -> str:
        """Return a command line of ours that finds the same folder.

        Args:
            name: the name of the command.
            arguments: what follows the name.
        """
        import shlex  # noqa: PLC0415 - few messages have such a command in them

        folder = ["--dir", self.options.dir] if self.options.dir else []
        return shlex.join(["migrator", name, *folder, *arguments])

    @contextmanager
    def connect(self, *, write: bool) -> Iterator[Session]:
        """Connect to the database of the settings.

        Args:
            write: whether a server in recovery or read-only is no use.

        Raises:
            UsageError: nothing says which database to use.
            NotOurs: in the block, a table with the name of the history was something else.
        """
        from migrator.server.connect import connect  # noqa: PLC0415 - the driver takes 24 ms
        from migrator.server.session import ServerError  # noqa: PLC0415 - as connect

        require_database(self.settings, self.environ)
        with connect(self.settings, self.stop, write=write) as session:
            try:
                yield session
            except ServerError as refused:
                from migrator.history import rights  # noqa: PLC0415 - only an error needs it

                raise rights.worded(session, refused, write=write) from None
            except NotOurs as refused:
                from migrator.adoption import first_run  # noqa: PLC0415 - few databases have it

                migrations = self.folder().migrations
                raise first_run.named(session, migrations, refused) from None

    def plan(
        self, session: Session, folder: Folder, *, of_run: bool = False, removed: bool = False
    ) -> Plan:
        """Compare the files with the history, and with what earlier runs have begun.

        Args:
            session: outside a transaction for the plan of a run.
            folder: all files on disk.
            of_run: whether it is the plan of a run, which refuses a database that somebody else
                has built.
            removed: whether it has the repeatables whose files were removed, also where no
                repeatable is left.
        """
        # These import the driver, which commands without a database do not need.
        from migrator.history.plan import plan_of  # noqa: PLC0415 - as connect
        from migrator.history.table import read_history  # noqa: PLC0415 - as connect

        migrations, repeatables = folder.migrations, folder.repeatables
        history = read_history(session, repeatables if repeatables or removed else None)
        plan = plan_of(migrations, history, repeatables)
        self.version = plan.current
        if of_run and history.is_blank:
            from migrator.adoption import first_run  # noqa: PLC0415 - once in a database's life

            _, plan = first_run.look(session, migrations, repeatables, history, plan)
        return plan

    def problems(self, plan: Plan) -> tuple[Problem, ...]:
        """Return the disagreements of files and history that keep us from applying anything."""
        from migrator.history.plan import plan_problems  # noqa: PLC0415 - as connect

        return plan_problems(plan, self.settings)

    def require_agreement(self, session: Session, plan: Plan) -> None:
        """Refuse files and a history that disagree.

        Raises:
            ProblemsFound: they disagree; the error has each disagreement.
        """
        if problems := self.problems(plan):
            raise ProblemsFound(problems, hint=self.way_out(session, plan))

    def left(self, session: Session, plan: Plan) -> dict[int, str]:
        """Return in words, by version, what the statements of unfinished files have left."""
        if not plan.progress:
            return {}
        from migrator.apply import traces  # noqa: PLC0415 - only an unfinished file needs it

        return traces.left_by_files(session, plan)

    def way_out(self, session: Session, plan: Plan) -> str:
        """Return how a developer's database can be built again from the files; may be empty."""
        from migrator.history import rebuild  # noqa: PLC0415 - most plans have no problems

        return rebuild.advice(session, plan)

    def apply(
        self,
        *,
        single_transaction: bool = False,
        confirm: str | None = None,
        only_backfills: bool = False,
    ) -> None:
        """Apply everything pending, and write how the run went to where that was asked for.

        Args:
            single_transaction: whether all pending files are one transaction.
            confirm: the name of a database in which a first run may find what migrator did not
                make; None to refuse such a database.
            only_backfills: whether the backfills are applied that were left for later, and nothing
                else.
        """
        from migrator.apply.run import apply_pending  # noqa: PLC0415 - few commands need it
        from migrator.apply.state import Backfills, RunState  # noqa: PLC0415 - as above

        in_place_or_later = Backfills.LATER if self.settings.backfill_later else Backfills.IN_PLACE
        self.require_metrics()
        started = time.monotonic()
        state = RunState()
        try:
            folder = self.files()
            require_database(self.settings, self.environ)
            outcome = apply_pending(
                self.settings,
                folder.migrations,
                self.stop,
                repeatables=() if only_backfills else folder.repeatables,
                single_transaction=single_transaction,
                confirm=confirm,
                backfills=Backfills.ONLY if only_backfills else in_place_or_later,
                tell=self._measure_backfill if self.settings.metrics_file else None,
                state=state,
            )
        except Exception as error:
            self.note_run(error, state, started)
            raise
        self.note_run(outcome, state, started)

    def note_run(self, result: Outcome | Exception, state: RunState, started: float) -> None:
        """Write how a run went to where that was asked for.

        Args:
            result: what it returned, or the error that ended it.
            state: how far it has come.
            started: when it began, by the monotonic clock.
        """
        del state  # the result has all of it
        self._measure(result, started)
        if not isinstance(result, Exception) and self.environ.get("GITHUB_ACTIONS") == "true":
            from migrator.report import github  # noqa: PLC0415 - only GitHub reads it

            github.summarise(self.environ, result)

    def require_metrics(self) -> None:
        """See that the metrics of a run can be written, where that was asked for.

        Raises:
            UsageError: they cannot.
        """
        if self.settings.metrics_file:
            from migrator.report import metrics  # noqa: PLC0415 - few runs write metrics

            metrics.check(self.settings.metrics_file)

    def _measure_backfill(self, migration: Migration, filled: Filled) -> None:
        """Write how far a running backfill is; the run goes on without that, too."""
        from migrator.report import metrics  # noqa: PLC0415 - few runs write metrics

        with suppress(OSError):  # `_measure` tells of it at the end
            metrics.write(str(self.settings.metrics_file), metrics.running(migration.file, filled))

    def _measure(self, result: Outcome | Exception, started: float) -> None:
        """Write the metrics of a run where that was asked for; the run counts without them, too."""
        path = self.settings.metrics_file
        if path is None:
            return
        from migrator.report import metrics  # noqa: PLC0415 - few runs write metrics

        seconds = time.monotonic() - started
        try:
            metrics.write(path, metrics.of(result, ended=time.time(), seconds=seconds))
        except OSError as error:
            log.warning("metrics not written", file=path, reason=error.strerror)

    @property
    def width(self) -> int | None:
        """Columns of the terminal that the answer goes to; None: it goes elsewhere."""
        import shutil  # noqa: PLC0415 - 3 ms, and only a terminal needs it

        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def show(self, data: object, text: str, brief: str = "") -> None:
        """Print the answer to a command.

        Args:
            data: the answer for programs, printed when JSON was asked for.
            text: the same answer for people.
            brief: what of it a person wants to know of one target among many; empty: all of it.
        """
        del brief  # there is one target
        self.answered = True
        if self.options.json:
            text = json.dumps(redacted(data), ensure_ascii=False, indent=2)
            self.say(json_text(text) + "\n", as_it_is=True)
        else:
            self.say(text + "\n")

    def leave_reason(self, text: str) -> None:
        """Leave why the command ends with another status than 0 to where Kubernetes looks for it.

        Args:
            text: what a person is told.
        """
        from migrator.report import kubernetes  # noqa: PLC0415 - most commands end well

        kubernetes.leave_reason(redact_answer(text))

    def show_refusal(self, error: ProblemsFound) -> None:
        """Print the problems that keep a command from answering, for a program that reads JSON."""
        if self.options.json and not self.answered:
            self.show(error.fields(), "")

    def say(self, text: str, *, as_it_is: bool = False) -> None:
        """Print a part of the answer to a command.

        Args:
            text: the part; what others wrote in it is made harmless here.
            as_it_is: whether it is printed as it is, because it is for a program.

        Raises:
            BrokenPipeError: nobody reads it any more.
            MigratorError: it cannot be written.
        """
        if not as_it_is:
            text = lines(redact_answer(text))
        try:
            with self.stop.writing():
                sys.stdout.write(text)
                sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise MigratorError(
                f"the answer cannot be written: {error.strerror}", "Check where the output goes."
            ) from None

    def agree(self, question: str) -> None:
        """Ask before something is changed for good.

        Raises:
            UsageError: there is nobody to ask, or the answer is not yes.
        """
        if self.options.yes:
            return
        if not sys.stdin.isatty():
            raise UsageError(
                "there is no terminal on which you can agree to the changes",
                "Add --yes to make these changes.",
            )
        self.say(f"{question} Type yes to continue: ")
        with self.stop.idle():
            answer = sys.stdin.readline().strip()
        if answer.lower() != "yes":
            raise UsageError("the answer was not yes; nothing was changed")
