"""Waiting for the server: each way of being refused by its name, and what is not worth waiting."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
import pytest

from tests.support.database import OWNER, Database, create_owner, empty_database
from tests.support.migrator import Migrate
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres import (
    LocalServer,
    embedded,
    embedded_bin,
    free_port,
    installed,
)
from tests.support.proxy import Proxy
from tests.support.sessions import NAP, asleep, eventually, prepare_nap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.migrator import Folder, Run
    from tests.support.postgres import Server

USAGE = 2
UNREACHABLE = 4
AT_ONCE = 10  # seconds; a wait would be 60
SMALL = {"max_connections": "6", "superuser_reserved_connections": "2", "max_wal_senders": "2"}


@pytest.fixture(autouse=True)
def one_file(folder: Folder) -> None:
    folder.write("001_a.sql", "CREATE TABLE a ();")


@pytest.fixture(scope="module")
def second(server: Server) -> Iterator[LocalServer]:
    """A server of the same version that these tests stop, start and fill up."""
    same = isinstance(server, LocalServer) and server.bin != embedded_bin()
    with installed(server.bin, settings=SMALL) if same else embedded(settings=SMALL) as second:
        assert isinstance(second, LocalServer)
        create_owner(second)
        yield second


@pytest.fixture
def there(second: LocalServer, folder: Folder, tmp_path: Path) -> Iterator[Migrate]:
    """The migrator for an empty database on the second server."""
    scratch = tmp_path / "second"
    scratch.mkdir()
    with empty_database(second) as database, Migrate(database, folder, scratch) as migrate:
        yield migrate


def reasons(run: Run) -> list[str]:
    return [e["reason"] for e in run.events if e["event"] == "waiting for the database"]


@contextmanager
def a_role(database: Database, options: str) -> Iterator[str]:
    """Make a role, and yield its URL."""
    name = f"{database.name}_login"
    database.execute(f"CREATE ROLE {name} PASSWORD 'login-Hq62' {options}")
    try:
        yield database.server.url(database.name, user=name, password="login-Hq62")
    finally:
        database.execute(f"DROP ROLE {name}")


class Case(NamedTuple):
    """A way of being refused for good.

    Attributes:
        url: makes the URL to be refused with, on a stack that is undone at the end.
        reason: what the message begins with.
        detail: words of the server or of libpq in it.
        hint: words of the hint.
    """

    url: Callable[[Database, ExitStack], str]
    reason: str
    detail: str
    hint: str


def without_connect(database: Database, _stack: ExitStack) -> str:
    database.execute(f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC")
    return _stack.enter_context(a_role(database, "LOGIN"))


FINAL = {
    "wrong password": Case(
        lambda database, _: database.server.url(database.name, user="app_owner", password="wrong1"),
        "wrong password: ",
        'password authentication failed for user "app_owner"',
        "Check the user and the password",
    ),
    # The server does not tell strangers which roles there are.
    "missing role": Case(
        lambda database, _: database.server.url(database.name, user="nobody1", password="wrong1"),
        "wrong password: ",
        'password authentication failed for user "nobody1"',
        "Check the user and the password",
    ),
    "no password": Case(
        lambda database, _: database.server.url(database.name).replace(
            f":{database.server.password}@", "@"
        ),
        "the server wants a password, and none was given: ",
        "no password supplied",
        "POSTGRES_PASSWORD_FILE",
    ),
    "missing database": Case(
        lambda database, _: database.server.url(
            "nowhere", user=database.user, password=database.password
        ),
        "the database does not exist: ",
        'database "nowhere" does not exist',
        "CREATE DATABASE",
    ),
    "role that may not log in": Case(
        lambda database, stack: stack.enter_context(a_role(database, "NOLOGIN")),
        "the role may not log in: ",
        "is not permitted to log in",
        "LOGIN",
    ),
    "role that may not connect": Case(
        without_connect,
        "the role may not connect to the database: ",
        "permission denied for database",
        "GRANT CONNECT",
    ),
    "TLS that the server has not": Case(
        lambda database, _: f"{database.url}?sslmode=require",
        "client and server could not agree on TLS: ",
        "server does not support SSL",
        "sslmode",
    ),
}


class TestRefusedForGood:
    @pytest.mark.parametrize("case", FINAL.values(), ids=FINAL.keys())
    def test_is_told_at_once(self, migrate: Migrate, database: Database, case: Case) -> None:
        with ExitStack() as stack:
            url = case.url(database, stack)
            started = time.monotonic()
            run = migrate(env={"DATABASE_URL": url})
        assert time.monotonic() - started < AT_ONCE
        assert run.status == UNREACHABLE
        [event] = run.events
        assert event["event"] == "database unavailable"
        assert event["message"].startswith(case.reason)
        assert case.detail in event["message"]
        assert case.hint in event["hint"]

    def test_missing_role_where_the_server_tells(self, there: Migrate, second: LocalServer) -> None:
        url = f"postgresql://nobody1@/postgres?host={second.folder}&port={second.port}"
        run = there(env={"DATABASE_URL": url})
        assert run.status == UNREACHABLE
        [event] = run.events
        assert event["message"].startswith("the role does not exist: ")
        assert 'role "nobody1" does not exist' in event["message"]

    def test_by_pg_hba_conf(self, there: Migrate, second: LocalServer) -> None:
        with logins(second, there.database, "reject", "rejects"):
            run = there()
        assert run.status == UNREACHABLE
        [event] = run.events
        assert event["message"].startswith(
            "the server's pg_hba.conf does not allow the connection: "
        )


@contextmanager
def logins(second: LocalServer, database: Database, method: str, sign: str) -> Iterator[None]:
    """Let the second server log the owner of a database in by another method.

    Args:
        second: the server.
        database: whose owner it is.
        method: the method's name in pg_hba.conf.
        sign: words with which a client that only does SCRAM is refused then.
    """
    file = second.folder / "data" / "pg_hba.conf"
    usual = file.read_text()
    strict = f"{database.url}?require_auth=scram-sha-256"
    file.write_text(f"host all {database.user} all {method}\n{usual}")
    second.execute("SELECT pg_reload_conf()")
    try:
        eventually(lambda: sign in login_error(strict))
        yield
    finally:
        file.write_text(usual)
        second.execute("SELECT pg_reload_conf()")
        eventually(lambda: not login_error(strict))


def at_a_service(tmp_path: Path, text: str | None) -> dict[str, str | None]:
    file = tmp_path / "services"
    if text is not None:
        file.write_text(text)
    return {"DATABASE_URL": None, "PGSERVICE": "app", "PGSERVICEFILE": str(file)}


class TestWhatTheClientFinds:
    """It cannot mend itself, so it is told at once, by its name."""

    def told(self, migrate: Migrate, env: dict[str, str | None], reason: str) -> dict[str, str]:
        started = time.monotonic()
        run = migrate("wait", env=env)
        assert time.monotonic() - started < AT_ONCE
        assert run.status == UNREACHABLE
        [event] = run.events
        assert event["message"].startswith(f"{reason}: ")
        return event

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (None, "services"),
            ("[another]\nhost=here\n", 'definition of service "app" not found'),
            ("[app]\nhost\n", "syntax error in service file"),
        ],
        ids=["no file", "no service", "not a setting"],
    )
    def test_an_unknown_service(
        self, migrate: Migrate, database: Database, tmp_path: Path, text: str | None, words: str
    ) -> None:
        event = self.told(migrate, at_a_service(tmp_path, text), "the service is not known")
        assert words in event["message"]
        assert "PGSERVICEFILE" in event["hint"]
        server = database.server
        cured = (
            f"[app]\nhost={server.host}\nport={server.port}\nuser={database.user}\n"
            f"password={database.password}\ndbname={database.name}\n"
        )
        assert migrate("wait", env=at_a_service(tmp_path, cured)).status == 0

    def test_settings_that_do_not_fit(self, migrate: Migrate) -> None:
        env: dict[str, str | None] = {"DATABASE_URL": "host=one,two port=1,2,3 dbname=a user=a"}
        event = self.told(migrate, env, "libpq cannot use the connection settings")
        assert "could not match 3 port numbers to 2 hosts" in event["message"]

    def test_a_login_that_the_settings_forbid(self, migrate: Migrate, database: Database) -> None:
        env: dict[str, str | None] = {"DATABASE_URL": f"{database.url}?require_auth=none"}
        event = self.told(migrate, env, "the server does not log in as the settings demand")
        assert "require_auth" in event["hint"]

    def test_the_login_that_the_settings_demand_is_no_obstacle(
        self, migrate: Migrate, database: Database
    ) -> None:
        with Proxy(database.server.host, database.server.port) as proxy:
            url = f"{proxy.url(database.url)}?sslmode=disable&require_auth=scram-sha-256"
            assert migrate(env={"DATABASE_URL": url}).status == 0
        # SCRAM is two messages, neither of them with the password (RFC 5802).
        assert proxy.counts["p"] == 2 * proxy.counts["startup"]
        assert database.execute("SELECT version FROM schema_migrations") == [(1,)]

    def test_a_server_that_asks_for_the_password_in_clear(
        self, there: Migrate, second: LocalServer
    ) -> None:
        with (
            logins(second, there.database, "password", "cleartext"),
            Proxy(second.host, second.port) as proxy,
        ):
            url = f"{proxy.url(there.database.url)}?sslmode=disable"
            assert there("wait", env={"DATABASE_URL": url}).status == 0
            # This is what require_auth is for: libpq gives the password to whoever asks.
            assert (proxy.counts["startup"], proxy.counts["p"]) == (1, 1)
            proxy.counts.clear()
            strict: dict[str, str | None] = {"DATABASE_URL": f"{url}&require_auth=scram-sha-256"}
            event = self.told(there, strict, "the server asks for the password in clear")
            assert (proxy.counts["startup"], proxy.counts["p"]) == (1, 0)
        assert "scram-sha-256" in event["hint"]

    def test_a_server_that_lets_everybody_in(self, there: Migrate, second: LocalServer) -> None:
        """Somebody who does not know what SCRAM proves can only do without it."""
        env: dict[str, str | None] = {
            "DATABASE_URL": f"{there.database.url}?require_auth=scram-sha-256"
        }
        with logins(second, there.database, "trust", "did not complete authentication"):
            self.told(there, env, "the server does not log in as the settings demand")

    def test_an_option_that_the_server_does_not_know(
        self, migrate: Migrate, database: Database
    ) -> None:
        env: dict[str, str | None] = {"DATABASE_URL": database.url, "PGOPTIONS": "-c nonsense=1"}
        self.told(migrate, env, "the server does not take an option")

    def test_an_option_that_a_pooler_refuses(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a AS SELECT current_setting('work_mem') AS w;")
        with pgbouncer(database.server) as pooler:
            url = pooler.url(database.url)
            env: dict[str, str | None] = {"DATABASE_URL": url, "PGOPTIONS": "-c work_mem=1MB"}
            event = self.told(migrate, env, "a pooler does not let an option through")
            assert "ALTER ROLE ... SET" in event["hint"]
            database.execute(
                f"ALTER ROLE {database.user} IN DATABASE {database.name} SET work_mem TO '1MB'"
            )
            assert migrate(env={"DATABASE_URL": url}).status == 0
        assert database.execute("SELECT w FROM a") == [("1MB",)]

    def test_a_certificate_for_another_name(self, there: Migrate, certificate: Path) -> None:
        url = f"{there.database.url}?sslmode=verify-full&sslrootcert={certificate}"
        event = self.told(
            there, {"DATABASE_URL": url}, "the server's certificate is for another name"
        )
        assert 'for "elsewhere.example" does not match host name' in event["message"]
        for cured in (
            url.replace("@127.0.0.1:", "@elsewhere.example:") + "&hostaddr=127.0.0.1",
            url.replace("verify-full", "verify-ca"),
        ):
            assert there("wait", env={"DATABASE_URL": cured}).status == 0

    def test_a_certificate_of_an_authority_that_is_not_trusted(
        self, there: Migrate, certificate: Path, tmp_path: Path
    ) -> None:
        """`system` is what SSL_CERT_FILE names; the image sets it."""
        url = there.database.url.replace("@127.0.0.1:", "@elsewhere.example:")
        url += "?sslmode=verify-full&sslrootcert=system&hostaddr=127.0.0.1"
        env: dict[str, str | None] = {"DATABASE_URL": url, "SSL_CERT_FILE": str(tmp_path / "none")}
        event = self.told(there, env, "the server's certificate is not trusted")
        assert "SSL_CERT_FILE" in event["hint"]
        env["SSL_CERT_FILE"] = str(certificate)
        assert there("wait", env=env).status == 0

    @pytest.mark.parametrize("text", [None, "no certificate"], ids=["missing", "unreadable"])
    def test_a_root_certificate(
        self, there: Migrate, certificate: Path, tmp_path: Path, text: str | None
    ) -> None:
        root = tmp_path / "root.crt"
        if text is not None:
            root.write_text(text)
        url = f"{there.database.url}?sslmode=verify-ca&sslrootcert={root}"
        event = self.told(there, {"DATABASE_URL": url}, "the root certificate cannot be read")
        assert str(root) in event["message"]
        root.write_text(certificate.read_text())
        assert there("wait", env={"DATABASE_URL": url}).status == 0

    def test_one_of_several_hosts_may_come_up(self, there: Migrate, certificate: Path) -> None:
        del certificate
        port = there.database.server.port
        url = there.database.url.replace(
            f"127.0.0.1:{port}", f"127.0.0.1:{free_port()},127.0.0.1:{port}"
        )
        run = there(
            "--wait", "0", env={"DATABASE_URL": f"{url}?sslmode=verify-ca&sslrootcert=/no/file"}
        )
        assert run.status == UNREACHABLE
        assert run.event("database unavailable")["message"].startswith(
            "the connection is refused, and the wait of 0 s is over: "
        )


@pytest.fixture
def certificate(second: LocalServer, tmp_path: Path) -> Iterator[Path]:
    """Let the second server have a certificate, and yield a file with it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    file, key = tmp_path / "server.crt", tmp_path / "server.key"
    options = ["-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=elsewhere.example"]
    command = [program, "req", *options, "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    data = second.folder / "data"
    owner = (data / "PG_VERSION").stat()
    for made in (file, key):
        target = data / made.name
        target.write_text(made.read_text())
        target.chmod(0o600)
        os.chown(target, owner.st_uid, owner.st_gid)
    try:
        second.execute("ALTER SYSTEM SET ssl = on")
    except psycopg2.errors.InvalidParameterValue:
        pytest.skip("this build of the server has no TLS")
    second.execute("SELECT pg_reload_conf()")
    eventually(lambda: not login_error(f"{second.url()}?sslmode=require"))
    yield file
    second.execute("ALTER SYSTEM RESET ssl")
    second.execute("SELECT pg_reload_conf()")
    eventually(lambda: login_error(f"{second.url()}?sslmode=require"))


class TestAnotherLanguage:
    @pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
    def test_is_shown_in_its_words_and_waited_for(
        self, server: Server, folder: Folder, tmp_path: Path, encoding: str
    ) -> None:
        if not isinstance(server, LocalServer) or server.bin == embedded_bin():
            pytest.skip("this build of the server speaks English only")
        with installed(server.bin, settings={"lc_messages": "C.UTF-8"}) as german:
            create_owner(german)
            german.execute(
                f"CREATE DATABASE d ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
                f" TEMPLATE template0 OWNER {OWNER} CONNECTION LIMIT 0"
            )
            database = Database(german, "d")
            with Migrate(database, folder, tmp_path) as migrate:
                process = migrate.start()
                process.expect("waiting for the database")
                german.execute("ALTER DATABASE d CONNECTION LIMIT -1")
                run = process.wait()
        assert run.status == 0
        waiting = next(e for e in run.events if e["event"] == "waiting for the database")
        assert waiting["reason"] == "the server refuses the connection"
        assert "zu viele Verbindungen" in waiting["detail"]


@pytest.mark.usefixtures("another_folder")
class TestSecretsThatChange:
    @pytest.mark.parametrize("name", ["DATABASE_URL", "POSTGRES_PASSWORD"])
    def test_are_read_at_each_connection(
        self, migrate: Migrate, folder: Folder, database: Database, tmp_path: Path, name: str
    ) -> None:
        secret = tmp_path / "secret"
        prepare_nap(database)
        folder.write("001_a.sql", "CREATE TABLE a ();")
        folder.write("002_b.sql", NAP)
        with a_role(database, "LOGIN") as url:
            role = f"{database.name}_login"
            database.execute(
                f"GRANT CREATE ON SCHEMA public TO {role}; GRANT SELECT ON nap TO {role}"
            )
            env: dict[str, str | None] = {f"{name}_FILE": str(secret)}
            texts = ["login-Hq62", "login-Kx91"]
            if name == "DATABASE_URL":
                texts = [url, url.replace("login-Hq62", "login-Kx91")]
                env["DATABASE_URL"] = None
            else:
                env["DATABASE_URL"] = url.replace(":login-Hq62@", "@")
            secret.write_text(texts[0])
            process = migrate.start(env=env)
            mine = replace(database, user=role)
            backend = asleep(mine)
            secret.write_text("")  # as it is in the moment before the new text is there
            database.execute(f"ALTER ROLE {role} PASSWORD 'login-Kx91'")
            database.execute(f"SELECT pg_terminate_backend({backend.pid})")
            process.expect("a secret cannot be read")
            secret.write_text(texts[1])
            run = process.wait()
            database.execute(f"DROP OWNED BY {role}")
        assert run.status == 0
        assert "login-" not in run.err
        assert run.event("up to date")["applied"] == 2


def login_error(url: str) -> str:
    """Return what the server answers to a login; empty when it lets us in."""
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError as error:
        return str(error)
    return ""


class TestWaitedFor:
    @pytest.mark.parametrize("command", ["apply", "--current", "check", "wait", "baseline"])
    def test_a_refused_connection(self, migrate: Migrate, command: str) -> None:
        arguments = [command, "1"] if command == "baseline" else [command]
        url = f"postgresql://app@127.0.0.1:{free_port()}/app"
        run = migrate(*arguments, env={"DATABASE_URL": url, "MIGRATOR_WAIT": "1s"})
        assert run.status == UNREACHABLE
        assert run.out == ""
        assert reasons(run)
        assert set(reasons(run)) == {"the connection is refused"}
        last = run.events[-1]
        assert last["event"] == "database unavailable"
        assert last["message"].startswith(
            "the connection is refused, and the wait of 1 s is over: connection to server at"
        )
        assert last["message"].endswith(
            "Is the server running on that host and accepting TCP/IP connections?"
        )
        assert "listens on that host and port" in last["hint"]

    def test_a_name_that_does_not_resolve(self, migrate: Migrate) -> None:
        env = {"DATABASE_URL": "postgresql://app@postgres.invalid/app", "MIGRATOR_WAIT": "2s"}
        run = migrate(env=env)
        assert run.status == UNREACHABLE
        assert set(reasons(run)) == {"the host name does not resolve"}
        assert "postgres.invalid" in run.events[-1]["message"]

    def test_a_socket_that_is_not_there(self, migrate: Migrate, tmp_path: Path) -> None:
        url = f"postgresql://app@/app?host={tmp_path}"
        run = migrate(env={"DATABASE_URL": url, "MIGRATOR_WAIT": "1s"})
        assert run.status == UNREACHABLE
        assert set(reasons(run)) == {"the connection is refused"}

    def test_a_server_that_does_not_answer(self, migrate: Migrate, database: Database) -> None:
        with Proxy(database.server.host, database.server.port) as proxy:
            proxy.stall()
            env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_WAIT": "0"}
            run = migrate(env=env)
        assert run.status == UNREACHABLE
        assert run.event("database unavailable")["message"].startswith(
            "the server does not answer, and the wait of 0 s is over: "
        )

    def test_a_connection_that_is_closed_until_it_is_not(
        self, migrate: Migrate, database: Database
    ) -> None:
        with Proxy(database.server.host, database.server.port) as proxy:
            proxy.refuse = True
            process = migrate.start(env={"DATABASE_URL": proxy.url(database.url)})
            process.expect("the connection was closed")
            proxy.refuse = False
            run = process.wait()
        assert run.status == 0
        assert run.event("applied")["version"] == 1

    @pytest.mark.parametrize("thing", ["role", "database"])
    def test_too_many_connections_of_its_kind(
        self, migrate: Migrate, database: Database, thing: str
    ) -> None:
        with a_role(database, "LOGIN") as url:
            name = database.name if thing == "database" else f"{database.name}_login"
            database.execute(f"GRANT CREATE ON SCHEMA public TO {database.name}_login")
            database.execute(f"ALTER {thing} {name} CONNECTION LIMIT 0")
            process = migrate.start(env={"DATABASE_URL": url})
            reason = f"the {thing} has reached its limit of connections"
            process.expect(reason)
            database.execute(f"ALTER {thing} {name} CONNECTION LIMIT -1")
            run = process.wait()
            database.execute(f"DROP OWNED BY {database.name}_login")
        assert run.status == 0
        assert set(reasons(run)) == {reason}

    def test_too_many_clients(self, there: Migrate, second: LocalServer) -> None:
        [(places,)] = second.execute(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int"
        )
        with ExitStack() as stack:
            while places:  # a session that has just ended may still have one
                with suppress(psycopg2.OperationalError):
                    stack.enter_context(closing(psycopg2.connect(there.database.url)))
                    places -= 1
            process = there.start()
            process.expect("waiting for the database")
        run = process.wait()
        assert run.status == 0
        assert set(reasons(run)) == {"too many clients"}

    def test_a_server_that_comes_up_late(self, there: Migrate, second: LocalServer) -> None:
        second.stop()
        try:
            process = there.start()
            process.expect("the connection is refused")
        finally:
            second.start()
        run = process.wait()
        assert run.status == 0
        assert reasons(run)[0] == "the connection is refused"
        assert run.event("applied")["version"] == 1

    def test_a_server_that_starts_up(self, there: Migrate, second: LocalServer) -> None:
        go = second.folder / "go"
        command = f"while ! [ -e {go} ]; do sleep 0.02; done; false"
        second.execute(f"ALTER SYSTEM SET restore_command = '{command}'")
        second.stop()
        (second.folder / "data" / "recovery.signal").touch()
        starting = threading.Thread(target=second.start)
        starting.start()
        try:
            eventually(lambda: "starting up" in login_error(there.database.url))
            process = there.start()
            process.expect("waiting for the database")
        finally:
            go.touch()
            starting.join()
        run = process.wait()
        second.execute("ALTER SYSTEM RESET restore_command")
        assert run.status == 0
        assert reasons(run)[0] == "the server is starting up"

    def test_a_server_that_shuts_down(self, there: Migrate, second: LocalServer) -> None:
        session = psycopg2.connect(there.database.url)
        # SIGTERM: wait for the clients (PostgreSQL documentation, "Shutting Down the Server").
        stopping = threading.Thread(target=second._ask, args=("stop", "TERM"))
        stopping.start()
        try:
            eventually(lambda: "shutting down" in login_error(there.database.url))
            process = there.start()
            process.expect("the server is shutting down")
        finally:
            session.close()
            stopping.join()
            second.start()
        run = process.wait()
        assert run.status == 0
        assert reasons(run)[0] == "the server is shutting down"


@contextmanager
def standby(second: LocalServer, *, hot: bool = True) -> Iterator[None]:
    """Have the server be a standby, and in the end a primary again."""
    second.execute(f"ALTER SYSTEM SET hot_standby = {'on' if hot else 'off'}")
    second.stop()
    (second.folder / "data" / "standby.signal").touch()
    second._ask("start")
    expected = "" if hot else "not accepting connections"
    try:
        eventually(lambda: expected in (error := login_error(second.url())) and bool(error) != hot)
        yield
    finally:
        second.stop()
        (second.folder / "data" / "standby.signal").unlink(missing_ok=True)
        second.start()
        second.execute("ALTER SYSTEM RESET hot_standby")


class TestStandby:
    def test_is_waited_for_and_then_refused(self, there: Migrate, second: LocalServer) -> None:
        with standby(second):
            run = there("--wait", "2s")
            current = there("--current")
            check = there("check")
            wait = there("wait")
        assert run.status == UNREACHABLE
        assert set(reasons(run)) == {"the server is read-only"}
        last = run.event("database unavailable")
        assert last["message"].startswith(
            "the server is read-only, and the wait of 2 s is over: it is a standby"
        )
        assert "target_session_attrs=read-write" in last["hint"]
        assert (current.status, current.out.splitlines()[0]) == (0, "Current schema version: 0")
        assert check.status == 3
        assert wait.status == 0

    def test_is_used_when_it_is_promoted(self, there: Migrate, second: LocalServer) -> None:
        with standby(second):
            process = there.start()
            process.expect("the server is read-only")
            second.execute("SELECT pg_promote()")
            run = process.wait()
        assert run.status == 0
        assert run.event("applied")["version"] == 1

    def test_by_libpq_s_own_words(self, there: Migrate, second: LocalServer) -> None:
        url = f"{there.database.url}?target_session_attrs=read-write"
        with standby(second):
            run = there(env={"DATABASE_URL": url, "MIGRATOR_WAIT": "0"})
        assert run.status == UNREACHABLE
        assert run.event("database unavailable")["message"].startswith("the server is read-only")

    def test_that_lets_nobody_in(self, there: Migrate, second: LocalServer) -> None:
        with standby(second, hot=False):
            run = there("--wait", "0")
        assert run.status == UNREACHABLE
        assert run.event("database unavailable")["message"].startswith("the server is in recovery")

    def test_is_not_the_one_where_another_host_is_not(
        self, there: Migrate, second: LocalServer, database: Database
    ) -> None:
        one, two = (there.database.server, database.server)
        url = (
            f"postgresql://{database.user}:{database.password}@"
            f"{one.host}:{one.port},{two.host}:{two.port}/postgres"
            "?target_session_attrs=read-write"
        )
        with standby(second):
            run = there("wait", env={"DATABASE_URL": url})
        assert (run.status, run.err) == (0, "")


class TestReadOnly:
    def test_database_is_waited_for(self, migrate: Migrate, database: Database) -> None:
        database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
        process = migrate.start()
        process.expect("the server is read-only")
        assert migrate("--current").status == 0
        # From another database, where one may write.
        database.server.execute(
            f"ALTER DATABASE {database.name} RESET default_transaction_read_only"
        )
        run = process.wait()
        assert run.status == 0
        assert run.event("applied")["version"] == 1

    def test_database_is_no_obstacle_when_nothing_has_to_be_written(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
        for command in ("current", "status", "plan", "check", "wait"):
            assert migrate(command).status == (3 if command == "check" else 0)


class Hangup:
    """A server that closes every connection, and counts them."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.count = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.count += 1
                connection.close()


class TestBudget:
    def test_attempts_for_the_same_reason_are_one_line(self, migrate: Migrate) -> None:
        hangup = Hangup()
        url = f"postgresql://a@127.0.0.1:{hangup.port}/a?sslmode=disable&gssencmode=disable"
        started = time.monotonic()
        run = migrate("--wait", "1s", env={"DATABASE_URL": url})
        elapsed = time.monotonic() - started
        hangup.socket.close()
        assert run.status == UNREACHABLE
        waiting, last = run.events
        assert (waiting["event"], waiting["level"]) == ("waiting for the database", "info")
        assert waiting["attempt"] == 1
        assert 0 < waiting["left_s"] <= 1.0
        assert "the wait of 1 s is over" in last["message"]
        assert waiting["detail"] in last["message"]
        # A pause is at most 0.2 s, and three quarters of that at least; a slow machine adds to it.
        assert 3 <= hangup.count <= 10
        assert 1 <= elapsed < 1 + 0.2 + 5

    def test_another_reason_is_another_line(self, there: Migrate, second: LocalServer) -> None:
        second.stop()
        process = there.start()
        process.expect("waiting for the database")
        with socket.create_server((second.host, second.port)) as listener:
            connection, _ = listener.accept()
            connection.close()
            process.expect("the connection was closed")
        second.start()
        run = process.wait()
        assert run.status == 0
        assert reasons(run)[:2] == ["the connection is refused", "the connection was closed"]

    def test_of_nothing_is_one_attempt(self, migrate: Migrate) -> None:
        url = f"postgresql://a@127.0.0.1:{free_port()}/a"
        run = migrate("--wait", "0", env={"DATABASE_URL": url})
        assert run.status == UNREACHABLE
        assert [event["event"] for event in run.events] == ["database unavailable"]

    def test_is_ended_by_a_signal(self, migrate: Migrate) -> None:
        url = f"postgresql://a@127.0.0.1:{free_port()}/a"
        process = migrate.start(env={"DATABASE_URL": url})
        process.expect("waiting for the database")
        process.send_signal(15)
        run = process.wait(AT_ONCE)
        assert run.status == 143
        assert run.event("interrupted")["status"] == 143


class TestWhichServer:
    def test_the_first_that_answers(self, migrate: Migrate, database: Database) -> None:
        server = database.server
        hosts = f"{server.host}:{free_port()},{server.host}:{server.port}"
        url = database.url.replace(f"{server.host}:{server.port}", hosts)
        run = migrate(env={"DATABASE_URL": url})
        assert run.status == 0
        assert reasons(run) == []

    def test_by_libpq_s_variables(self, migrate: Migrate, database: Database) -> None:
        env = {
            "DATABASE_URL": None,
            "PGHOST": database.server.host,
            "PGPORT": str(database.server.port),
            "PGUSER": database.user,
            "PGPASSWORD": database.password,
            "PGDATABASE": database.name,
        }
        assert migrate(env=env).status == 0
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(1,)]

    def test_by_a_service_file(self, migrate: Migrate, database: Database, tmp_path: Path) -> None:
        server = database.server
        (tmp_path / "services").write_text(
            f"[app]\nhost={server.host}\nport={server.port}\nuser={database.user}\n"
            f"password={database.password}\ndbname={database.name}\n"
        )
        env = {
            "DATABASE_URL": None,
            "PGSERVICE": "app",
            "PGSERVICEFILE": str(tmp_path / "services"),
        }
        assert migrate(env=env).status == 0

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql+psycopg2", "postgresql+asyncpg"])
    def test_in_every_spelling(self, migrate: Migrate, database: Database, scheme: str) -> None:
        ssl = "?ssl=disable" if scheme.endswith("asyncpg") else ""
        url = database.url.replace("postgresql://", f"{scheme}://") + ssl
        assert migrate("wait", env={"DATABASE_URL": url}).status == 0

    def test_by_keywords(self, migrate: Migrate, database: Database) -> None:
        server = database.server
        url = (
            f"host={server.host} port={server.port} user={database.user}"
            f" password={database.password} dbname={database.name}"
        )
        assert migrate("wait", env={"DATABASE_URL": url}).status == 0

    @pytest.mark.parametrize("name", ["DATABASE_URL", "POSTGRES_PASSWORD"])
    def test_by_secrets_in_files(
        self, migrate: Migrate, database: Database, tmp_path: Path, name: str
    ) -> None:
        secret = tmp_path / "secret"
        env: dict[str, str | None] = {f"{name}_FILE": str(secret)}
        if name == "DATABASE_URL":
            secret.write_text(database.url + "\n")
            env["DATABASE_URL"] = None
        else:
            secret.write_text(database.password + "\n")
            env["DATABASE_URL"] = database.url.replace(f":{database.password}@", "@")
        assert migrate("wait", env=env).status == 0

    def test_with_a_password_of_its_own_that_wins(self, migrate: Migrate) -> None:
        env = {"POSTGRES_PASSWORD": "not this one"}
        assert migrate("wait", env=env).status == 0

    def test_by_nothing_is_an_error(self, migrate: Migrate) -> None:
        run = migrate(env={"DATABASE_URL": None})
        assert run.status == USAGE
        assert run.event("usage error")["message"] == "no database is given"
