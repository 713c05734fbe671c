"""`deploy/kubernetes` for many targets: what each container would run, on a real server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from migrator.process import errors
from tests.support.kubernetes import OBJECTS, arguments, environment, patched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Process, Run

    Start = Callable[..., Process]

JOB = OBJECTS["indexed-job.yaml"]
PODS = JOB["spec"]["completions"]
FINAL = JOB["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
NAMES = [f"t{number}" for number in range(40)]


@pytest.fixture
def start(migrate: Migrate, database: Database, tmp_path: Path) -> Start:
    """Start what the container of a Job would run, as the pod with an index if it has one."""
    secrets = tmp_path / "secrets"
    for name in ("migrator", "targets"):
        (secrets / name).mkdir(parents=True)
    (secrets / "migrator/password").write_text(database.password)
    server = database.server

    def start(job: dict[str, Any], index: int | None = None) -> Process:
        given = {
            name: value.replace("/run/secrets", str(secrets))
            for name, value in environment(job).items()
        }
        given["DATABASE_URL"] = (
            f"postgresql://{database.user}@{server.host}:{server.port}/{database.name}"
        )
        if index is not None:
            given["JOB_COMPLETION_INDEX"] = str(index)
        return migrate.start(*arguments(job), env=given)

    return start


@pytest.fixture
def listed(tmp_path: Path, start: Start) -> Callable[..., None]:
    """Write the list of the targets into the Secret."""
    del start  # makes the folder

    def write(*lines: str) -> None:
        text = "".join(f"{line}\n" for line in lines)
        (tmp_path / "secrets/targets/targets").write_text(text)

    return write


@pytest.fixture(autouse=True)
def _files(folder: Folder) -> None:
    """Two files that would fail if they ran twice in one target."""
    folder.write("001_pets.sql", "CREATE TABLE pets (id int PRIMARY KEY);\n")
    folder.write("002_one.sql", "INSERT INTO pets VALUES (1);\n")


def versions(database: Database) -> dict[str, int]:
    """Return how many files the history of each schema has, by the schema's name."""
    found = database.execute(
        "SELECT nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relname = 'schema_migrations'"
    )
    counts = {}
    for (name,) in found:
        [(count,)] = database.execute(f'SELECT count(*) FROM "{name}".schema_migrations')
        counts[name] = count
    return counts


def test_ten_pods_at_once_apply_everything_once_and_the_next_job_does_what_is_left(
    start: Start, listed: Callable[..., None], database: Database
) -> None:
    """One of the tenants has a problem of its own, and the database of another one is away."""
    broken, away = NAMES[7], f"{database.name}_away"
    listed(*(f"{name} schema={name}" for name in NAMES), f"away database={away}")
    database.execute(
        f"CREATE SCHEMA {broken} AUTHORIZATION {database.user};"
        f"CREATE TABLE {broken}.schema_migrations (x int)"
    )
    pods = [start(JOB, index) for index in range(PODS)]
    runs = [pod.wait() for pod in pods]
    statuses = [run.status for run in runs]
    # What is final and what is worth another pod; neither holds up the rest of its part.
    assert sorted(statuses) == [errors.OK] * (PODS - 2) + [errors.UNREACHABLE, errors.DISAGREEMENT]
    assert errors.DISAGREEMENT in FINAL
    assert errors.UNREACHABLE not in FINAL
    done = [run.event("targets done") for run in runs]
    assert {end["listed"] for end in done} == {len(NAMES) + 1}
    assert sum(end["targets"] for end in done) == len(NAMES) + 1
    assert max(end["targets"] for end in done) < len(NAMES) / 2
    # The canary is the first of part 0.
    assert applied(runs[0])[:2] == [(NAMES[0], 1), (NAMES[0], 2)]
    others = [name for name in NAMES if name != broken]
    assert Counter(applied(*runs)) == Counter((name, n) for name in others for n in (1, 2))

    database.execute(f"DROP TABLE {broken}.schema_migrations")
    database.server.execute(f"CREATE DATABASE {away} OWNER {database.user}")
    try:
        again = [
            start(JOB, statuses.index(status)).wait() for status in set(statuses) - {errors.OK}
        ]
        assert [run.status for run in again] == [errors.OK] * 2
        assert sorted(applied(*again)) == sorted(
            (name, n) for name in (broken, "away") for n in (1, 2)
        )
    finally:
        database.server.execute(f"DROP DATABASE {away} WITH (FORCE)")
    assert versions(database) == dict.fromkeys(NAMES, 2)


def applied(*runs: Run) -> list[tuple[str, int]]:
    """Return the targets and versions that runs have applied, in the order of their logs."""
    return [
        (event["target"], event["version"])
        for run in runs
        for event in run.events
        if event["event"] == "applied"
    ]


def test_the_canary_is_applied_alone_before_the_pods_start(
    start: Start, listed: Callable[..., None], database: Database
) -> None:
    listed(*(f"{name} schema={name}" for name in NAMES), "acme schema=acme")
    run = start(patched("job.yaml", "canary.yaml")).wait()
    assert run.status == errors.OK, run.err
    assert versions(database) == {"acme": 2}


def test_a_pod_without_an_index_and_one_beyond_the_parts_are_told_so(
    start: Start, listed: Callable[..., None]
) -> None:
    listed("a schema=a", "b schema=b")
    for index in (None, PODS):
        run = start(JOB, index).wait()
        assert run.status == errors.USAGE
        assert "MIGRATOR_SHARD=10" in run.event("usage error")["message"]


def test_a_file_that_fails_everywhere_meets_few_targets(
    start: Start, listed: Callable[..., None], folder: Folder, database: Database
) -> None:
    folder.write("003_bad.sql", "SELECT 1 / 0;\n")
    listed(*(f"{name} schema={name}" for name in NAMES))
    given = environment(JOB)
    most = int(given["MIGRATOR_MAX_FAILURES"]) + int(given["MIGRATOR_JOBS"]) - 1
    for index in (0, 2):
        run = start(JOB, index).wait()
        assert run.status == errors.FAILED
        assert errors.FAILED in FINAL
        states = run.event("targets done")["states"]
        # In part 0 the canary fails, and nothing else is begun.
        assert states["failed"] == 1 if index == 0 else 1 < states["failed"] <= most
    assert len(versions(database)) <= 1 + most
