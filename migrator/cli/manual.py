"""The manual page of each command, which its `--help` shows around the options."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence


STATUSES = (
    ("0", "up to date, or everything pending was applied"),
    ("1", "a migration failed; the message says what was rolled back and what stays applied"),
    ("2", "usage or settings"),
    ("3", "check: migrations are pending"),
    ("4", "the database could not be reached, or refused us, within the wait"),
    ("5", "the files are not valid, or files and history disagree, or the schema differs"),
    ("6", "a lock, another migrator's or a table's, could not be had for the whole budget"),
    ("130, 143", "interrupted by SIGINT or SIGTERM; the message says what was not applied"),
)
_EXAMPLES = """\
  migrator                              apply everything pending
  migrator --current                    the version, and the latest migrations
  migrator status                       every file and every row, state by state
  migrator check --wait 5min            wait until another container has applied everything
  migrator rehearse                     on a copy of the database: what would be locked
  migrator validate                     check the files without a database
  migrator new "add user locale"        create the next file
  docker compose run --rm migrator --current
"""
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
        second run goes on where the first one stopped; a procedure or block that commits inside
        begins anew then.

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
        edited, missing or ahead. Of a no-transaction file that a run has stopped in it says how
        many statements are done, if we may read that in schema_migrations_progress. On a narrow
        terminal long cells are shortened; where the output is not a terminal, never.

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
    "rehearse": Page(
        f"""
        Run every pending file for real in one transaction, tell what each statement took, which
        locks it holds against others and for how long, what it rewrites, and how to do without;
        then roll it back.

        The locks are real, and all of them are held to the end: rehearse on a copy of the database,
        such as a restored backup, and never on that of the site. Files with the directive
        no-transaction are left out, and said so. docs/locks.md explains the answer. {_ANSWER}
        """,
        "everything pending would run, apart from what is said to be left out",
        ("1", "4", "5", "6"),
        (
            ("migrator rehearse", "on a copy of the database"),
            ("migrator --dry-run", "the same"),
            ("migrator rehearse --json", "for a program"),
        ),
    ),
    "validate": Page(
        f"""
        Check the names, versions, directives and statements of all files, as a run does before it
        connects. No database is needed. Every problem is reported, with its place in the file.
        Every file counts as pending: one that is still the template of migrator new, or has another
        tool's way down in it, is refused here, and by a run unless it is applied.

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
        time now (UTC). Until it is written, the file is refused. No database is needed.
        """,
        "created",
        (),
        (
            ('migrator new "add user locale"', "the next file"),
            ('$EDITOR "$(migrator new "add user locale")"', "and write it"),
        ),
    ),
    "verify": Page(
        f"""
        Build what the applied files describe in a scratch database beside the target, compare the
        two catalogs, drop the scratch database, and print every difference with the SQL on each
        side. Nothing in the target is changed.

        It takes the right to create a database; without it, name an empty one in
        MIGRATOR_SCRATCH_URL. Differences that are meant are accepted with --ignore, or in the file
        .verify-ignore in the folder of migrations. docs/verify.md lists what is compared. {_ANSWER}
        """,
        "the schema is what the files describe",
        ("1", "4", "5", "6"),
        (
            ("migrator verify", "the database against its history"),
            ("migrator verify --version 1", "against the files up to 1"),
            ("migrator verify --ignore 'index idx_*'", "apart from some indexes"),
        ),
    ),
    "adopt": Page(
        """
        Take a database over from Alembic, Flyway, golang-migrate, dbmate, goose, sqlx, yoyo, Django
        or Prisma: find its history, map it to files, compare the schema as `migrator verify` does,
        and record the files as applied. In the same transaction the other history is dropped, if
        that is asked for, or renamed where it has our table's name.

        Nothing is changed before the plan is agreed to. A history that says that a migration
        failed half way is refused. docs/moving-from-alembic.md goes through it step by step.
        """,
        "adopted, or it was before",
        ("1", "4", "5", "6"),
        (
            ("migrator adopt --version 1", "from Alembic: the schema is that of file 1"),
            ("migrator adopt --drop-old --yes", "numbers map by themselves; do not ask"),
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
        Drop every table, view, type, function and schema in the database that our role owns, and
        what it owns outside of schemas, such as publications, foreign servers, event triggers and
        casts, in one transaction; remove its large objects; and apply all files. THE DATA IS LOST.
        Extensions, the schema public, default privileges and what other roles own stay.

        The database's name has to be given, so that a wrong DATABASE_URL drops nothing. Nothing is
        dropped either where it is known beforehand that it could not be built again: a file is not
        valid, or needs a session of its own behind a pooler, the history belongs to another role,
        the role may not create. A subscription has to be dropped by hand, because its slot on the
        other server goes with it.
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


def whole() -> str:
    """Return what stands below the options of the program: everything about all commands."""
    parts = ["examples:", _EXAMPLES, "environment:"]
    for variable in VARIABLES:
        default = f" Default: {variable.default}." if variable.default else ""
        parts += [
            f"  {variable.name}",
            textwrap.fill(
                variable.text + default, 78, initial_indent="      ", subsequent_indent="      "
            ),
        ]
    parts += ["", "A TIME has a unit, ms, s, min or h; without one it is in seconds.", ""]
    return "\n".join([*parts, exit_statuses(STATUSES)])


def description(command: str) -> str:
    """Return what stands above a command's options.

    Args:
        command: its name.
    """
    paragraphs = (" ".join(part.split()) for part in PAGES[command].text.split("\n\n"))
    return "\n\n".join(textwrap.fill(part, _WIDTH) for part in paragraphs)


def epilog(command: str) -> str:
    """Return what stands below a command's options: examples and exit statuses.

    Args:
        command: its name.
    """
    page = PAGES[command]
    always = ("2", STATUSES[-1][0])
    own = [(status, page.success if status == "0" else text) for status, text in STATUSES]
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
