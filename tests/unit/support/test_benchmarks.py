"""The arithmetic of the benchmarks, and that what they draw is what was measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import chart, page
from benchmarks.fleet import PSQL as PSQL_AT_ONCE
from benchmarks.fleet import WORKLOADS, files
from benchmarks.measures import MEASURES
from benchmarks.results import Results, Spread, rotated, slope, spread
from benchmarks.targets import targets
from benchmarks.workloads import THOUSAND

ROOT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"


def results(**values: dict[str, list[float]]) -> Results:
    return Results(
        machine={"server": "PostgreSQL"},
        tools={
            "migrator": "1.0",
            "psql script": "15",
            "Python script": "3",
            "dbmate": "2",
            "Alembic": "1",
        },
        missing={"goose": "no package"},
        values=values,
    )


class TestSpread:
    def test_is_the_median_and_the_ends(self) -> None:
        assert spread([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)
        assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)

    def test_of_nothing_is_none(self) -> None:
        assert results(noop={"dbmate": [1.0]}).spread("noop", "migrator") is None
        assert results().spread("noop", "migrator") is None


class TestRatio:
    def test_is_taken_round_by_round(self) -> None:
        # The second round was slow for both. The ratio of the medians would be 3 / 2.
        found = results(noop={"migrator": [2.0, 20.0, 3.0], "dbmate": [1.0, 10.0, 2.0]})
        assert found.ratio("noop", "migrator", "dbmate") == Spread(2.0, 1.5, 2.0)

    def test_counts_rounds_that_both_have(self) -> None:
        found = results(noop={"migrator": [2.0, 8.0], "dbmate": [1.0]})
        assert found.ratio("noop", "migrator", "dbmate") == Spread(2.0, 2.0, 2.0)
        assert found.ratio("noop", "Alembic", "dbmate") is None


class TestRounds:
    def test_each_tool_is_first_in_turn(self) -> None:
        orders = [rotated(["a", "b", "c"], number) for number in range(6)]
        assert orders[0] == ["a", "b", "c"]
        assert orders[1] == ["a", "c", "b"]
        assert all(sorted(order) == ["a", "b", "c"] for order in orders)
        assert rotated([], 3) == []

    def test_nobody_always_comes_after_the_same(self) -> None:
        before = {
            order[order.index("b") - 1] for order in (rotated(["a", "b", "c"], n) for n in range(6))
        }
        assert before >= {"a", "c"}


def test_slope() -> None:
    assert slope([(1, 3), (2, 5), (4, 9)]) == pytest.approx(2.0)


def test_results_survive_being_saved(tmp_path: Path) -> None:
    saved = results(noop={"migrator": [0.1, 0.2]})
    saved.note("noop", "dbmate", "exit status 1")
    saved.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == saved


class TestChart:
    def test_bars_are_as_long_as_their_values(self) -> None:
        rows = [
            chart.Bar("migrator", "ours", 2.0, 1.0, 3.0, "2 s"),
            chart.Bar("a <tool>", "peer", 4.0, 4.0, 4.0, "4 s"),
        ]
        root = ET.fromstring(chart.bars("A & B", rows))  # noqa: S314 - our own
        _, first, second = (float(rect.attrib["width"]) for rect in root.iter(f"{SVG}rect"))
        assert second == pytest.approx(2 * first)
        texts = [text.text for text in root.iter(f"{SVG}text")]
        assert texts == ["A & B", "migrator", "2 s", "a <tool>", "4 s"]

    def test_a_very_long_bar_is_cut(self) -> None:
        rows = [
            chart.Bar(name, "peer", value, value, value, "")
            for name, value in (("a", 1.0), ("b", 1.0), ("c", 100.0))
        ]
        root = ET.fromstring(chart.bars("", rows))  # noqa: S314
        _, first, _, third = (float(rect.attrib["width"]) for rect in root.iter(f"{SVG}rect"))
        assert third == pytest.approx(chart.CUT * first)
        assert len(list(root.iter(f"{SVG}path"))) == 1


class TestTargets:
    def test_a_target_is_judged_by_the_ratio(self) -> None:
        found = results(fresh200={"migrator": [1.0], "psql script": [0.9], "dbmate": [1.2]})
        floor, peers, *others = targets(found)
        assert (floor.found, floor.holds) == ("1.11 times", False)
        assert (peers.found, peers.holds) == ("dbmate takes 1.20 times", True)
        assert {target.holds for target in others} == {None}

    @pytest.mark.parametrize(
        ("text", "measure", "ours", "name", "holds", "misses"),
        [
            ("200 fresh: at most 0.80 times the", "fresh200", 0.8, "psql script", 1.0, 0.99),
            ("1,000 fresh: at most 0.75 times the", "fresh1000", 0.75, "psql script", 1.0, 0.99),
            ("200 fresh: every peer takes at least 1.2 times", "fresh200", 1.0, "dbmate", 1.2, 1.1),
            ("1,000 fresh: every peer takes at least", "fresh1000", 1.0, "dbmate", 1.2, 1.1),
            ("far away: every peer takes at least 3 times", "far", 1.0, "dbmate", 3.0, 2.9),
            ("INSERTs: at most 1.25 times the fastest", "inserts", 1.25, "dbmate", 1.0, 0.99),
            ("nothing to do: at most 1.35 times the", "noop", 1.35, "Python script", 1.0, 0.99),
            ("10,000 applied: at most 2.2 times", "many", 2.2, "Python script", 1.0, 0.99),
            ("10,000 fresh: at most 11 times", "fresh10000", 22.0, THOUSAND, 2.0, 1.9),
            ("1,000 schemas: at most 1.30 times", "fleet_apply", 1.3, PSQL_AT_ONCE, 1.0, 0.99),
        ],
    )
    def test_a_ratio_has_a_limit(
        self, text: str, measure: str, ours: float, name: str, holds: float, misses: float
    ) -> None:
        for theirs, expected in ((holds, True), (misses, False)):
            found = results(**{measure: {"migrator": [ours], name: [theirs]}})
            [target] = [target for target in targets(found) if text in target.text]
            assert target.holds is expected, target

    def test_the_nearest_peer_decides_and_a_floor_is_none(self) -> None:
        found = results(
            fresh200={
                "migrator": [1.0],
                "Python script": [0.5],
                "dbmate": [1.1],
                "Alembic": [1.3],
            }
        )
        [peers] = [t for t in targets(found) if t.text.startswith("200 fresh: every peer")]
        assert (peers.found, peers.holds) == ("dbmate takes 1.10 times", False)

    @pytest.mark.parametrize("measure", ["memory1000", "memory_inserts"])
    def test_memory_has_a_limit(self, measure: str) -> None:
        for megabytes, expected in ((40, True), (41, False)):
            found = results(**{measure: {"migrator": [megabytes * 1e6]}})
            [target] = [target for target in targets(found) if target.holds is not None]
            assert (target.found, target.holds) == (f"{megabytes} MB", expected)
            assert target.text.endswith("at most 40 MB of memory")

    @pytest.mark.parametrize(
        ("measure", "text", "most", "unit", "factor"),
        [
            ("fleet_schemas", "1,000 schemas, nothing to do: at most 4 s", 4.0, "4.00 s", 1.0),
            ("fleet_databases", "1,000 databases, nothing to do: at most 20 s", 20.0, "20.00 s", 1),
            ("fleet_memory", "10,000 schemas, nothing to do: at most 80 MB", 80e6, "80 MB", 1e6),
            ("fleet_memory_check", "10,000 schemas, all files pending: at", 80e6, "80 MB", 1e6),
        ],
    )
    def test_a_run_on_many_targets_has_a_limit(
        self, measure: str, text: str, most: float, unit: str, factor: float
    ) -> None:
        for value, expected in ((most, True), (most + factor, False)):
            found = results(**{measure: {"migrator": [value]}})
            [target] = [target for target in targets(found) if target.holds is not None]
            assert target.text.startswith(text)
            assert (target.found == unit, target.holds) == (expected, expected)


class TestPage:
    def test_results_without_the_latest_measures_are_shown(self) -> None:
        found = Results.load(ROOT / "docs" / "performance" / "results.json")
        latest = ("quick200", "fresh10000", "waits", "memory1000", *WORKLOADS, "fleet_memory_check")
        for key in latest:
            found.values.pop(key, None)
            found.notes.pop(key, None)
        text = page.page(found, (ROOT / "benchmarks" / "performance.md").read_text())
        assert "| 10,000 fresh: at most 11 times the time of 1,000 | - | not measured |" in text
        for measure in MEASURES:
            assert (f"### {measure.title}\n" in text) is (measure.key not in latest)
        assert not {f"{key}.svg" for key in latest} & set(page.charts(found))

    def test_what_is_measured_of_ours_alone_has_no_column(self) -> None:
        found = results(
            waits={"migrator": [0.005], "dbmate": [1.05]},
            fresh10000={"migrator": [30.0], THOUSAND: [3.0]},
        )
        assert page.summary(found).splitlines() == [
            "|  | waits for the disk |",
            "| --- | ---: |",
            "| **migrator** | 0.01 |",
            "| psql script | - |",
            "| Python script | - |",
            "| dbmate | 1.05 |",
            "| Alembic | - |",
        ]
        text = page.page(found, "{details}")
        assert f"| {THOUSAND} | 3.00 s |  | 0.10 (0.10 … 0.10) | 1 |  |" in text
        assert set(page.charts(found)) == {"waits.svg", "fresh10000.svg"}

    def test_a_loop_over_many_targets_is_beside_the_one_run(self) -> None:
        found = results(
            fleet_schemas={
                "migrator": [4.0],
                "a loop over migrator": [100.0],
                "a loop over dbmate": [20.0],
            },
            fleet_apply={"migrator": [6.0], PSQL_AT_ONCE: [5.0]},
        )
        text = page.page(found, "{summary}\n{details}")
        assert "| a loop over migrator | 100.00 s |  | 25.00 (25.00 … 25.00) | 1 |  |" in text
        assert "measured over 25 targets and multiplied to 1,000" in text
        assert "| psql, 8 sessions | 5.00 s |" in text
        assert set(page.charts(found)) == {"fleet_schemas.svg", "fleet_apply.svg"}

    def test_says_who_failed_and_who_is_missing(self) -> None:
        found = results(noop={"migrator": [0.1], "dbmate": [0.05]})
        found.note("noop", "Alembic", "exit status 1: a | b")
        text = page.page(found, "{machine}\n{targets}\n{summary}\n{details}")
        assert "| Alembic | - |  |  |  | exit status 1: a \\| b |" in text
        assert "| dbmate | 50 ms |  | 0.50 (0.50 … 0.50) | 1 |  |" in text
        assert "- goose: not measured, no package" in text
        assert set(page.charts(found)) == {"noop.svg"}


def test_files_of_a_tenant_are_those_that_all_have_and_then_three_statements_each() -> None:
    made = files(22)
    assert [file.version for file in made] == list(range(1, 23))
    assert [file.sql.count(";") for file in made] == [1] * 20 + [3, 3]
    assert files(5) == made[:5]
