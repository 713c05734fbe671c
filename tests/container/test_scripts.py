"""Backup, restore and reset of a deployment, also when they are struck half way."""

from __future__ import annotations

import fcntl
import json
import signal
import stat
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.container import compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.container.compose import Answer, Project

# How many rows the tables have that the tests fill.
COUNTS = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM word_sets)"
DATABASES = (
    "SELECT datname FROM pg_database WHERE datname LIKE 'fingerflow%' ORDER BY length(datname)"
)
# A table that cannot be restored in reasonable time, but can be filled and dumped.
STUCK = """
CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF current_database() LIKE '%restoring%' THEN PERFORM pg_sleep(600); END IF;
    RETURN true;
END $$;
CREATE TABLE stuck (id int CHECK (slow()));
INSERT INTO stuck VALUES (1)
"""
BOTH = pytest.mark.parametrize("strike", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])


def environ(shop: Project) -> dict[str, str]:
    return {**shop.environ, "OVERLAYS": shop.overlays}


def script(shop: Project, name: str, *arguments: str, typed: str = "") -> Answer:
    """Run a script from another folder than its own."""
    done = subprocess.run(
        [str(shop.folder / f"scripts/{name}-database.sh"), *arguments],
        cwd="/",
        env=environ(shop),
        input=typed,
        capture_output=True,
        text=True,
        timeout=compose.SECONDS,
        check=False,
    )
    return compose.Answer(done.returncode, done.stdout, done.stderr)


def strike_at(
    shop: Project,
    strike: signal.Signals,
    moment: Callable[[], bool],
    name: str,
    *arguments: str,
) -> tuple[int, str]:
    """Start a script, send it a signal at a moment, and return its status and what it said."""
    command = [str(shop.folder / f"scripts/{name}-database.sh"), *arguments]
    log = shop.folder / "struck"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            env=environ(shop),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            compose.wait_for(moment, f"the moment to strike, {command}", compose.SECONDS)
            assert process.poll() is None, log.read_text()
        finally:
            process.send_signal(strike)
        status = process.wait(timeout=compose.SECONDS)
    return status, log.read_text()


def backups(shop: Project, pattern: str = "*") -> list[Path]:
    """Return the backups, and whatever else is beside them."""
    found = (shop.folder / "backups").glob(pattern)
    return sorted(path for path in found if not path.name.endswith(".lock"))


def ours(shop: Project) -> str:
    """Return what the scripts' sessions are doing."""
    return shop.sql(
        "SELECT coalesce(wait_event, state) FROM pg_stat_activity"
        " WHERE application_name = 'deployment-script' AND pid <> pg_backend_pid()",
        "template1",
    )


def databases(shop: Project) -> list[str]:
    return shop.sql(DATABASES, "template1").splitlines()


def started_at(shop: Project) -> str:
    when: str = shop.container("backend")["State"]["StartedAt"]
    return when


