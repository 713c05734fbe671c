"""What others have written, in rows, names, queries and files, does no harm in our output.

They write commands for GitHub's runner, escapes for the terminal, and the password.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg2
import pytest

from tests.support.github import commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

FAILED = 1
DIFFERENT = 5
USAGE = 2
LOCKED = 6
FORMS = pytest.mark.parametrize("form", ["json", "console"])
EVIL = "x\n ::error file=a::pwned\r::warning::pwned\n##[error]pwned\n\x1b[2J\u202eend"
NAME = 'x\n::error::pwned "##[error]\x1b[2J'


def harmless(run: Run, summary: Path | None = None) -> list[tuple[str, str]]:
    """Check that nothing of others does harm, and return the commands, which are our own."""
    obeyed = commands(run.out) + commands(run.err)
    assert not [data for _, data in obeyed if data.startswith("pwned")]
    assert {name for name, _ in obeyed} <= {"error"}
    for text in (run.out, run.err, summary.read_text() if summary else ""):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\r" not in text
        assert "##[" not in text
    return obeyed


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str | None]:
    (tmp_path / "summary.md").touch()
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }


class TestCommands:
    @FORMS
    def test_in_the_rows_of_a_user_are_not_obeyed(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        env: dict[str, str | None],
        tmp_path: Path,
        form: str,
    ) -> None:
        database.execute(
            "CREATE TABLE posts (body text); INSERT INTO posts SELECT E"
            f"'{EVIL.encode('unicode_escape').decode()}' FROM generate_series(1, 2);"
            f"ALTER TABLE posts OWNER TO {database.user}"
        )
        folder.write("001_unique.sql", "CREATE UNIQUE INDEX posts_body ON posts (body);")
        run = migrate(env={**env, "MIGRATOR_LOG_FORMAT": form})
        assert run.status == FAILED
        [(_, data)] = harmless(run, tmp_path / "summary.md")
        assert "Key (body)=(x%0A" in data
        if form == "json":
            assert f"Key (body)=({EVIL})" in run.event("migration failed")["detail"]
        else:
            assert "<U+003A>:error file=a::pwned" in run.err

    @FORMS
    def test_in_a_notice_or_an_error_are_not_obeyed(
        self,
        migrate: Migrate,
        folder: Folder,
        env: dict[str, str | None],
        tmp_path: Path,
        form: str,
    ) -> None:
        text = EVIL.encode("unicode_escape").decode()
        folder.write(
            "001_a.sql",
            f"DO $$ BEGIN RAISE WARNING USING MESSAGE = E'{text}';"
            f" RAISE EXCEPTION USING MESSAGE = E'{text}', HINT = E'{text}'; END $$;",
        )
        run = migrate(env={**env, "MIGRATOR_LOG_FORMAT": form})
        assert run.status == FAILED
        harmless(run, tmp_path / "summary.md")

    @FORMS
    def test_in_a_file_are_not_obeyed(
        self,
        migrate: Migrate,
        folder: Folder,
        env: dict[str, str | None],
        tmp_path: Path,
        form: str,
    ) -> None:
        folder.write("001_a.sql", f"SELECT 1;\n-- ##[error]pwned\x1b[2J\nSELECT\n '{EVIL}'::int;")
        run = migrate(env={**env, "MIGRATOR_LOG_FORMAT": form})
        assert run.status == FAILED
        harmless(run, tmp_path / "summary.md")

    @FORMS
    def test_in_the_text_of_others_sessions_are_not_obeyed(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        env: dict[str, str | None],
        form: str,
    ) -> None:
        database.execute(f"CREATE TABLE a (); ALTER TABLE a OWNER TO {database.user}")
        folder.write("001_a.sql", "ALTER TABLE a ADD COLUMN b int;")
        with closing(psycopg2.connect(database.url)) as other:
            other.cursor().execute("SET application_name = '##[error]pwned'")
            other.cursor().execute("/* ##[error]pwned \x1b[2J */ SELECT FROM a")
            run = migrate(
                *("--lock-timeout", "50ms", "--lock-wait", "0"),
                env={**env, "MIGRATOR_LOG_FORMAT": form},
            )
        assert run.status == LOCKED
        harmless(run)


@pytest.mark.usefixtures("owner_may_create_databases")
class TestNames:
    """Names of objects, and SQL with them, in the answers of commands."""

    @pytest.fixture(autouse=True)
    def one_file(self, folder: Folder, database: Database) -> None:
        folder.write("001_a.sql", "CREATE TABLE a (id int);")
        quoted = NAME.replace('"', '""')
        database.execute(
            f'CREATE TABLE "{quoted}" ("{quoted}" int);'
            f'ALTER TABLE "{quoted}" OWNER TO {database.user}'
        )

    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_are_harmless_in_verify(
        self, migrate: Migrate, env: dict[str, str | None], options: tuple[str, ...]
    ) -> None:
        assert migrate().status == 0
        run = migrate("verify", *options, env=env)
        assert run.status == DIFFERENT
        assert not harmless(run)
        if options:
            assert NAME.replace('"', '""') in json.loads(run.out)["differences"][0]["name"]

    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_are_harmless_in_rehearse(
        self,
        migrate: Migrate,
        folder: Folder,
        env: dict[str, str | None],
        options: tuple[str, ...],
    ) -> None:
        quoted = NAME.replace('"', '""')
        folder.write("002_b.sql", f'ALTER TABLE\n"{quoted}" ADD COLUMN b int;')
        run = migrate("rehearse", *options, env=env)
        assert run.status == 0
        assert not harmless(run)

    @FORMS
    def test_are_harmless_in_apply(
        self,
        migrate: Migrate,
        folder: Folder,
        env: dict[str, str | None],
        tmp_path: Path,
        form: str,
    ) -> None:
        quoted = NAME.replace('"', '""')
        folder.write("002_b.sql", f'ALTER TABLE\n"{quoted}" ADD COLUMN b int;')
        metrics = tmp_path / "a.prom"
        run = migrate("--metrics-file", str(metrics), env={**env, "MIGRATOR_LOG_FORMAT": form})
        assert run.status == 0
        assert not harmless(run, tmp_path / "summary.md")
        assert metrics.read_text().isprintable() or "\x1b" not in metrics.read_text()
        assert "migrator_migration_lock_held_seconds" in metrics.read_text()

    def test_are_harmless_in_adopt(
        self, migrate: Migrate, database: Database, env: dict[str, str | None]
    ) -> None:
        database.execute(
            "CREATE TABLE alembic_version (version_num text PRIMARY KEY);"
            f"INSERT INTO alembic_version VALUES (E'{NAME.encode('unicode_escape').decode()}');"
            f"ALTER TABLE alembic_version OWNER TO {database.user}"
        )
        run = migrate("adopt", "--version", "1", "--yes", env=env)
        assert run.status in (FAILED, DIFFERENT)
        harmless(run)
        run = migrate("adopt", "--version", "1", "--yes", "--allow-differences", env=env)
        assert run.status == 0
        assert not harmless(run)

    @pytest.mark.parametrize(
        "command", [("status",), ("--current",), ("status", "--json"), ("--current", "--json")]
    )
    def test_are_harmless_in_the_history(
        self,
        migrate: Migrate,
        database: Database,
        env: dict[str, str | None],
        command: tuple[str, ...],
    ) -> None:
        assert migrate().status == 0
        text = NAME.encode("unicode_escape").decode()
        database.execute(f"UPDATE schema_migrations SET description = E'{text}', file = E'{text}'")
        run = migrate(*command, env=env)
        assert run.status == 0
        assert not harmless(run)
        if "--json" in command:
            answer = json.loads(run.out)
            [row] = answer.get("recent") or answer["migrations"]
            assert row["description"] == NAME

    def test_are_harmless_in_repair(
        self, migrate: Migrate, folder: Folder, database: Database, env: dict[str, str | None]
    ) -> None:
        folder.write("002_b.sql", "SELECT 2;")
        folder.write("003_c.sql", "SELECT 3;")
        assert migrate().status == 0
        text = NAME.encode("unicode_escape").decode()
        database.execute(f"UPDATE schema_migrations SET description = E'{text}', file = E'{text}'")
        folder.remove("002_b.sql")
        refused = migrate(env=env)
        assert refused.status == DIFFERENT
        harmless(refused)
        run = migrate("repair", "--yes", env=env)
        assert run.status == 0
        assert not harmless(run)


class TestPasswords:
    RANDOM = "p%/'\" w-Zq93Kx"
    SMALL = "p%25%2f%27%22%20w-Zq93Kx"  # percent-encoded with small digits

    @pytest.fixture
    def login(self, database: Database) -> Iterator[str]:
        """A role that owns what the migrator uses; the tests set its password."""
        name = f"{database.name}_login"
        database.execute(
            f"CREATE ROLE {name} LOGIN; GRANT CREATE ON SCHEMA public TO {name};"
            f"GRANT {database.user} TO {name}"
        )
        yield name
        database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")

    def url(self, database: Database, login: str, password: str) -> dict[str, str | None]:
        quoted = password.replace("'", "''")
        database.execute(f"ALTER ROLE {login} PASSWORD '{quoted}'")
        server, escaped = database.server, quote(password, safe="")
        return {
            "DATABASE_URL": f"postgres://{login}:{escaped}@{server.host}:{server.port}"
            f"/{database.name}"
        }

    @FORMS
    def test_that_are_a_word_spoil_no_name_and_no_sentence(
        self, migrate: Migrate, folder: Folder, database: Database, login: str, form: str
    ) -> None:
        folder.write("001_add_back.sql", "SELECT 1;")
        folder.write("002_back_up.sql", "SELECT 'back'::int;")
        env = self.url(database, login, "back")
        run = migrate(env={**env, "MIGRATOR_LOG_FORMAT": form})
        assert run.status == FAILED
        assert "002_back_up.sql was rolled back; this run has applied 001_add_back.sql" in run.err
        assert "'[password]'::int" in run.err
        assert 'integer: \\"[password]\\"' in run.err or 'integer: "[password]"' in run.err

    @FORMS
    def test_are_not_in_what_others_run(
        self, migrate: Migrate, folder: Folder, database: Database, login: str, form: str
    ) -> None:
        env = {**self.url(database, login, self.RANDOM), "MIGRATOR_LOG_FORMAT": form}
        database.execute(f"CREATE TABLE a (); ALTER TABLE a OWNER TO {database.user}")
        folder.write("001_a.sql", "ALTER TABLE a ADD COLUMN b int;")
        for spelling in (self.RANDOM.replace("'", "''"), self.SMALL):
            # The limit of 200 characters is in the middle of the password.
            blanks = " " * (200 - len("SELECT FROM a WHERE '") - len(spelling) // 2)
            with closing(psycopg2.connect(str(env["DATABASE_URL"]))) as other:
                other.cursor().execute(f"SELECT FROM a {blanks}WHERE '{spelling}' = ''")
                run = migrate("--lock-timeout", "50ms", "--lock-wait", "0", env=env)
            assert run.status == LOCKED
            assert "[passw" in run.err
            assert spelling[:6] not in run.err


class TestFiles:
    """They were planted by somebody else who may write into the folder."""

    @pytest.fixture(autouse=True)
    def one_file(self, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;")

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("kind", ["FIFO", "link", "device"])
    def test_in_place_of_the_summary_are_left_alone_and_told(
        self, migrate: Migrate, folder: Folder, tmp_path: Path, kind: str
    ) -> None:
        path, ours = tmp_path / "summary.md", tmp_path / "ours"
        ours.write_text("ours")
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(ours)
        else:
            path = type(path)(os.devnull)
        env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}
        run = migrate(env=env, timeout=30)
        assert run.status == 0
        event = run.event("summary not written")
        assert (event["level"], event["file"]) == ("warning", str(path))
        folder.write("002_b.sql", "SELECT nope;")
        assert migrate(env=env, timeout=30).status == FAILED
        assert ours.read_text() == "ours"

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize(("kind", "word"), [("FIFO", "a FIFO"), ("device", "a device")])
    def test_in_place_of_the_metrics_are_refused(
        self, migrate: Migrate, database: Database, tmp_path: Path, kind: str, word: str
    ) -> None:
        path = tmp_path / "a.prom"
        if kind == "FIFO":
            os.mkfifo(path)
        else:
            path = type(path)(os.devnull)
        run = migrate("--metrics-file", str(path), timeout=30)
        assert run.status == USAGE
        assert run.event("usage error")["message"].endswith(f"it is {word}")
        assert database.execute("SELECT to_regclass('schema_migrations')") == [(None,)]

    def test_a_link_in_place_of_the_metrics_is_replaced(
        self, migrate: Migrate, tmp_path: Path
    ) -> None:
        ours, path = tmp_path / "ours", tmp_path / "a.prom"
        ours.write_text("ours")
        path.symlink_to(ours)
        assert migrate("--metrics-file", str(path)).status == 0
        assert ours.read_text() == "ours"
        assert not path.is_symlink()
        assert "migrator_build_info" in path.read_text()
