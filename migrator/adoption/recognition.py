"""Finds out which tool a folder of migrations is of, and which of its files are migrations."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from migrator.adoption import layouts, marks
from migrator.adoption.layouts import Unit
from migrator.adoption.old_folder import decoded, read, shown
from migrator.adoption.ordering import flyway_key
from migrator.files.migration import REPEATABLE_PREFIX
from migrator.process.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from migrator.adoption.layouts import Layout

_LISTED = ", ".join(layouts.TOOLS)
_LOOK = 200  # how many files are looked into to recognise a tool
# Flyway's repeatables; some are programs.
_REPEATABLE = re.compile(
    rf"(?:[^/]+/)*{REPEATABLE_PREFIX}(?P<words>[^/]*)\.(?P<end>sql|{'|'.join(layouts.LANGUAGES)})"
)
# A folder of files without the marks of a tool can have repeatables of ours.
_WITH_REPEATABLES = ("flyway", "plain")
_BASELINE = re.compile(r"(?:[^/]+/)*B(?P<version>\d[\d._]*?)__(?P<words>[^/]*)\.sql")


def layout(folder: Path, paths: Sequence[str], tool: str | None) -> Layout:
    """Return the layout of a folder.

    Args:
        folder: the folder.
        paths: its files.
        tool: the name of its tool; None: find it out.

    Raises:
        UsageError: there is no such tool, or it is not known whose folder it is.
    """
    if tool is not None:
        if tool not in layouts.TOOLS:
            raise UsageError(f"--from {tool}: there is no such tool", f"Known are {_LISTED}.")
        return layouts.layout_of(tool)
    found = layouts.by_names(paths)
    if found == ("flyway",) and _beside(folder, "Cargo.toml", "refinery.toml"):
        found = ("refinery",)
    found = found or tuple(sorted({*_by_marks(folder, paths)}))
    if len(found) > 1:
        raise UsageError(
            f"the files in {shown(folder)} look like those of {' and of '.join(found)}",
            f"Name the tool with --from: {' or '.join(found)}.",
        )
    return layouts.layout_of(found[0] if found else _plain(folder, paths))


def _beside(folder: Path, *names: str) -> bool:
    """Return whether a folder, or one of the three above it, has a file of such a name."""
    above = [folder.resolve(), *folder.resolve().parents][:4]
    return any((place / name).is_file() for place in above for name in names)


def _by_marks(folder: Path, paths: Sequence[str]) -> Iterator[str]:
    """Yield the tool of each file that has the marks of one."""
    for path in [path for path in paths if _is_top_sql(path)][:_LOOK]:
        text = decoded(read(folder / path)) or ""
        if re.match(r"--! Previous:", text):
            yield "graphile-migrate"
        elif tool := marks.way_up(text).tool:
            yield tool


def _plain(folder: Path, paths: Sequence[str]) -> str:
    """Return the tool of a folder of plain SQL files, as far as it has left a trace."""
    if "atlas.sum" in paths:
        return "atlas"
    if "tern.conf" in paths:
        return "tern"
    if folder.resolve().parent.name == "supabase":
        return "supabase"
    texts = (decoded(read(folder / path)) or "" for path in paths if _is_top_sql(path))
    return "sqlx" if any(text.startswith("-- no-transaction") for text in texts) else "plain"


def _is_top_sql(path: str) -> bool:
    return "/" not in path and path.lower().endswith(".sql")


class Sorting(NamedTuple):
    """The files of a folder: the migrations, and what becomes of the others.

    Attributes:
        units: the migrations, in no certain order.
        repeatables: the repeatable migrations, in the order in which the tool runs them.
        dropped: for each file that is left out without a question, what it is.
        notes: what a person has to look at.
    """

    units: tuple[Unit, ...]
    repeatables: tuple[Unit, ...]
    dropped: tuple[str, ...]
    notes: tuple[Problem, ...]


def sort(folder: Path, layout: Layout, paths: Sequence[str]) -> Sorting:
    """Return which files of a folder are migrations.

    Args:
        folder: the folder.
        layout: that of its tool.
        paths: its files.

    Raises:
        UsageError: none of them is a migration in SQL.
    """
    repeatables = _repeatables(layout, paths)
    apart = {unit.path for unit in repeatables}
    units: list[Unit] = []
    dropped: list[str] = []
    others: list[str] = []
    for path in paths:
        if path in apart:
            continue
        unit = layout.unit(path) or layout.program(path)
        if kind := layout.dropped_as(path):
            dropped.append(kind)
        elif unit:
            units.append(unit)
        elif path.lower().endswith(".sql"):
            others.append(path)
    if layout.tool == "flyway":
        kept, superfluous = _baselines(others, units)
        units += kept
        dropped += ["baseline files"] * len(superfluous)
        others = [path for path in others if not _BASELINE.fullmatch(path)]
    nameless = [unit for unit in units if not unit.version]
    if layout.tool not in ("drizzle", "prisma") and 0 < len(nameless) < len(units):
        units = [unit for unit in units if unit.version]
        others += [unit.path for unit in nameless]
    if all(unit.language for unit in (*units, *repeatables)):
        raise UsageError(
            f"no SQL migrations of {name_of(layout)} in {shown(folder)}",
            _without_sql(folder, [*units, *repeatables], others),
        )
    notes = tuple(_left_out(folder, layout, others))
    return Sorting(tuple(units), repeatables, tuple(dropped), notes)


def name_of(layout: Layout) -> str:
    """Return whose a folder is, in words."""
    return "any known tool" if layout.tool == "plain" else layout.tool


def _without_sql(folder: Path, units: Sequence[Unit], others: Sequence[str]) -> str:
    """Return what to do about a folder without migrations in SQL."""
    if units:
        return (
            f"Its migrations are programs ({units[0].path} is {units[0].language}). Let the tool "
            "print their SQL, or take the schema from pg_dump as the first migration."
        )
    below = sorted({path.rpartition("/")[0] for path in others if "/" in path})
    if below:
        return f"There are SQL files in {shown(folder / below[0])}: name the folder they are in."
    return f"Name the folder of the migrations, and the tool with --from: {_LISTED}."


def _baselines(paths: Sequence[str], units: Sequence[Unit]) -> tuple[list[Unit], list[str]]:
    """Return Flyway's baseline file if it is needed, and the files of this kind that are not.

    Such a file builds in one step what the migrations up to its version build. It is needed only
    where these are gone; then the newest has everything that older ones have.
    """
    oldest = min((flyway_key(unit.version) for unit in units), default=None)
    found = [
        Unit(match[0], match["version"], match["version"], match["words"])
        for path in paths
        if (match := _BASELINE.fullmatch(path))
    ]
    found.sort(key=lambda unit: flyway_key(unit.version))
    needed = [unit for unit in found if oldest is None or flyway_key(unit.version) < oldest][-1:]
    return needed, [unit.path for unit in found if unit not in needed]


def _repeatables(layout: Layout, paths: Sequence[str]) -> tuple[Unit, ...]:
    """Return the repeatable migrations of a folder.

    Flyway runs them in the order of their descriptions, in which blanks stand for the underscores
    of the names (its documentation, "Repeatable migrations").
    """
    if layout.tool not in _WITH_REPEATABLES:
        return ()
    found = [
        Unit(path, match["words"], "", match["words"], layouts.LANGUAGES.get(match["end"], ""))
        for path in paths
        if (match := _REPEATABLE.fullmatch(path))
    ]
    return tuple(sorted(found, key=lambda unit: unit.words.replace("_", " ")))


def _left_out(folder: Path, layout: Layout, paths: Sequence[str]) -> Iterator[Problem]:
    """Yield a note for each other file in the folder, and for each folder in it with such files."""
    for path in paths:
        if "/" not in path:
            yield Problem(
                shown(folder / path),
                f"is not named like a migration of {name_of(layout)}, so it was left out",
                "If it is one, name it like the others, and convert again.",
            )
    below = Counter(path.rpartition("/")[0] for path in paths if "/" in path)
    for name, number in sorted(below.items()):
        yield Problem(
            shown(folder / name),
            f"has SQL files ({number}) not named like a migration of {name_of(layout)}, left out",
            "If these are migrations, convert that folder too, into another one.",
        )
