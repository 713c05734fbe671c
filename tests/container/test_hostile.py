"""The scripts and the roles where somebody tries: strange names, bad secrets, a role's own code."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from tests.container import compose
from tests.support import mallory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.container.compose import Answer, Project

ROLE, DATABASE = 'App-Owner "x"', 'It\'s-"Db"$1'
# All that a user changes for another role: the compose file has the names of its own.
NAMES = """
  roles:
    environment: {MIGRATOR_ROLE: 'App-Owner "x"'}
"""
DATABASE_URL = "postgresql://App-Owner%20%22x%22@postgres:5432/It%27s-%22Db%22%241"
# Without waiting for the disk, and with room for the locks of everything that mallory makes.
QUICK = """
    command: [postgres, -c, fsync=off, -c, max_locks_per_transaction=1000]
"""


def script(shop: Project, name: str, *arguments: str, typed: str = "") -> Answer:
    """Run one of the scripts."""
    done = subprocess.run(
        [str(shop.folder / f"scripts/{name}-database.sh"), *arguments],
        env={**shop.environ, "OVERLAYS": shop.overlays},
        input=typed,
        capture_output=True,
        text=True,
        timeout=5 * compose.SECONDS,
        check=False,
    )
    return compose.Answer(done.returncode, done.stdout, done.stderr)


def test_any_name_of_role_and_database_can_be_adopted_and_restored(images: None) -> None:
    del images
    with compose.project(POSTGRES_DB=DATABASE) as shop:
        override = compose._TEST_FILE.replace(
            "  migrator:\n", f"  migrator:\n    environment: {{DATABASE_URL: '{DATABASE_URL}'}}\n"
        )
        workers = '    environment: {WEB_CONCURRENCY: "1"}\n'
        (shop.folder / compose.TEST).write_text(override + workers + NAMES)
        shop.compose("up", "--detach", "--wait")
        shop.sql(
            "DROP TABLE schema_migrations; CREATE TABLE alembic_version (version_num varchar(32)"
            " NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);"
            "INSERT INTO alembic_version VALUES ('b3e07d52c6a1')",
            DATABASE,
        )
        adopted = script(shop, "adopt-alembic", "--yes")
        assert adopted.status == 0, adopted.out + adopted.err
        assert "Adopted: the database is at version 1." in adopted.out

        made = script(shop, "backup")
        assert made.status == 0, made.err
        restored = script(shop, "restore", "--yes", str(shop.folder / made.out.split()[1]))
        assert restored.status == 0, restored.out + restored.err
        back = script(shop, "restore", "--yes", "--undo")
        assert back.status == 0, back.out + back.err
        # The command that it prints is one that can be pasted.
        [kept] = [line for line in back.out.splitlines() if line.startswith("Kept: ")]
        drop = kept.partition("to drop it: ")[2].replace(" exec ", " exec -T ")
        dropped = compose.run("bash", "-c", drop, cwd=shop.folder, environ=shop.environ)
        assert dropped.status == 0, dropped.err
        others = "SELECT count(*) FROM pg_database WHERE datname LIKE '%before%'"
        assert shop.sql(others, DATABASE) == "0"
        owner = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert shop.sql(owner, DATABASE) == ROLE


@pytest.mark.parametrize("name", ["x" * 63, "é" * 31])
def test_a_name_that_the_server_would_cut_is_refused(images: None, name: str) -> None:
    """With the suffix of a script it is the name of the database itself, which would be dropped."""
    del images
    with compose.project(POSTGRES_DB=name) as shop:
        shop.compose("up", "--detach", "--wait", "postgres")
        (shop.folder / "file").touch()
        for command in (
            ["adopt-alembic", "--yes"],
            ["restore", "--yes", str(shop.folder / "file")],
        ):
            answer = script(shop, *command)
            assert answer.status == 1
            assert f"The name {name} is too long" in answer.err
            assert "State: nothing was changed" in answer.err
        assert shop.sql("SELECT 1", name) == "1"


class TestSecrets:
    """A secret that is no use ends the deployment before anything is migrated."""

    @pytest.mark.parametrize(
        ("text", "mode", "message"),
        [
            ("secret", 0o600, "cannot be read (cat: /run/secrets/migrator_password: Permission"),
            ("", 0o444, "/run/secrets/migrator_password is empty. Write it (make secrets)"),
            ("two\r\nlines", 0o444, "must be one line of text"),
        ],
    )
    def test_of_the_migrator(self, fresh: Project, text: str, mode: int, message: str) -> None:
        file = fresh.folder / "secrets/migrator_password"
        file.chmod(0o600)
        file.write_text(text)
        file.chmod(mode)
        answer = fresh.try_compose("up", "--detach")
        assert answer.status == 1
        assert message in fresh.logs("roles")
        assert len(fresh.logs("roles").splitlines()) == 1
        for service in ("migrator", "backend"):
            assert fresh.container(service)["State"]["Status"] == "created"
        assert fresh.sql("SELECT count(*) FROM pg_roles WHERE rolname ~ '^fingerflow_'") == "0"

    def test_of_the_migrator_with_crlf(self, fresh: Project) -> None:
        file = fresh.folder / "secrets/migrator_password"
        text = file.read_text()
        file.chmod(0o600)
        file.write_bytes(f"{text}\r\n".encode())
        file.chmod(0o444)
        fresh.compose("up", "--detach", "--wait")
        assert fresh.try_sql("fingerflow_migrator", text, "SELECT 1").status == 0

    def test_of_the_backend(self, fresh: Project) -> None:
        fresh.environ["POSTGRES_PASSWORD"] = "a@b/c#d"
        answer = fresh.try_compose("up", "--detach")
        assert answer.status == 1
        log = fresh.logs("roles")
        assert "The password of the backend (POSTGRES_PASSWORD" in log
        assert "a@b/c#d" not in log
        fresh.environ["POSTGRES_PASSWORD"] = "aZ09-._~!$&()*+,;=:"
        fresh.compose("up", "--detach", "--wait")
        assert fresh.get("/health")[0] == 200


class Direct:
    """A database of a deployment, as tests.support.mallory takes it."""

    def __init__(self, shop: Project, name: str) -> None:
        networks = shop.container("postgres")["NetworkSettings"]["Networks"]
        [address] = [network["IPAddress"] for network in networks.values()]
        password = shop.secret("postgres_password")
        self.admin_url = f"postgresql://fingerflow:{password}@{address}:5432/{name}"

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.admin_url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []


class TestAttack:
    """Nothing that another role has made is called by the scripts, and no setting is SQL."""

    @pytest.fixture(scope="class")
    @classmethod
    def attacked(cls, images: None) -> Iterator[Project]:
        """A deployment in which mallory may create objects, in template1 as well."""
        del images
        with compose.project() as shop:
            text = compose._TEST_FILE.replace("{interval: 0.5s}", "{interval: 0.5s}" + QUICK)
            (shop.folder / compose.TEST).write_text(
                text + '    environment: {WEB_CONCURRENCY: "1"}\n'
            )
            shop.compose("up", "--detach", "--wait", "postgres")
            shop.sql("GRANT TEMPORARY ON DATABASE template1 TO PUBLIC", "postgres")
            mallory.attack(Direct(shop, "template1"))  # type: ignore[arg-type]
            shop.sql("DROP DATABASE fingerflow", "postgres")
            shop.sql("CREATE DATABASE fingerflow TEMPLATE template1", "postgres")
            for name in ("template1", "fingerflow"):
                shop.sql(f"ALTER DATABASE {name} SET search_path TO public, pg_catalog", "postgres")
            yield shop

    def see(self, shop: Project, answer: Answer, status: int, said: str) -> None:
        """See how a script ended, and that nothing of mallory's was called."""
        assert answer.status == status, answer.out + answer.err
        assert said in answer.out + answer.err
        assert "WARNING:  mallory:" not in answer.out + answer.err
        called = "SELECT is_called FROM public.calls"
        assert shop.sql(called, "template1") == "f"
        assert shop.sql(called) == "f"

    @pytest.mark.timeout(900)  # mallory needs minutes to make it all
    def test_scripts(self, attacked: Project) -> None:
        attacked.sql(
            "SET search_path TO pg_catalog; CREATE TABLE public.alembic_version"
            " (version_num varchar(32) PRIMARY KEY);"
            "INSERT INTO public.alembic_version VALUES ('b3e07d52c6a1')"
        )
        # It compares, and everything of mallory's is a difference.
        answer = script(attacked, "adopt-alembic", "--yes")
        said = "State: nothing was recorded. The repair of the schema is done;"
        self.see(attacked, answer, 1, said)

        answer = script(attacked, "reset", typed="no\n")
        self.see(attacked, answer, 2, "           1 rows  alembic_version\n")
        attacked.migration("01_twice.sql", "SELECT 1;\n")
        answer = script(attacked, "reset", "--yes")
        (attacked.folder / "migrations/01_twice.sql").unlink()
        self.see(attacked, answer, 1, "State: nothing was dropped.")

        answer = script(attacked, "backup")
        self.see(attacked, answer, 0, "Wrote backups/")
        # Any role may set its own path to what it likes.
        attacked.sql(
            "SET SESSION AUTHORIZATION mallory; SELECT pg_catalog.set_config('search_path',"
            " 'pg_catalog;ALTER/**/ROLE/**/mallory/**/SUPERUSER', false);"
            "ALTER ROLE mallory IN DATABASE fingerflow SET search_path FROM CURRENT"
        )
        dump = attacked.folder / answer.out.split()[1]
        answer = script(attacked, "restore", "--yes", "--no-start", str(dump))
        self.see(attacked, answer, 0, "Done: database fingerflow now has the content")
        answer = script(attacked, "restore", "--yes", "--no-start", "--undo")
        self.see(attacked, answer, 0, "Done: database fingerflow now has the content")
        rights = attacked.sql(
            "SET search_path TO pg_catalog; SELECT rolsuper, pg_has_role(oid,"
            " 'fingerflow_migrator', 'MEMBER') FROM pg_roles WHERE rolname = 'mallory'"
        )
        assert rights.splitlines()[-1] == "f|f"