@contextmanager
def locked(shop: Project) -> Iterator[None]:
    """Keep others from reading a table: pg_dump waits for it before it writes the first row."""
    command = ["exec", "-T", "postgres", "psql", "-U", "fingerflow", "-qAt"]
    files = [part for file in shop.files for part in ("-f", file)]
    with subprocess.Popen(
        ["docker", "compose", *files, *command],
        cwd=shop.folder,
        env=shop.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as psql:
        assert psql.stdin
        assert psql.stdout
        psql.stdin.write(b"BEGIN; LOCK TABLE word_sets; SELECT 'locked';\n")
        psql.stdin.flush()
        assert psql.stdout.readline() == b"locked\n"
        yield
        psql.stdin.close()
        psql.wait(timeout=20)


@pytest.fixture(scope="module")
def shop(images: None) -> Iterator[Project]:
    """A deployment that is up, with one worker, because it is started often here."""
    del images
    with compose.project() as shop:
        workers = '    environment: {WEB_CONCURRENCY: "1"}\n'
        (shop.folder / compose.TEST).write_text(compose._TEST_FILE + workers)
        shop.compose("up", "--detach", "--wait")
        yield shop


@pytest.fixture(scope="module")
def good(shop: Project) -> Path:
    """A backup of three users, made with `make`; the database has five afterwards."""
    shop.sql("INSERT INTO users (email, created_at) SELECT g, 1 FROM generate_series(1, 3) AS g")
    made = shop.make("backup")
    assert made.status == 0, made.err
    (file,) = backups(shop)
    shop.sql("INSERT INTO users (email, created_at) VALUES ('4', 1), ('5', 1)")
    return file


@pytest.fixture
def filled(shop: Project, good: Path) -> Iterator[Project]:
    """The deployment with five users and no word sets; without other databases afterwards."""
    del good
    shop.sql(
        "DELETE FROM word_sets; DELETE FROM users;"
        "INSERT INTO users (email, created_at) SELECT g, 1 FROM generate_series(1, 5) AS g"
    )
    yield shop
    for other in databases(shop)[1:]:
        shop.sql(f'DROP DATABASE "{other}" WITH (FORCE)', "template1")


class TestBackup:
    def test_is_complete_and_only_ours_to_read(self, shop: Project, good: Path) -> None:
        assert stat.S_IMODE(good.stat().st_mode) == 0o600
        assert good.name.startswith(f"{shop.name}-20")
        assert good.suffix == ".dump"
        with good.open("rb") as file:
            listed = subprocess.run(
                ["docker", "exec", "-i", shop.containers("postgres")[0], "pg_restore", "--list"],
                stdin=file,
                capture_output=True,
                check=True,
            )
        assert b" TABLE DATA public users " in listed.stdout

    def test_keeps_the_newest(self, filled: Project, good: Path) -> None:
        old = [good.with_name(f"{filled.name}-2020010{day}T000000Z.dump") for day in range(1, 4)]
        others = [
            good.with_name(name)
            for name in (
                f"{filled.name}-before-restore-20200101T000000Z.dump",
                f"{filled.name}-2-20200101T000000Z.dump",
                "notes.dump",
            )
        ]
        for file in (*old, *others):
            file.touch()
        answer = script(filled, "backup", "--keep", "3")
        assert answer.status == 0, answer.err
        new = answer.out.split()[1]
        assert set(backups(filled)) == {filled.folder / new, good, old[2], *others}
        for file in (filled.folder / new, old[2], *others):
            file.unlink()

    @BOTH
    def test_struck_leaves_no_half_file(
        self, filled: Project, good: Path, strike: signal.Signals
    ) -> None:
        with locked(filled):
            status, said = strike_at(filled, strike, lambda: ours(filled) == "relation", "backup")
            assert status == (143 if strike == signal.SIGTERM else -9)
            if strike == signal.SIGTERM:
                assert "State: no backup was made." in said
                assert backups(filled) == [good]
                assert ours(filled) == ""
        assert backups(filled, "[!.]*") == [good]
        answer = script(filled, "backup")
        assert answer.status == 0, answer.err
        new = filled.folder / answer.out.split()[1]
        assert set(backups(filled)) == {good, new}
        new.unlink()

    def test_a_full_disk_leaves_no_half_file(self, filled: Project, good: Path) -> None:
        # As near as it gets without a disk of our own: no file may be larger than eight blocks.
        answer = compose.run(
            "bash", "-c", "ulimit -f 8; exec scripts/backup-database.sh",
            cwd=filled.folder, environ=environ(filled),
        )  # fmt: skip
        assert answer.status == 1
        assert "State: no backup was made." in answer.err
        assert backups(filled) == [good]

    @pytest.mark.parametrize("name", ["backup", "restore", "reset"])
    def test_two_at_once_are_refused(self, filled: Project, good: Path, name: str) -> None:
        arguments = [str(good)] if name == "restore" else []
        with (filled.folder / f"backups/.{filled.name}.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            answer = script(filled, name, "--yes", *arguments)
        assert answer.status == 1
        assert "Another backup, restore or reset" in answer.err


class TestRestore:
    def test_swaps_the_database_and_back(self, filled: Project, good: Path) -> None:
        filled.sql("ALTER DATABASE fingerflow SET search_path = '$user', public, extra")
        filled.sql("GRANT CONNECT ON DATABASE fingerflow TO pg_monitor WITH GRANT OPTION")
        describe = (
            "SELECT datdba::regrole,"
            " (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) AS a), setconfig"
            " FROM pg_database AS d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid"
            " WHERE datname = 'fingerflow'"
        )
        described = filled.sql(describe)
        assert 'search_path=\\"$user\\", public, extra' in described
        # The session of this one is in the way, and ended.
        with subprocess.Popen(
            ["docker", "exec", "-i", filled.containers("postgres")[0], "psql", "-U", "fingerflow"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        ) as idle:
            answer = filled.make("restore", f"FILE={good}", "ARGS=--yes")
            assert answer.status == 0, answer.err
            assert idle.stdin
            idle.stdin.close()

        assert filled.sql(COUNTS) == "3|0"
        assert filled.get("/health")[0] == 200
        assert filled.sql(describe) == described
        database, kept = databases(filled)
        assert database == "fingerflow"
        assert filled.sql(COUNTS, kept) == "5|0"
        (safety,) = backups(filled, "*-before-restore-*.dump")
        assert stat.S_IMODE(safety.stat().st_mode) == 0o600
        assert kept in answer.out

        backend = ("fingerflow_backend", filled.secret("POSTGRES_PASSWORD"))
        assert filled.try_sql(*backend, "UPDATE users SET settings = '{}'").status == 0
        assert filled.try_sql(*backend, "SELECT FROM schema_migrations").status == 0
        for statement in (
            "DELETE FROM schema_migrations",
            "CREATE TABLE mine (id int)",
            "CREATE TEMPORARY TABLE mine (id int)",
            "DROP TABLE users",
        ):
            refused = filled.try_sql(*backend, statement).err
            assert "permission denied" in refused or "must be owner" in refused, statement
        owners = filled.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert owners == "fingerflow_migrator"
        filled.migration("002_more.sql", "-- More\nALTER TABLE users ADD COLUMN locale text;\n")
        filled.compose("run", "--rm", "migrator")

        # Struck after the swap: the next run starts what the first one did not.
        status, _ = strike_at(
            filled,
            signal.SIGKILL,
            lambda: len(databases(filled)) == 2 and kept not in databases(filled),
            "restore",
            "--yes",
            "--undo",
        )
        assert status == -9
        assert filled.sql(COUNTS) == "5|0"
        answer = script(filled, "restore", "--yes", "--undo")
        assert answer.status == 0, answer.err
        assert filled.sql(COUNTS) == "3|0"
        assert filled.get("/health")[0] == 200
        safety.unlink()
        (filled.folder / "migrations/002_more.sql").unlink()

    def test_a_file_that_is_no_backup_is_refused(
        self, filled: Project, good: Path, tmp_path: Path
    ) -> None:
        whole = good.read_bytes()
        bad = {
            "cut.dump": whole[: len(whole) * 2 // 3],
            "damaged.dump": whole[:-9000] + b"damaged" + whole[-8993:],
            "text.sql": b"SELECT 1;\n",
            "empty.dump": b"",
        }
        before = started_at(filled)
        for name, content in bad.items():
            (tmp_path / name).write_bytes(content)
            answer = script(filled, "restore", "--yes", str(tmp_path / name))
            assert answer.status == 1, name
            found = "cannot be read to its end" in answer.err
            # What is damaged in the SQL, and not in the rows, only the server finds.
            found |= name == "damaged.dump" and "cannot be restored" in answer.err
            assert found, answer.err
            assert "State: nothing was " in answer.err
        columns = "version int, applied_at timestamp, description text"
        filled.sql("CREATE DATABASE other", "template1")
        for statement, problem in (
            ("SELECT 1", "has no schema_migrations"),
            (
                "CREATE TABLE schema_migrations AS SELECT 1 AS version, false AS dirty",
                "has a schema_migrations that is not migrator's",
            ),
            (
                f"DROP TABLE schema_migrations; CREATE TABLE schema_migrations ({columns})",
                "has nothing recorded in schema_migrations",
            ),
        ):
            filled.sql(statement, "other")
            other = subprocess.run(
                ["docker", "exec", filled.containers("postgres")[0], "pg_dump", "-U", "fingerflow",
                 "-Fc", "other"],
                capture_output=True, check=True,
            )  # fmt: skip
            (tmp_path / "other.dump").write_bytes(other.stdout)
            answer = script(filled, "restore", "--yes", str(tmp_path / "other.dump"))
            assert answer.status == 1
            assert f"other.dump {problem}: it is another application's" in answer.err
        filled.sql("DROP DATABASE other", "template1")
        assert script(filled, "restore", "--yes", str(tmp_path / "none.dump")).status == 2
        assert script(filled, "restore", str(good)).status == 2, "nobody types YES"
        assert filled.sql(COUNTS) == "5|0"
        assert databases(filled) == ["fingerflow"]
        assert started_at(filled) == before
        assert filled.get("/health")[0] == 200

    def test_a_migration_that_fails_on_it_changes_nothing(
        self, filled: Project, good: Path
    ) -> None:
        broken = "-- Break\nALTER TABLE users DROP COLUMN nothing_like_it;\n"
        filled.migration("002_broken.sql", broken)
        before = started_at(filled)
        answer = script(filled, "restore", "--yes", str(good))
        (filled.folder / "migrations/002_broken.sql").unlink()
        assert answer.status == 1
        assert "002_broken.sql:2:1: error:" in answer.err
        assert "State: nothing was restored. Database fingerflow was not changed.\n" in answer.err
        assert filled.sql(COUNTS) == "5|0"
        assert databases(filled) == ["fingerflow"]
        assert started_at(filled) == before

    @BOTH
    def test_struck_while_it_fills_the_fresh_database(
        self, filled: Project, strike: signal.Signals
    ) -> None:
        filled.sql(STUCK)
        made = script(filled, "backup")
        filled.sql("DROP TABLE stuck; DROP FUNCTION slow()")
        stuck = filled.folder / made.out.split()[1]
        before = started_at(filled)
        status, said = strike_at(
            filled, strike, lambda: ours(filled) == "PgSleep", "restore", "--yes", str(stuck)
        )
        assert filled.sql(COUNTS) == "5|0"
        assert started_at(filled) == before
        if strike == signal.SIGTERM:
            assert status == 143
            assert "State: nothing was restored." in said
            assert "The backend was not stopped." in said
        else:
            assert status == -9
            assert len(databases(filled)) == 2
            # What was left is ended and dropped by the next run, even one that fails.
            filled.migration("002_broken.sql", "-- Break\nSELECT nothing_like_it;\n")
            made = script(filled, "backup")
            again = filled.folder / made.out.split()[1]
            assert script(filled, "restore", "--yes", str(again)).status == 1
            (filled.folder / "migrations/002_broken.sql").unlink()
            again.unlink()
        assert ours(filled) == ""
        assert databases(filled) == ["fingerflow"]
        stuck.unlink()

    @BOTH
    def test_struck_while_the_backend_is_stopped(
        self, filled: Project, good: Path, strike: signal.Signals
    ) -> None:
        with locked(filled):
            status, said = strike_at(
                filled,
                strike,
                lambda: ours(filled) == "relation",
                "restore", "--yes", str(good),
            )  # fmt: skip
            assert filled.container("backend")["State"]["Running"] == (strike == signal.SIGTERM)
        assert filled.sql(COUNTS) == "5|0"
        if strike == signal.SIGTERM:
            assert status == 143
            assert "State: nothing was restored." in said
            assert said.endswith("The backend runs again and is healthy.\n")
        else:
            assert status == -9
            answer = script(filled, "restore", "--yes", "--no-safety-backup", str(good))
            assert answer.status == 0, answer.err
            assert filled.sql(COUNTS) == "3|0"
            assert len(databases(filled)) == 2
        assert filled.get("/health")[0] == 200
        assert backups(filled) == [good]


class TestVerify:
    def test_has_a_scratch_database_and_leaves_none(self, filled: Project) -> None:
        clean = script(filled, "verify")
        assert clean.status == 0, clean.err
        assert clean.out.startswith("The schema is what 001_initial_schema.sql describes.\n")
        filled.sql("ALTER TABLE users ADD COLUMN by_hand text")
        differs = filled.make("verify", "ARGS=--json")
        assert differs.status == 2, "make's own"
        assert [d["name"] for d in json.loads(differs.out)["differences"]] == ["users.by_hand"]
        assert script(filled, "verify", "--version", "1").status == 5
        assert script(filled, "verify", "--nothing-like-it").status == 2
        filled.sql("ALTER TABLE users DROP COLUMN by_hand")
        assert databases(filled) == ["fingerflow"]

    @BOTH
    def test_struck_while_it_builds(self, filled: Project, strike: signal.Signals) -> None:
        again = "current_database() LIKE '%scratch'"
        slow = (
            f"-- Wait where it is built again\nSELECT CASE WHEN {again} THEN pg_sleep(600) END;\n"
        )
        filled.migration("002_slow.sql", slow)
        filled.compose("run", "--rm", "--no-deps", "migrator")
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        status, _ = strike_at(filled, strike, lambda: filled.sql(asleep) == "1", "verify")
        filled.sql("DELETE FROM schema_migrations WHERE version = 2")
        (filled.folder / "migrations/002_slow.sql").unlink()
        left = databases(filled)[1:]
        if strike == signal.SIGTERM:
            assert (status, left) == (143, [])
        else:
            assert (status, left) == (-9, ["fingerflow_verify_scratch"])
            assert script(filled, "verify").status == 0
            assert databases(filled) == ["fingerflow"]


class TestReset:
    def test_drops_the_rows_and_builds_the_schema(self, filled: Project) -> None:
        refused = script(filled, "reset", typed="yes\n")
        assert refused.status == 2
        assert "           5 rows  users\n" in refused.out
        assert "The newest backup is backups/" in refused.out
        assert filled.sql(COUNTS) == "5|0"

        filled.migration("003_bad_name", "")
        filled.migration("02_dup.sql", "SELECT 1;\n")
        filled.migration("002_dup.sql", "SELECT 1;\n")
        failed = script(filled, "reset", "--yes")
        assert failed.status == 1
        assert "State: nothing was dropped.\nThe backend runs again" in failed.err
        assert filled.sql(COUNTS) == "5|0"
        for name in ("003_bad_name", "02_dup.sql", "002_dup.sql"):
            (filled.folder / "migrations" / name).unlink()

        filled.migration("002_broken.sql", "-- Break\nSELECT nothing_like_it;\n")
        failed = filled.make("reset", "ARGS=--yes")
        assert failed.status == 2
        assert "State: the old tables are gone, and not every migration was applied." in failed.err
        assert not filled.container("backend")["State"]["Running"]
        (filled.folder / "migrations/002_broken.sql").unlink()

        done = script(filled, "reset", typed="YES\n")
        assert done.status == 0, done.err
        assert "Current schema version: 1\n" in done.out
        assert filled.sql(COUNTS) == "0|0"
        assert filled.get("/health")[0] == 200
