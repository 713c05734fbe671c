"""What has to hold, and whether it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks import tools
from benchmarks.fleet import MOST_TARGETS, TARGETS
from benchmarks.fleet import PSQL as PSQL_AT_ONCE
from benchmarks.measures import MEGABYTES, MILLISECONDS, SECONDS, Unit
from benchmarks.results import slope, spread
from benchmarks.workloads import (
    CLIENTS,
    FRESH,
    MANY,
    MOST_FRESH,
    NOTHING,
    OURS,
    ROWS,
    THOUSAND,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.results import Results

PSQL = tools.Psql.name
BARE = tools.BarePython.name
PYTHON = tools.PythonFloor.name
PEERS = {tool.name: tool.language for tool in tools.TOOLS if tool.kind == "peer"}
INTERPRETED = [name for name, language in PEERS.items() if language not in ("Go", "Rust")]
LONGEST_STALL = 3.3  # seconds: the default lock timeout, and a tenth of it
MOST_MEMORY = 40e6  # bytes
MOST_MEMORY_OF_MANY = 80e6  # bytes


class Target(NamedTuple):
    """Something that has to hold.

    Attributes:
        text: what.
        found: what was measured.
        holds: whether it does; None when it was not measured.
    """

    text: str
    found: str = "-"
    holds: bool | None = None


def targets(results: Results) -> Iterator[Target]:
    """Yield what has to hold, and whether it does."""
    for key, title, limit in (("fresh200", "200", 0.8), ("fresh1000", "1,000", 0.75)):
        text = f"{title} fresh: at most {limit:.2f} times the psql script"
        yield _at_most(results, key, limit, [PSQL], text)
        text = f"{title} fresh: every peer takes at least 1.2 times as long"
        yield _at_least(results, key, 1.2, PEERS, text)
    text = "200 fresh, far away: every peer takes at least 3 times as long"
    yield _at_least(results, "far", 3.0, PEERS, text)
    text = f"{ROWS:,} INSERTs: at most 1.25 times the fastest peer"
    yield _at_most(results, "inserts", 1.25, PEERS, text)
    text = "nothing to do: at most 1.35 times the Python script"
    yield _at_most(results, "noop", 1.35, [PYTHON], text)
    text = "nothing to do: at most 1.1 times a bare Python"
    yield _at_most(results, "noop", 1.1, [BARE], text)
    text = "nothing to do: no peer in Python, JavaScript or Perl takes less time"
    yield _at_least(results, "noop", 1.0, INTERPRETED, text)
    text = f"nothing to do, {MANY:,} applied: at most 2.2 times the Python script"
    yield _at_most(results, "many", 2.2, [PYTHON], text)
    text = f"{MOST_FRESH:,} fresh: at most 11 times the time of {FRESH:,}"
    yield _at_most(results, "fresh10000", 11.0, [THOUSAND], text)
    for key, title in (("memory1000", f"{FRESH:,} fresh"), ("memory_inserts", f"{ROWS:,} INSERTs")):
        text = f"{title}: at most {MEGABYTES.show(MOST_MEMORY)} of memory"
        yield _below(results, key, MOST_MEMORY, text, MEGABYTES)
    yield _container(results)
    yield from _together(results)
    text = "late server: done within 300 ms of its accepting connections"
    yield _below(results, "late", 0.3, text)
    text = f"lock queue: no reader stalls for more than {LONGEST_STALL * 1000:,.0f} ms"
    yield _below(results, "queue", LONGEST_STALL, text)
    yield _linear(results, "growth_seconds", 1e6, "µs", "nothing to do: time linear in files")
    yield _linear(results, "growth_memory", 1e-3, "kB", "nothing to do: memory linear in files")
    yield from _many_targets(results)


def outcome(results: Results, tool: str) -> str:
    """Return how many of those that ran at once exited 0, and whether the database is right."""
    exits = results.spread("together_exits", tool)
    right = results.spread("together_right", tool)
    if not exits or not right:
        return ""
    least, most = round(exits.least), round(exits.most)
    span = f"{least}" if least == most else f"{least} to {most}"
    return f"{span} exit 0, {'right' if right.least else 'wrong'}"


def _at_most(
    results: Results, key: str, limit: float, others: Sequence[str] | dict[str, str], text: str
) -> Target:
    """Judge how many times we need what the fastest of some others needs."""
    ratios = {name: r.median for name in others if (r := results.ratio(key, OURS, name))}
    if not ratios:
        return Target(text)
    name = max(ratios, key=ratios.__getitem__)
    which = f" {name}" if len(others) > 1 else ""
    return Target(text, f"{ratios[name]:.2f} times{which}", ratios[name] <= limit)


def _at_least(
    results: Results, key: str, limit: float, others: Sequence[str] | dict[str, str], text: str
) -> Target:
    """Judge how many times the fastest of some others needs what we need."""
    ratios = {name: r.median for name in others if (r := results.ratio(key, name, OURS))}
    if not ratios:
        return Target(text)
    nearest = min(ratios, key=ratios.__getitem__)
    return Target(text, f"{nearest} takes {ratios[nearest]:.2f} times", ratios[nearest] >= limit)


def _below(
    results: Results, key: str, limit: float, text: str, unit: Unit = MILLISECONDS
) -> Target:
    found = results.spread(key, OURS)
    if found is None:
        return Target(text)
    return Target(text, unit.show(found.median), found.median <= limit)


def _many_targets(results: Results) -> Iterator[Target]:
    for what, limit in (("schemas", 4.0), ("databases", 20.0)):
        text = f"{TARGETS:,} {what}, nothing to do: at most {limit:g} s"
        yield _below(results, f"fleet_{what}", limit, text, SECONDS)
    text = f"one file on {TARGETS:,} schemas: at most 1.30 times {PSQL_AT_ONCE}"
    yield _at_most(results, "fleet_apply", 1.3, [PSQL_AT_ONCE], text)
    most = MEGABYTES.show(MOST_MEMORY_OF_MANY)
    for key, what in (
        ("fleet_memory", "nothing to do"),
        ("fleet_memory_check", "all files pending"),
    ):
        text = f"{MOST_TARGETS:,} schemas, {what}: at most {most} of memory"
        yield _below(results, key, MOST_MEMORY_OF_MANY, text, MEGABYTES)


def _container(results: Results) -> Target:
    text = "container: at most 1.25 times `python -c pass` in the same image plus 60 ms"
    ours, nothing = (results.spread("container", name) for name in (OURS, NOTHING))
    if ours is None or nothing is None:
        return Target(text)
    allowed = 1.25 * nothing.median + 0.06
    found = f"{ours.median * 1000:.0f} ms of {allowed * 1000:.0f} ms"
    return Target(text, found, ours.median <= allowed)


def _together(results: Results) -> Iterator[Target]:
    exits = results.spread("together_exits", OURS)
    right = results.spread("together_right", OURS)
    text = f"{CLIENTS} at once: all exit 0, and the database is right"
    if exits and right:
        yield Target(text, outcome(results, OURS), exits.least == CLIENTS and right.least == 1)
    else:
        yield Target(text)
    text = f"{CLIENTS} at once: within 2 times the time of one alone"
    times = (results.values.get(key, {}).get(OURS, []) for key in ("together", "alone"))
    ratios = [together / alone for together, alone in zip(*times, strict=True)]
    if ratios:
        ratio = spread(ratios).median
        yield Target(text, f"{ratio:.2f} times", ratio <= 2)
    else:
        yield Target(text)


def _linear(results: Results, key: str, factor: float, unit: str, text: str) -> Target:
    """Judge whether the second half of some files costs what the first did."""
    counts = sorted(results.values.get(key, {}), key=int)
    points = [(int(count), spread(results.values[key][count]).median) for count in counts]
    if len(points) < 3:
        return Target(text)
    first, second = (slope(points[n : n + 2]) * factor for n in (0, 1))
    found = f"{first:.0f} {unit} a file, then {second:.0f} {unit}"
    return Target(text, found, second <= 1.5 * first)
