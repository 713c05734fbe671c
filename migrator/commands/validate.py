"""`migrator validate`: check the files without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrator.commands.command import ANSWER, FILES, Command, Page
from migrator.files.folder import duplicates, load_folder
from migrator.process.errors import OK, ProblemsFound
from migrator.process.log import get_logger
from migrator.process.terminal import visible
from migrator.report.table import count

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from migrator.commands.context import Context
    from migrator.files.migration import Migration
    from migrator.process.errors import Problem

log = get_logger()

PAGE = Page(
    f"""
    Check the names, versions, directives and statements of all files, as a run does before it
    connects. No database is needed. Every problem is reported, with its place in the file.
    Every file counts as pending: a file that is still the template of migrator new, contains
    another tool's undo statements, or sets another client_encoding than UTF-8, is refused here. A
    run refuses it unless it is applied.

    The statements are read as psql reads them; only the server knows whether they are right.

    With --against, the files are also compared with those of the branch that they will be merged
    into. Two things are problems: a new file has a number that the other branch has or is past;
    or a file of the other branch was changed, renamed or removed here. A repeatable may be changed
    and removed; a new one that has the name of another one there is a problem, and so is a text
    that it had there before, because a database does not run it again. What the other branch alone
    has done is no problem. Run git fetch before, because the other branch is taken as git knows it
    here. In the place of a git ref, a folder with the files of that branch can be given; then git
    is not needed. If MIGRATOR_OUT_OF_ORDER=allow is set, a lower number that is free is no problem.

    {ANSWER}
    """,
    "every file can be applied, as far as that is known without a server",
    ("5",),
    (
        ("migrator validate", "before a commit, or in CI"),
        ("migrator validate --dir db/migrations", "another folder"),
        ("migrator validate --against origin/main", "before a merge, or in CI"),
    ),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument(
        "--against",
        metavar="REF",
        help="compare with the files of this git branch, tag or commit, or of this folder",
    )


def execute(context: Context) -> int:
    """Check the files.

    Raises:
        ProblemsFound: some of them cannot be applied, or not after a merge.
        UsageError: the files to compare with cannot be read.
    """
    folder = load_folder(context.settings.directory, pending=True)
    migrations = folder.migrations
    problems = (*folder.problems, *_differing(context, migrations))
    against: dict[str, Any] | None = None
    edited: dict[str, tuple[str, ...]] | None = None
    if context.options.against is not None:
        against, edited, problems = _compare(context, migrations, problems)
    answer = data(migrations, problems, against, folder.repeatables, edited)
    if problems:
        if context.options.json:
            context.show(answer, "")
        raise ProblemsFound(problems)
    context.show(answer, text(answer))
    return OK


def _differing(context: Context, migrations: Sequence[Migration]) -> tuple[Problem, ...]:
    """Return where checkpoints disagree with the files beside them."""
    checkpoints = [migration for migration in migrations if migration.directives.checkpoint]
    if not checkpoints:
        return ()
    from migrator.history.checkpoint import differing  # noqa: PLC0415 - few folders have one

    # What an older checkpoint lists, the newest one lists, too.
    allowed = context.settings.allow_out_of_order
    return (*differing(checkpoints[-1], migrations, allow_out_of_order=allowed),)


def _compare(
    context: Context, migrations: Sequence[Migration], problems: Sequence[Problem]
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], tuple[Problem, ...]]:
    """Compare the files with those of another branch.

    Returns:
        What the answer says of the other branch, and of repeatables, and all problems.
    """
    from migrator.files import merge, merge_repeatable  # noqa: PLC0415 - only --against needs it

    reference, here, compared = context.compare()
    found = merge.problems(
        here,
        reference,
        compared,
        renumber=context.command("renumber", "--against", reference.name),
        allow_out_of_order=context.settings.allow_out_of_order,
    )
    repeatables = context.repeatable_texts()
    edited = merge_repeatable.compare(repeatables, reference)
    found += merge_repeatable.problems(repeatables, reference, edited)
    # That a new file has the number of another one is said once.
    said = {problem.file for problem in found}
    rest = [migration for migration in migrations if migration.file not in said]
    twice = {*duplicates(migrations)} - {*duplicates(rest)}
    others = [problem for problem in problems if problem not in twice]
    if not reference.texts and not reference.repeatables.there:
        log.warning(
            "nothing to compare with",
            against=reference.described,
            reason="it has no migrations in this folder, so every file counts as new",
        )
    about = {
        "ref": reference.name,
        "commit": reference.commit or None,
        "new": list(compared.new),
    }
    everything = sorted((*others, *found), key=lambda p: (p.file, p.line, p.column))
    return about, edited._asdict(), tuple(everything)


def data(
    migrations: Sequence[Migration],
    problems: Sequence[Problem],
    against: dict[str, Any] | None = None,
    repeatables: Sequence[Migration] = (),
    edited: dict[str, tuple[str, ...]] | None = None,
) -> dict[str, Any]:
    """Return what `validate --json` prints.

    Args:
        migrations: the files.
        problems: everything that is wrong with them.
        against: what they were compared with: `ref`, `commit` and the `new` files.
        repeatables: the repeatables.
        edited: those that the other branch has otherwise: the `new`, `changed` and `removed` ones.
    """
    return {
        "migrations": [
            {
                "version": migration.version,
                **_entry(migration),
                "checkpoint": migration.directives.checkpoint
                and migration.directives.checkpoint.version,
            }
            for migration in migrations
        ],
        "repeatables": [_entry(repeatable) for repeatable in repeatables],
        "problems": [problem.data() for problem in problems],
        "against": against,
        "repeatables_against": edited and {kind: [*files] for kind, files in edited.items()},
    }


def _entry(file: Migration) -> dict[str, Any]:
    return {
        "file": file.file,
        "description": file.description,
        "checksum": file.checksum,
        "statements": len(file.statements),
        "transaction": file.directives.transaction,
        "backfill": _backfill(file),
    }


def _backfill(file: Migration) -> dict[str, Any] | None:
    """Return what the directives of a backfill say; None for any other file."""
    backfill = file.directives.backfill
    return backfill and {
        "table": backfill.table,
        "key": backfill.column or None,
        "batch_time_s": backfill.batch_time,
        "pause_s": backfill.pause,
        "max_lag_s": backfill.max_lag,
    }


def text(answer: dict[str, Any]) -> str:
    """Return what `validate` prints when nothing is wrong.

    Args:
        answer: what `data` returned.
    """
    files = count(len(answer["migrations"]), "migration")
    if answer["repeatables"]:
        files += f" and {count(len(answer['repeatables']), 'repeatable')}"
    last = [*answer["repeatables"], *answer["migrations"]][-1]["file"]
    valid = "nothing is wrong that can be seen without a server"
    said = f"{files}: {valid}; the last is {visible(last)}"
    for file in answer["migrations"]:
        if backfill := file["backfill"]:
            key = f"by {visible(backfill['key'])}" if backfill["key"] else "by its primary key"
            said += f"\n{file['file']} is a backfill of {visible(backfill['table'])}, {key}"
    if against := answer["against"]:
        commit = f" (commit {against['commit'][:10]})" if against["commit"] else ""
        other = f"{visible(against['ref'])}{commit}"
        new = count(len(against["new"]), "file")
        said += (
            f"\n{new} that {other} does not have, and no collision"
            if against["new"]
            else f"\n{other} has all of them"
        )
        said += _said_of_repeatables(answer["repeatables_against"])
    return said


def _said_of_repeatables(edited: dict[str, list[str]]) -> str:
    """Return what `validate` prints of repeatables that the other branch has otherwise."""
    said = [f"{kind}: {visible(', '.join(files))}" for kind, files in edited.items() if files]
    if not said:
        return ""
    text = f"\nrepeatables that are {'; '.join(said)}"
    if edited["removed"]:
        text += (
            "\nwhat a removed repeatable has made stays in a database until a migration drops it"
        )
    return text


COMMAND = Command(
    name="validate",
    order=70,
    summary="check the files without a database",
    page=PAGE,
    run=execute,
    add_options=add_options,
    has_json=True,
    settings=("--dir",),
    meaningful=(*FILES, "MIGRATOR_OUT_OF_ORDER"),
)
