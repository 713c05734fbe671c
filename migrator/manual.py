"""The manual page of each command, which its `--help` shows around the options."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 78


class Page(NamedTuple):
    """What there is to say of one command beyond its options.

    Attributes:
        text: what it does, reads, changes and leaves alone; a blank line ends a paragraph.
        success: what exit status 0 means.
        statuses: which others it can end with, besides 2 and those of a signal.
        examples: command lines, each with what it is for.
    """

    text: str
    success: str
    statuses: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]


_ANSWER = "The answer goes to stdout, as JSON with --json; the log and errors go to stderr."
_READS = "It needs the right to read the history table and nothing else, and takes no lock."
PAGES = {
    "apply": Page(
        """
        Wait for the server, compare the files with the history table, and apply every pending file
        in the order of the versions. Each file is one transaction together with its row in the
        history, so it is applied once or not at all, however many migrators run and whatever
        happens to them. A file with the directive no-transaction runs statement by statement, and a
        second run goes on where the first one stopped.

        All files are checked first; when one is not valid, or was edited after it was applied,
        nothing is applied. When a migration fails, those before it stay, those behind it are not
        tried, and the message has the file, the line and the state of the database.
        """,
        "up to date, or everything pending was applied",
        ("1", "4", "5", "6"),
        (
            ("migrator", "the same"),
            ("migrator apply --single-transaction", "all pending files or none"),
            ("migrator apply --lock-timeout 500ms --lock-wait 1h", "patient, and gentle"),
        ),
    ),
    "current": Page(
        f"""
        Print the highest version in the history and the latest five migrations, newest first, with
        the time (UTC) at which each was applied. The files are not looked at.

        {_READS} {_ANSWER}
        """,
        "printed; also when there is no history yet, which is version 0",
        ("4", "5"),
        (("migrator --current", "the same"), ("migrator current --json", "for a program")),
    ),
    "status": Page(
        f"""
        List every file and every row of the history with its state: applied, pending, out of order,
        edited, missing or ahead. On a narrow terminal long cells are shortened; where the output is
        not a terminal, never.

        {_READS} {_ANSWER}
        """,
        "listed; files may be pending",
        ("4", "5"),
        (
            ("migrator status", "what is where"),
            ("migrator status --json | jq .pending", "how many are pending"),
        ),
    ),
    "check": Page(
        f"""
        Tell by the exit status whether anything is pending. With --wait, wait until nothing is: for
        an init container, or a worker that must not start on an old schema.

        {_READS} {_ANSWER}
        """,
        "nothing is pending",
        ("3", "4", "5"),
        (
            ("migrator check", "now"),
            ("migrator check --wait", "for MIGRATOR_WAIT at the most"),
            ("migrator check --wait 5min", "for five minutes at the most"),
        ),
    ),
    "plan": Page(
        f"""
        List what would be applied, in order, with the number of statements of each file. Nothing is
        run. What a run would refuse is refused here.

        {_READS} {_ANSWER}
        """,
        "listed, or there is nothing to apply",
        ("4", "5"),
        (("migrator plan", "before a deployment"),),
    ),
    "validate": Page(
        f"""
        Check the names, versions, directives and statements of all files, as a run does before it
        connects. No database is needed. Every problem is reported, with its place in the file.

        The statements are read as psql reads them; whether they are right, only the server knows.

        {_ANSWER}
        """,
        "every file can be applied, as far as is known without a server",
        ("5",),
        (
            ("migrator validate", "before a commit, or in CI"),
            ("migrator validate --dir db/migrations", "another folder"),
        ),
    ),
    "new": Page(
        """
        Create the next file, NNN_description.sql, from a template and print its path. Its version
        is one above the newest file's, in the same width; where those are timestamps, it is the
        time now (UTC). No database is needed.
        """,
        "created",
        (),
        (
            ('migrator new "add user locale"', "the next file"),
            ('$EDITOR "$(migrator new "add user locale")"', "and write it"),
        ),
    ),
    "baseline": Page(
        """
        Record every file up to version N as applied without running it: for a database that has
        that schema already. Files above N stay pending. The history has to be empty.

        The rows have no checksum: the migrator does not vouch for what it did not run.
        """,
        "recorded",
        ("4", "5", "6"),
        (("migrator baseline 1", "the schema of 001_initial_schema.sql is there"),),
    ),
    "repair": Page(
        """
        Make the history agree with the files: record the checksum that an edited file has now,
        remove the rows whose file is gone, and let a no-transaction file that was edited halfway go
        on. Every change is shown first and has to be agreed to, at the terminal or with --yes. The
        schema itself is never touched.
        """,
        "repaired, or there was nothing to repair",
        ("4", "5", "6"),
        (
            ("migrator repair", "show the changes, and ask"),
            ("migrator repair --yes", "make them without asking"),
        ),
    ),
    "reset": Page(
        """
        Drop every table, view, type, function and schema in the database that our role owns, in one
        transaction, and apply all files. THE DATA IS LOST. Extensions, the schema public and what
        other roles own stay.

        The database's name has to be given, so that a wrong DATABASE_URL drops nothing.
        """,
        "dropped and built again",
        ("1", "4", "5", "6"),
        (("migrator reset --confirm fingerflow_test", "start again from nothing"),),
    ),
    "wait": Page(
        """
        Wait until the database accepts our login. A server that starts up, a name that does not
        resolve yet and too many clients are waited for; a wrong password, and a role or a database
        that does not exist, are not.
        """,
        "the database accepts our login",
        ("4",),
        (
            ("migrator wait", "for MIGRATOR_WAIT at the most"),
            ("migrator wait --wait 2min && pg_dump ...", "before something else"),
        ),
    ),
    "completion": Page(
        "Print a script that completes commands and options in a shell.",
        "printed",
        (),
        (
            ('eval "$(migrator completion bash)"', "in ~/.bashrc"),
            ('eval "$(migrator completion zsh)"', "in ~/.zshrc, below compinit"),
            ("migrator completion fish | source", "in ~/.config/fish/config.fish"),
        ),
    ),
}


def description(command: str, summary: str) -> str:
    """Return what stands above a command's options.

    Args:
        command: its name.
        summary: one line without a capital and a full stop, for a command without a page.
    """
    page = PAGES.get(command)
    text = page.text if page else f"{summary[:1].upper()}{summary[1:]}."
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(textwrap.fill(part, _WIDTH) for part in paragraphs)


def epilog(command: str, statuses: Sequence[tuple[str, str]]) -> str:
    """Return what stands below a command's options: examples and exit statuses.

    Args:
        command: its name.
        statuses: every exit status with its meaning.
    """
    page = PAGES.get(command)
    if page is None:
        return exit_statuses(statuses)
    always = ("2", statuses[-1][0])
    own = [(status, page.success if status == "0" else text) for status, text in statuses]
    own = [(status, text) for status, text in own if status in ("0", *page.statuses, *always)]
    width = max(len(line) for line, _ in page.examples)
    examples = "\n".join(f"  {line:<{width}}  {text}" for line, text in page.examples)
    return (
        f"examples:\n{examples}\n\n{exit_statuses(own)}\n\nmigrator --help explains the variables."
    )


def exit_statuses(statuses: Sequence[tuple[str, str]]) -> str:
    """Return the list of exit statuses, each with its meaning."""
    lines = [
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=f"  {status:<9} ",
            subsequent_indent=" " * len("  130, 143  "),
        )
        for status, text in statuses
    ]
    return "\n".join(["exit status:", *lines])
