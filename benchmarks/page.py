"""The results as Markdown and charts: pure functions of `Results` and a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import chart, fleet, tools
from benchmarks.measures import MEASURES, MEGABYTES, MILLISECONDS, Measure
from benchmarks.targets import outcome, targets
from benchmarks.workloads import NOTHING, OURS, THOUSAND

if TYPE_CHECKING:
    from benchmarks.results import Results

KINDS = {tool.name: tool.kind for tool in tools.TOOLS} | {
    tools.BarePython.name: "floor",
    NOTHING: "floor",
    THOUSAND: "floor",
    fleet.PSQL: "floor",
    **dict.fromkeys(fleet.LOOPS.values(), "peer"),
}
NONE = "-"


def page(results: Results, template: str) -> str:
    """Return the page.

    Args:
        results: what was measured.
        template: the part written by hand, with `{machine}`, `{targets}`, `{summary}` and
            `{details}` in it.
    """
    return template.format(
        machine=machine(results),
        targets=targets_table(results),
        summary=summary(results),
        details="\n\n".join(
            section(results, measure)
            for measure in MEASURES
            if measure.key in results.values or measure.key in results.notes
        ),
    )


def charts(results: Results) -> dict[str, str]:
    """Return an SVG image for each measure that has values, by its file's name."""
    return {
        f"{measure.key}.svg": _chart(results, measure)
        for measure in MEASURES
        if measure.key in results.values
    }


def machine(results: Results) -> str:
    """Return what was measured on which machine, as a list and a table of versions."""
    lines = [f"- {name}: {value}" for name, value in results.machine.items()]
    rows = [["tool", "version", "written in"]]
    languages = {tool.name: tool.language for tool in tools.TOOLS}
    rows += [[name, version, languages[name]] for name, version in results.tools.items()]
    missing = [f"- {name}: not measured, {reason}" for name, reason in results.missing.items()]
    return "\n".join([*lines, *missing, "", table(rows)])


def summary(results: Results) -> str:
    """Return the medians: a row for each tool, a column for each measure."""
    shown = [m for m in MEASURES if m.key in results.values and m.compared]
    rows = [["", *(measure.column for measure in shown)]]
    for tool in results.tools:
        cells = [f"**{tool}**" if tool == OURS else tool]
        for measure in shown:
            found = results.spread(measure.key, tool)
            cells.append(measure.unit.show(found.median) if found else NONE)
            if measure.key == "together" and found:
                cells[-1] += f", {outcome(results, tool)}"
        rows.append(cells)
    return table(rows)


def section(results: Results, measure: Measure) -> str:
    """Return the heading, the chart and the table of one measure."""
    rows = [["", "median", "least … most", f"times {OURS}", "rounds", ""]]
    for tool in _ranking(results, measure.key):
        notes = results.notes.get(measure.key, {}).get(tool, "").replace("|", "\\|")
        if measure.key == "together" and tool in results.values.get(measure.key, {}):
            notes = "; ".join(part for part in (outcome(results, tool), notes) if part)
        found = results.spread(measure.key, tool)
        name = f"**{tool}**" if tool == OURS else tool
        if found is None:
            rows.append([name, NONE, "", "", "", notes])
            continue
        show = measure.unit.show
        ratio = results.ratio(measure.key, tool, OURS)
        times = f"{ratio.median:.2f} ({ratio.least:.2f} … {ratio.most:.2f})" if ratio else ""
        count = len(results.values[measure.key][tool])
        between = f"{show(found.least)} … {show(found.most)}" if count > 1 else ""
        rows.append(
            [name, show(found.median), between, times if tool != OURS else "", str(count), notes]
        )
    parts = [f"### {measure.title}", measure.text]
    if measure.key in results.values:
        parts.append(f"![{measure.title}](performance/{measure.key}.svg)")
    parts.append(table(rows))
    if measure.key == "many":
        parts.append(_growth(results))
    return "\n\n".join(parts)


def targets_table(results: Results) -> str:
    """Return the targets as a table."""
    words = {True: "holds", False: "**missed**", None: "not measured"}
    rows = [["target", "measured", ""]]
    rows += [[target.text, target.found, words[target.holds]] for target in targets(results)]
    return table(rows)


def table(rows: list[list[str]]) -> str:
    """Return a Markdown table; the first row is its head, the first column flush left."""
    head, *body = rows
    lines = [
        head,
        ["---"] + ["---:" if _is_number(body, n) else "---" for n in range(1, len(head))],
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *body])


def _is_number(rows: list[list[str]], column: int) -> bool:
    cells = [row[column] for row in rows if row[column] not in ("", NONE)]
    return bool(cells) and all(cell[0].isdigit() for cell in cells)


def _ranking(results: Results, key: str) -> list[str]:
    """Return the tools of a measure, the fastest first, those without values last."""
    values, notes = results.values.get(key, {}), results.notes.get(key, {})
    medians = {tool: found.median for tool in values if (found := results.spread(key, tool))}
    return [
        *sorted(medians, key=medians.__getitem__),
        *(tool for tool in notes if tool not in values),
    ]


def _chart(results: Results, measure: Measure) -> str:
    rows = []
    for tool in _ranking(results, measure.key):
        if found := results.spread(measure.key, tool):
            name = tool.partition(",")[0]
            rows.append(chart.Bar(name, KINDS[tool], *found, measure.unit.show(found.median)))
    return chart.bars(measure.title, rows)


def _growth(results: Results) -> str:
    seconds, memory = (results.values.get(f"growth_{what}", {}) for what in ("seconds", "memory"))
    rows = [["migrations applied", f"{OURS}, nothing to do", "peak memory"]]
    for count in sorted(seconds, key=int):
        time, peak = (results.spread(f"growth_{w}", count) for w in ("seconds", "memory"))
        rows.append(
            [
                f"{int(count):,}",
                MILLISECONDS.show(time.median) if time else NONE,
                MEGABYTES.show(peak.median) if peak and memory else NONE,
            ]
        )
    return table(rows)
