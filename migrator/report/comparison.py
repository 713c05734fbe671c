"""What a comparison of the schema with the files came to, for people and programs."""

from __future__ import annotations

import difflib
import textwrap
from typing import TYPE_CHECKING, Any

from migrator.process.log import redact_definition
from migrator.process.terminal import lines as harmless_lines
from migrator.process.terminal import visible
from migrator.report.table import count, filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.history.plan import Plan
    from migrator.schema.difference import Difference
    from migrator.schema.verify import Comparison


# What a comparison does not look at, by the names of `Uncompared`: one of it, and several.
_NOT_COMPARED = {
    "grants": ("grant", "grants"),
    "owners": ("owner", "owners"),
    "database_grants": ("grant on the database itself", "grants on the database itself"),
    "extension_versions": ("extension version", "extension versions"),
    "tablespaces": ("relation in another tablespace", "relations in other tablespaces"),
    "settings": ("setting of the database", "settings of the database"),
    "unreadable": ("object that the role may not read", "objects that the role may not read"),
}
_LONG = 4  # lines; two texts that both have so many are shown as their difference


def data(comparison: Comparison, plan: Plan | None) -> dict[str, Any]:
    """Return what `verify --json` prints.

    Args:
        comparison: what came out.
        plan: files against history; None where the version was given instead.
    """
    return {
        "version": comparison.files[-1].version,
        "files": [migration.file for migration in comparison.files],
        "repeatables": [repeatable.file for repeatable in comparison.repeatables],
        "equal": not comparison.differences,
        "differences": [_difference(difference) for difference in comparison.differences],
        "ignored": [_difference(difference) for difference in comparison.ignored],
        "unused_patterns": list(comparison.unused),
        "pending": [
            migration.file
            for migration in (*plan.pending, *plan.pending_repeatables)
            if migration not in comparison.repeatables
        ]
        if plan
        else [],
        "ahead": [row.version for row in plan.ahead] if plan else [],
        "before_the_files": list(comparison.ground),
        "search_path": comparison.path or None,
        "not_compared": comparison.uncompared._asdict(),
    }


def text(answer: dict[str, Any], option: str = "--grants") -> str:
    """Return what `verify` prints.

    Args:
        answer: what `data` returned.
        option: what to type to compare owners and privileges, too.
    """
    blocks = ["\n".join(lines_of(difference)) for difference in answer["differences"]]
    last_file = visible(answer["files"][-1])
    if len(answer["files"]) == 1:
        meant = f"what {last_file} describes"
    else:
        meant = f"what the {len(answer['files'])} files up to {last_file} describe"
    if answer.get("repeatables"):
        meant = f"{meant.removesuffix(' describes').removesuffix(' describe')} and "
        meant += f"{count(len(answer['repeatables']), 'repeatable')} describe"
    if answer["equal"]:
        last = f"The schema is {meant}."
    else:
        differences = count(len(answer["differences"]), "difference")
        last = f"{differences} between the database and {meant}."
    notes = [last]
    if answer["ignored"]:
        notes.append(f"Accepted and not shown: {len(answer['ignored'])}.")
    if answer["unused_patterns"]:
        notes.append(f"Patterns that accept nothing: {', '.join(answer['unused_patterns'])}.")
    if answer["pending"]:
        notes.append(f"Pending, so not compared: {', '.join(answer['pending'])}.")
    if answer["ahead"]:
        ahead = ", ".join(map(str, answer["ahead"]))
        notes.append(
            f"Applied by newer files that are not here: {ahead}; their changes are differences."
        )
    notes += _ground(answer)
    if not answer["equal"]:
        notes.append(
            "Write the next migration so that it removes the differences, or undo changes that "
            "were made by hand. In the migration use DROP ... IF EXISTS for what is not in the "
            "files, and CREATE or ADD ... IF NOT EXISTS for what is not in the database, because "
            "the file also runs after the others in an empty database. To accept a difference, put "
            "its first line, or a pattern such as 'index idx_*', into the file .verify-ignore next "
            "to the migrations, or give it with --ignore."
        )
    if counts := _not_compared(answer["not_compared"], option):
        notes.append(f"Not compared: {counts}.")
    return "\n\n".join([*blocks, "\n".join(filled(visible(note)) for note in notes)])


def _ground(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the notes on what the files were built on."""
    if answer["before_the_files"]:
        yield f"There before the files, so not compared: {', '.join(answer['before_the_files'])}."
    if answer["search_path"]:
        yield (
            f"Built with the search path {answer['search_path']}: with the one that is set for the "
            "database or the role now, the files fail, or there are more differences."
        )


def _not_compared(counts: dict[str, int], option: str) -> str:
    """Return how many there are of what was not compared, in words; empty when there is nothing."""
    words = {
        name: f"{counts[name]} {one if counts[name] == 1 else many}"
        for name, (one, many) in _NOT_COMPARED.items()
        if counts[name]
    }
    rights = " and ".join(words.pop(name) for name in ("grants", "owners") if name in words)
    return ", ".join([*filter(None, [rights and f"{rights} ({option})"]), *words.values()])


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "title": difference.title,
        "kind": difference.kind,
        "name": difference.name,
        "state": difference.state,
        "parts": list(difference.parts),
        "files": redacted(difference.files),
        "database": redacted(difference.database),
    }


def redacted(sql: str | None) -> str | None:
    """Return the SQL of one side; the options of a server or a subscription may have a password."""
    return sql and redact_definition(sql)


def lines_of(difference: dict[str, Any], other: str = "database") -> Iterator[str]:
    """Yield the lines of a difference; those of its SQL are indented, and harmless.

    Args:
        difference: an entry of an answer.
        other: the key of the side that the files are compared with.
    """
    yield visible(difference["title"])
    files, database = (
        side and harmless_lines(side) for side in (difference["files"], difference[other])
    )
    if difference["state"] != "different":
        yield textwrap.indent(files or database, "  ")
    elif min(files.count("\n"), database.count("\n")) < _LONG - 1:
        for name, side in (("files:", files), (f"{other}:", database)):
            for number, line in enumerate((side or "(nothing)").splitlines()):
                yield f"  {'' if number else name:<{len(other) + 1}} {line}"
    else:
        unified = difflib.unified_diff(
            files.splitlines(), database.splitlines(), "files", other, lineterm=""
        )
        yield from (f"  {line}".rstrip() for line in unified if not line.startswith("@@"))
