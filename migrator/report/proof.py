"""What a comparison of a checkpoint with its files came to, for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrator.process.terminal import visible
from migrator.report.comparison import lines_of, redacted
from migrator.report.table import count, filled
from migrator.schema.checkpoint import MISSING_HERE

if TYPE_CHECKING:
    from migrator.files.migration import Migration
    from migrator.schema.checkpoint import Proof
    from migrator.schema.difference import Difference


def data(proof: Proof) -> dict[str, Any]:
    """Return the comparison as JSON has it.

    Args:
        proof: what came out.
    """
    header = proof.checkpoint.directives.checkpoint
    return {
        "checkpoint": proof.checkpoint.file,
        "version": header.version if header else None,
        "files": [migration.file for migration in proof.files],
        "equal": not proof.differences,
        "objects": proof.objects,
        "tables": proof.tables,
        "differences": [_difference(difference) for difference in proof.differences],
        "ignored": [_difference(difference) for difference in proof.ignored],
        "not_compared": list(proof.not_compared),
    }


def not_possible(checkpoint: Migration, version: int) -> dict[str, Any]:
    """Return what `data` returns, for a checkpoint whose files are all gone.

    Args:
        checkpoint: the file of the checkpoint.
        version: the last version that it stands for.
    """
    return {
        "checkpoint": checkpoint.file,
        "version": version,
        "files": [],
        "equal": None,
        "objects": 0,
        "tables": 0,
        "differences": [],
        "ignored": [],
        "not_compared": [],
    }


def text(answer: dict[str, Any]) -> str:
    """Return the comparison for people.

    Args:
        answer: what `data` or `not_possible` returned.
    """
    if answer["equal"] is None:
        gone = (
            f"{answer['checkpoint']} was not compared: the files up to version {answer['version']} "
            "that it stands for are not here any more."
        )
        return filled(visible(gone))
    blocks = ["\n".join(lines_of(each, "checkpoint")) for each in answer["differences"]]
    files = count(len(answer["files"]), "file")
    if answer["equal"]:
        same = (
            f"{answer['checkpoint']} builds what the {files} up to version {answer['version']} "
            f"build: {count(answer['objects'], 'object')} and the rows of "
            f"{count(answer['tables'], 'relation')} are the same."
        )
        notes = [same]
    else:
        differ = (
            f"{count(len(answer['differences']), 'difference')} between {answer['checkpoint']} and "
            f"the {files} up to version {answer['version']}."
        )
        then = (
            "Change the checkpoint so that it builds the same, if no database has run or recorded "
            "it yet. To accept a difference, put its first line, or a pattern such as 'rows of "
            "pets', into the file .verify-ignore next to the migrations, or give it with --ignore."
        )
        notes = [differ, then]
    if answer["ignored"]:
        notes.append(f"Accepted and not shown: {len(answer['ignored'])}.")
    if answer["not_compared"]:
        notes.append(
            "Not compared, because two builds of the files themselves differ in it: "
            f"{', '.join(answer['not_compared'])}."
        )
    return "\n\n".join([*blocks, "\n".join(filled(visible(note)) for note in notes)])


def _difference(difference: Difference) -> dict[str, Any]:
    title = difference.title
    if difference.state == "missing":
        title = f"{difference.key}: {MISSING_HERE}"
    return {
        "title": title,
        "kind": difference.kind,
        "name": difference.name,
        "state": difference.state,
        "parts": list(difference.parts),
        "files": redacted(difference.files),
        "checkpoint": redacted(difference.database),
    }
