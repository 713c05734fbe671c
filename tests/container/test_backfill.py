"""A deployment does not wait for a backfill that was left for later; the service runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.container.compose import docker

if TYPE_CHECKING:
    from tests.container.compose import Project


def test_the_site_comes_up_and_the_backfill_follows(fresh: Project) -> None:
    fresh.environ["MIGRATOR_BACKFILL"] = "later"
    fresh.migration(
        "003_notes.sql",
        "CREATE TABLE notes (id bigint PRIMARY KEY, done boolean);"
        "INSERT INTO notes (id) SELECT generate_series(1, 5000);",
    )
    fresh.migration(
        "004_fill_notes.sql",
        "-- migrator: backfill = notes.id\n"
        "UPDATE notes SET done = true WHERE done IS NULL AND id BETWEEN :first AND :last;",
    )
    fresh.compose("up", "--detach", "--wait")
    assert fresh.get("/health")[0] == 200
    assert "left for later" in fresh.logs("migrator")
    with_profile = ("--profile", "backfill")
    all_of_it = (*with_profile, "ps", "--all", "--quiet", "backfill")
    assert fresh.compose(*all_of_it) == ""
    assert fresh.sql("SELECT count(*) FROM notes WHERE done") == "0"
    left = "Left for `migrator backfill`: 004_fill_notes.sql (not begun)."
    assert left in fresh.compose("run", "--rm", "migrator", "check")

    fresh.compose("run", "--rm", "backfill")
    assert fresh.sql("SELECT count(*) FROM notes WHERE done") == "5000"
    assert "Left" not in fresh.compose("run", "--rm", "migrator", "check")
    # With its profile it is a service as any other, which finds nothing to do.
    fresh.compose(*with_profile, "up", "--detach", "backfill")
    assert docker("wait", fresh.compose(*all_of_it).strip()).strip() == "0"
    assert fresh.get("/health")[0] == 200
