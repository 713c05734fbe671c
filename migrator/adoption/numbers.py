"""Turns the versions of other tools into the numbers that migrations have here.

This is the only such map: `convert` names its files by it, and `adopt` finds the file of a row in
the history of the other tool by it. The number of a version depends on that version alone, with one
exception: a folder that has version 0 and version 1 is counted one higher, because 1 is the lowest
number here. So the numbers of old files stay as they are when the folder gets a further file.
"""

from __future__ import annotations

import re
from itertools import dropwhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rule = Callable[[str], int | None]


MAX_NUMBER = 2**63 - 1  # the largest bigint
_SHORT = 7  # digits; a first part of more digits is taken for a date or a time
_GROUP = 3  # digits that each further part of a dotted version has
_PARTS = 4  # how many parts a dotted version may have
_TIME = 14  # the digits of YYYYMMDDHHMMSS
# 2024-01-31-120000 or 20240131120000, and a counter of four digits that can stand behind it.
_TIMED = re.compile(r"(\d{4})([-_]?)(\d\d)\2(\d\d)[-_T]?(\d{6})(?:-?(\d{4}))?(?!\d)")
# What is filled up behind YYYYMMDD, YYYYMMDDHH and YYYYMMDDHHMM.
_FIRST_IMPOSSIBLE = {8: "240000", 10: "6000", 12: "60"}
_DOTTED = re.compile(r"\d+(?:[._]\d+)*")


def whole(name: str) -> int | None:
    """Return the number that a name begins with; None when it begins with no number.

    `1.1` is not a number. `0001.users` is a number and a description.
    """
    match = re.match(r"\d+(?!\d|\.\d)", name)
    return int(match[0]) if match else None


def dated(name: str) -> int | None:
    """Return the number of a name that begins with a date and a time; else as `whole`.

    `2024-01-31-120000` and `20240131120000` are the same time, and the same number.
    """
    match = _TIMED.match(name)
    if match and match[2] and not match[6]:
        return _time(match)
    return whole(name)


def filled(name: str) -> int | None:
    """Return the number of a name, where a date is filled up to the 14 digits of a time.

    Prisma orders names as text, and there `20240131_b` is behind `20240131120000_a`. So a date is
    filled up with the first time that it does not have, which is 24:00:00.
    """
    number = whole(name)
    fill = _FIRST_IMPOSSIBLE.get(len(str(number)))
    if number is None or fill is None or str(number)[:2] not in ("19", "20"):
        return number
    return int(f"{number}{fill}")


def counted(version: str) -> int | None:
    """Return the number of a version of diesel, a time with or without a counter behind it.

    Diesel leaves out the dashes and orders the rest as text, so that `20240131120000` is before
    `202401311200000000`, which is the same time with the counter 0000 of its newer versions. Every
    time gets four more digits here: 0000 without a counter, and else one more than the counter.
    """
    match = _TIMED.match(version)
    if match is None:
        return whole(version)
    time = _time(match)
    return time and time * 10_000 + (int(match[6]) + 1 if match[6] else 0)


def _time(match: re.Match[str]) -> int:
    return int("".join(match.group(1, 3, 4, 5)))


def dotted(version: str) -> int | None:
    """Return the number of a version of Flyway, such as `1.2.3`, `1_2_3` or `20240131120000`.

    Each part behind the first has three digits, and there is room for three such parts: `1` is
    1000000000, `1.1` is 1001000000, and `1.2.3` is 1002003000. So a version always has room for
    what may come between it and the next one. A first part of 8 to 14 digits is a date or a time:
    it is filled up to the 14 digits of a time, and the digits that are filled up are the room for
    further parts. Longer numbers stay as they are.

    The order is Flyway's (its source, MigrationVersion.java): part by part, as numbers, where a
    part that is not there counts as 0. It is kept among versions whose first part has at most four
    digits, and among those whose first part has the same length. Where a folder mixes others,
    `convert` finds out whether it is kept.

    Returns:
        None when there are more parts, or a further part is too large.
    """
    if not _DOTTED.fullmatch(version):
        return None
    first, *further = map(int, re.split("[._]", version))
    further = list(dropwhile(lambda part: not part, reversed(further)))[::-1]
    digits = len(str(first))
    room = _GROUP * (_PARTS - 1) if digits <= _SHORT else max(_TIME - digits, 0)
    widths = [_GROUP] * (room // _GROUP) or [room] * bool(room)
    if len(further) > len(widths):
        return None
    number = first
    for index, width in enumerate(widths):
        part = further[index] if index < len(further) else 0
        if part >= 10**width:
            return None
        number = number * 10**width + part
    result: int = number * 10 ** (room - sum(widths))
    return result


# The tools whose versions are not simply the number that a name begins with.
_RULES: dict[str, Rule] = {
    "diesel": counted,
    "flyway": dotted,
    "plain": dated,
    "prisma": filled,
}
# These tools know a migration by its whole name, so two of them can have the same number.
_BY_NAME = ("drizzle", "node-pg-migrate", "plain", "prisma", "sql-migrate")


def rule_of(tool: str) -> Rule:
    """Return the rule by which the versions of a tool become numbers.

    Args:
        tool: the name of the tool, as `tools` and `layouts` write it.
    """
    return _RULES.get(tool, whole)


def knows_by_name(tool: str) -> bool:
    """Return whether two migrations of a tool can have the same version."""
    return tool in _BY_NAME


def converted(tool: str, names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the numbers that `convert` gives, where these are not those that names begin with.

    Args:
        tool: the name of the tool.
        names: the versions, as the history of the tool has them.
    """
    return of_tool(tool, names) if tool in _RULES or tool in _BY_NAME else None


def of_tool(tool: str, names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the numbers that `convert` gives to migrations of a tool; None when it cannot.

    Where a tool knows migrations by their names, two can have the same number. Then the second in
    the order of the alphabet gets the next number, and those behind it give way where they must.

    Args:
        tool: the name of the tool.
        names: the versions, as the tool writes them, or names that begin with them.
    """
    rule = rule_of(tool)
    if not knows_by_name(tool):
        return numbers_of(names, rule)
    numbered = [(number, name) for name in names if (number := rule(name)) is not None]
    spread: dict[str, int] = {}
    last = -1
    for number, name in sorted(numbered, key=lambda pair: (pair[0], pair[1].removesuffix(".sql"))):
        last = spread[name] = max(number, last + 1)
    return numbers_of(names, spread.get)


def numbers_of(names: Sequence[str], rule: Rule = whole) -> tuple[int, ...] | None:
    """Return the number of each name; None unless each has a number of its own that is allowed.

    Version 0 becomes 1, because 0 stands for an empty database here. If there is a version 1 too,
    every version is one higher.

    Args:
        names: the versions, as the tool writes them, or names that begin with them.
        rule: how one name becomes a number.
    """
    known = [number for number in map(rule, names) if number is not None]
    if not len(set(known)) == len(known) == len(names):
        return None
    found = from_one(known)
    return found if max(found, default=0) <= MAX_NUMBER else None


def from_one(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return numbers that begin with 1 where they began with 0."""
    if 0 not in numbers:
        return tuple(numbers)
    if 1 in numbers:
        return tuple(number + 1 for number in numbers)
    return tuple(number or 1 for number in numbers)
