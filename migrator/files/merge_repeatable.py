"""What a merge with another branch does to repeatables: two of one name, and older texts.

To edit a repeatable is no problem, and git joins what two branches have edited. What git does not
see is that two branches have given one name to two different things, and that a database will not
run a text that it has run before.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migrator.files.migration import comparable
from migrator.files.repeatable import checksum_of
from migrator.process.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migrator.files.reference import Reference

    _Texts = Mapping[str, bytes | None]


class Comparison(NamedTuple):
    """How the repeatables here differ from those of the other branch; names of files.

    Attributes:
        new: those that only this branch has, or that both branches have made.
        changed: those with another text here than there, because of a change here.
        removed: those that are there, and that were removed here.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def compare(here: _Texts, reference: Reference) -> Comparison:
    """Compare the repeatables here with those of the other branch.

    Where the commit from which both branches come is not known, as for a folder, a repeatable that
    differs counts as changed here, and none as removed.

    Args:
        here: the content of each repeatable by the name of its file; None if it cannot be read.
        reference: the other branch.
    """
    there, base, _ = reference.repeatables
    if base is None:
        return Comparison(
            tuple(file for file in here if file not in there),
            tuple(file for file in here if file in there and _differ(here[file], there[file])),
            (),
        )
    differing = [f for f in here if f not in there or _differ(here[f], there[f])]
    return Comparison(
        tuple(file for file in differing if file not in base),
        tuple(file for file in differing if file in base and _differ(here[file], base[file])),
        tuple(file for file in there if file in base and file not in here),
    )


def problems(here: _Texts, reference: Reference, comparison: Comparison) -> list[Problem]:
    """Return everything about repeatables that has to be mended before the branches are merged.

    Args:
        here: as in `compare`.
        reference: the other branch.
        comparison: what `compare` returned.
    """
    return [
        *_of_one_name(here, reference, comparison),
        *_texts_of_before(here, reference, comparison),
    ]


def _of_one_name(here: _Texts, reference: Reference, comparison: Comparison) -> Iterator[Problem]:
    """Yield a problem for each new repeatable that the other branch has too, as another one."""
    there = {file.casefold(): file for file in reference.repeatables.there}
    for file in comparison.new:
        other = there.get(file.casefold())
        if other is None:
            continue
        if other == file:
            message = f"is new, and {reference.name} has another repeatable of this name"
        else:
            message = (
                f"is new, and {reference.name} has {other}, the same name but for upper and lower "
                "case"
            )
        name = _free_name(file, {*here, *reference.repeatables.there})
        moving = shlex.join(["mv", *(str(Path(reference.folder, f)) for f in (file, name))])
        yield Problem(
            file,
            message,
            f"Give it another name, such as `{moving}`; if both make the same object, put one "
            f"text for it into {other}.",
        )


def _free_name(file: str, taken: set[str]) -> str:
    """Return a name that no repeatable has, and that comes behind the one it is made of."""
    folded = {name.casefold() for name in taken}
    stem, number = file.removesuffix(".sql"), 2
    while f"{stem}_{number}.sql".casefold() in folded:
        number += 1
    return f"{stem}_{number}.sql"


def _texts_of_before(
    here: _Texts, reference: Reference, comparison: Comparison
) -> Iterator[Problem]:
    """Yield a problem for each repeatable with a text that the other branch had and has no more."""
    for file in (*comparison.new, *comparison.changed):
        text = here[file]
        if text is None:
            continue
        earlier = {checksum_of(older) for older in reference.repeatables.earlier.get(file, ())}
        if checksum_of(text) in earlier:
            yield Problem(
                file,
                f"has a text that it had in {reference.name} before: a database that has run it "
                "will not run it again",
                "If the older text is meant to come back, change a comment in the file: then it is "
                "a new text.",
            )


def _differ(one: bytes | None, other: bytes | None) -> bool:
    """Return whether two texts are known to differ."""
    return one is not None and other is not None and comparable(one) != comparable(other)
