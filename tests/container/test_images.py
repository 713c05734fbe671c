"""What python:3.13-slim and postgres:17 have to do, official or stand-ins of tests/images."""

import gzip
import subprocess
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import psycopg2
import pytest
from testcontainers.community.postgres import PostgresContainer

pytestmark = pytest.mark.usefixtures("docker_engine")

POSTGRES = "postgres:17"
PYTHON = "python:3.13-slim"
PASSWORD = "p'a\"s $s\\w%rd"
# The deadline of one command. Nothing here takes more than a few seconds on an idle machine.
SECONDS = 120


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=SECONDS, check=check
    )


def run_python(script: str, *options: str) -> str:
    return docker("run", "--rm", *options, PYTHON, "sh", "-euc", script).stdout.strip()


def query(
    postgres: PostgresContainer, sql: str, *, password: str | None = None
) -> list[tuple[Any, ...]]:
    """Run a statement over TCP, from outside the container."""
    connection = psycopg2.connect(
        host=postgres.get_container_host_ip(),
        port=postgres.get_exposed_port(5432),
        user=postgres.username,
        password=password or postgres.password,
        dbname=postgres.dbname,
        connect_timeout=10,
    )
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def container_id(postgres: PostgresContainer) -> str:
    identity: str = postgres.get_wrapped_container().id
    return identity


def stop(postgres: PostgresContainer) -> int:
    """Stop a container as its image asks for, and return its exit status."""
    docker("stop", "-t", "30", container_id(postgres))
    inspected = docker("inspect", "--format", "{{.State.ExitCode}}", container_id(postgres))
    return int(inspected.stdout)


def log(postgres: PostgresContainer) -> str:
    """Return what the server has logged; initdb and the entrypoint may write elsewhere."""
    return docker("logs", container_id(postgres)).stderr


def wait_for_tcp(container: str) -> None:
    """Wait until a container's server listens on TCP; fail when the container ends before."""
    attempt = "pg_isready -q -h 127.0.0.1 && exit; sleep 0.2"
    docker("exec", container, "bash", "-c", f"for i in {{1..500}}; do {attempt}; done; exit 1")


class Start(Protocol):
    def __call__(
        self,
        *,
        database: str = ...,
        command: str | None = ...,
        user: str | None = ...,
        environment: Mapping[str, str] = ...,
        data: str | None = ...,
        init: Path | None = ...,
    ) -> PostgresContainer: ...


@pytest.fixture
def volume() -> Iterator[str]:
    name = f"migrator-test-{uuid.uuid4().hex}"
    docker("volume", "create", name)
    yield name
    docker("volume", "rm", "--force", name)


@pytest.fixture
def start(volume: str) -> Iterator[Start]:
    """Give a function that starts a PostgreSQL container, ready when it returns.

    The volume is asked for here because it can be removed only after the containers that use it.
    """
    del volume
    started = ExitStack()

    def start_one(
        *,
        database: str = "shop",
        command: str | None = None,
        user: str | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        data: str | None = None,
        init: Path | None = None,
    ) -> PostgresContainer:
        postgres = PostgresContainer(
            POSTGRES, username="keeper", password=PASSWORD, dbname=database, driver=None
        )
        postgres.with_envs(**environment)
        if command is not None:
            postgres.with_command(command)
        if user is not None:
            postgres.with_kwargs(user=user)
        if data is not None:
            postgres.with_volume_mapping(data, "/var/lib/postgresql/data", "rw")
        if init is not None:
            postgres.with_volume_mapping(str(init), "/docker-entrypoint-initdb.d", "ro")
        started.callback(postgres.stop)
        postgres.start()
        return postgres

    with started:
        yield start_one


@pytest.fixture(scope="module")
def server(docker_engine: str) -> Iterator[PostgresContainer]:
    """Give one container for the tests that only look at it."""
    del docker_engine
    with PostgresContainer(
        POSTGRES, username="keeper", password=PASSWORD, dbname="shop", driver=None
    ) as postgres:
        yield postgres


class Scripts:
    """A folder of init scripts that the container's user can read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o755)

    def add(self, name: str, content: str | bytes, *, executable: bool = False) -> None:
        file = self.folder / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(0o755 if executable else 0o644)


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path / "initdb.d")


class TestPostgres:
    def test_login_over_tcp_takes_the_password_and_no_other(
        self, server: PostgresContainer
    ) -> None:
        assert query(server, "SELECT current_user, current_database()") == [("keeper", "shop")]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            query(server, "SELECT 1", password="wrong")

    def test_passwords_are_kept_and_asked_for_as_scram(self, server: PostgresContainer) -> None:
        stored = query(
            server, "SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = 'keeper'"
        )
        assert stored == [("SCRAM-SHA-256$",)]
        rules = query(
            server,
            "SELECT auth_method FROM pg_hba_file_rules WHERE type = 'host' AND address = 'all'",
        )
        assert rules == [("scram-sha-256",)]

    def test_server_is_version_17_with_utf8_and_contrib(self, server: PostgresContainer) -> None:
        assert query(server, "SHOW server_version_num")[0][0].startswith("17")
        assert query(server, "SHOW server_encoding") == [("UTF8",)]
        query(
            server,
            'CREATE EXTENSION pgcrypto; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION citext',
        )

    @pytest.mark.parametrize(
        "command", ["psql", "pg_dump", "pg_dumpall", "pg_restore", "pg_isready", "pg_basebackup"]
    )
    def test_client_program_is_in_the_path(self, command: str) -> None:
        answer = docker("run", "--rm", "--entrypoint", command, POSTGRES, "--version")
        assert "(PostgreSQL) 17" in answer.stdout

    def test_arguments_reach_the_server(self, start: Start) -> None:
        postgres = start(command="postgres -c shared_buffers=24MB -c application_name='two words'")
        assert query(postgres, "SHOW shared_buffers") == [("24MB",)]
        assert query(postgres, "SHOW application_name") == [("two words",)]

    def test_arguments_that_begin_with_a_dash_reach_the_server(self, start: Start) -> None:
        assert query(start(command="-c shared_buffers=24MB"), "SHOW shared_buffers") == [("24MB",)]

    def test_another_command_runs_in_place_of_the_server(self) -> None:
        assert docker("run", "--rm", POSTGRES, "echo", "hello").stdout == "hello\n"

    def test_server_runs_as_user_999(self, server: PostgresContainer) -> None:
        shown = docker("exec", container_id(server), "stat", "-c", "%u:%g", "/proc/1")
        assert shown.stdout.strip() == "999:999"

    @pytest.mark.parametrize("user", ["postgres", "999:999", "4321:4321"])
    def test_started_as_another_user(self, start: Start, user: str) -> None:
        postgres = start(user=user, environment={"PGDATA": "/var/lib/postgresql/data/below"})
        assert query(postgres, "SELECT current_user") == [("keeper",)]
        shown = docker("exec", container_id(postgres), "id", "-u")
        assert shown.stdout.strip() == user.partition(":")[0].replace("postgres", "999")

    def test_database_name_that_needs_quoting(self, start: Start) -> None:
        assert query(start(database="The-Shop"), "SELECT current_database()") == [("The-Shop",)]

    def test_initdb_options_are_used(self, start: Start) -> None:
        postgres = start(
            environment={"POSTGRES_INITDB_ARGS": "--data-checksums --locale='C' --encoding=UTF8"}
        )
        assert query(postgres, "SHOW data_checksums") == [("on",)]
        assert query(postgres, "SELECT datcollate FROM pg_database WHERE datname = 'shop'") == [
            ("C",)
        ]

    def test_pgdata_moves_the_cluster(self, start: Start) -> None:
        postgres = start(environment={"PGDATA": "/var/lib/postgresql/data/below"})
        assert query(postgres, "SHOW data_directory") == [("/var/lib/postgresql/data/below",)]


class TestPostgresPassword:
    def test_none_is_refused_and_the_variable_named(self) -> None:
        answer = docker("run", "--rm", POSTGRES, check=False)
        assert answer.returncode == 1
        assert "POSTGRES_PASSWORD" in answer.stdout + answer.stderr

    def test_two_sources_are_refused(self) -> None:
        options = ["--env", "POSTGRES_PASSWORD=a", "--env", "POSTGRES_PASSWORD_FILE=/etc/hostname"]
        answer = docker("run", "--rm", *options, POSTGRES, check=False)
        assert answer.returncode == 1
        assert "POSTGRES_PASSWORD_FILE" in answer.stdout + answer.stderr

    @pytest.mark.parametrize("end", ["", "\n"], ids=["bare", "line"])
    def test_user_password_and_database_come_from_files(self, tmp_path: Path, end: str) -> None:
        options = []
        for name, value in {"PASSWORD": PASSWORD, "USER": "keeper", "DB": "shop"}.items():
            file = tmp_path / name
            file.write_text(value + end)
            file.chmod(0o644)
            options += [f"--volume={file}:/run/secrets/{name}:ro"]
            options += [f"--env=POSTGRES_{name}_FILE=/run/secrets/{name}"]
        # testcontainers always sets the plain variables, which exclude the files.
        started = docker("run", "--detach", "--publish=127.0.0.1::5432", *options, POSTGRES)
        container = started.stdout.strip()
        try:
            wait_for_tcp(container)
            port = docker("port", container, "5432/tcp").stdout.strip().rpartition(":")[2]
            connection = psycopg2.connect(
                host="127.0.0.1", port=port, user="keeper", password=PASSWORD, dbname="shop"
            )
            connection.close()
            assert PASSWORD not in docker("inspect", container).stdout
        finally:
            docker("rm", "--force", "--volumes", container)

    def test_trust_lets_everyone_in(self, start: Start) -> None:
        postgres = start(environment={"POSTGRES_HOST_AUTH_METHOD": "trust"})
        assert query(postgres, "SELECT 1", password="wrong") == [(1,)]


class TestPostgresInitScripts:
    def test_every_kind_runs_in_the_order_of_names(self, start: Start, scripts: Scripts) -> None:
        psql = 'psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB"'
        packed = gzip.compress(b"INSERT INTO ran VALUES ('packed');")
        scripts.add("10_first.sql", "CREATE TABLE ran (name text, at serial);")
        scripts.add("20_packed.sql.gz", packed)
        scripts.add(
            "30_executed.sh",
            f"#!/bin/bash\n{psql} -c \"INSERT INTO ran VALUES ('executed')\"\n",
            executable=True,
        )
        scripts.add("40_sourced.sh", "word=sourced\n")
        scripts.add("50_sees_it.sh", f"{psql} -c \"INSERT INTO ran VALUES ('$word')\"\n")
        scripts.add("60_notes.txt", "not a script")
        postgres = start(init=scripts.folder)
        ran = query(postgres, "SELECT name FROM ran ORDER BY at")
        assert ran == [("packed",), ("executed",), ("sourced",)]

    def test_run_before_tcp_is_open(self, start: Start, scripts: Scripts) -> None:
        # pg_isready ends with 2 when nobody answers, and with 0 when a server accepts connections.
        scripts.add(
            "probe.sh",
            "tcp=0; pg_isready -h 127.0.0.1 || tcp=$?\n"
            "socket=0; pg_isready || socket=$?\n"
            'psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" '
            '-c "CREATE TABLE seen AS SELECT $tcp AS tcp, $socket AS socket"\n',
        )
        postgres = start(init=scripts.folder)
        assert query(postgres, "SELECT tcp, socket FROM seen") == [(2, 0)]

    def test_failure_ends_the_container(self, scripts: Scripts) -> None:
        scripts.add("broken.sql", "SELECT no_such_column;")
        answer = docker(
            "run",
            "--rm",
            "--env=POSTGRES_PASSWORD=x",
            f"--volume={scripts.folder}:/docker-entrypoint-initdb.d:ro",
            POSTGRES,
            check=False,
        )
        assert answer.returncode != 0
        assert "no_such_column" in answer.stderr

    def test_do_not_run_on_an_existing_cluster(
        self, start: Start, scripts: Scripts, volume: str
    ) -> None:
        assert stop(start(data=volume)) == 0
        scripts.add("late.sql", "CREATE TABLE late (id int);")
        postgres = start(data=volume, init=scripts.folder)
        assert query(postgres, "SELECT to_regclass('late')") == [(None,)]


class TestPostgresStop:
    def test_image_asks_for_sigint(self) -> None:
        inspected = docker("image", "inspect", "--format", "{{.Config.StopSignal}}", POSTGRES)
        assert inspected.stdout.strip() == "SIGINT"

    def test_is_clean_and_keeps_the_data(self, start: Start, volume: str) -> None:
        first = start(data=volume)
        query(first, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert stop(first) == 0
        assert log(first).rstrip().endswith("database system is shut down")
        second = start(data=volume)
        assert query(second, "SELECT answer FROM kept") == [(42,)]
        assert "was not properly shut down" not in log(second)

    def test_does_not_wait_for_open_sessions(self, start: Start) -> None:
        postgres = start()
        connection = psycopg2.connect(postgres.get_connection_url())
        try:
            assert stop(postgres) == 0
            with pytest.raises(psycopg2.OperationalError):
                connection.cursor().execute("SELECT 1")
        finally:
            connection.close()


class TestPython:
    def test_is_3_13_under_usr_local(self) -> None:
        script = "import sys; print(sys.version_info[:2], sys.prefix, sys.executable)"
        for name in ("python", "python3"):
            answer = run_python(f"{name} -c '{script}'")
            assert answer == f"(3, 13) /usr/local /usr/local/bin/{name}"

    def test_is_the_default_command(self) -> None:
        inspected = docker("image", "inspect", "--format", "{{json .Config.Cmd}}", PYTHON)
        assert inspected.stdout.strip() == '["python3"]'

    @pytest.mark.parametrize(
        "module",
        [
            "bz2",
            "ctypes",
            "curses",
            "dbm",
            "lzma",
            "readline",
            "sqlite3",
            "ssl",
            "uuid",
            "zoneinfo",
        ],
    )
    def test_standard_library_has(self, module: str) -> None:
        run_python(f"python -c 'import {module}'")

    def test_trusts_certificates(self) -> None:
        script = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
        assert int(run_python(f'python -c "{script}"')) > 50

    @pytest.mark.parametrize(
        ("prepare", "pip", "prefix"),
        [
            pytest.param("true", "pip", "/usr/local", id="system"),
            pytest.param("python -m venv /venv", "/venv/bin/pip", "/venv", id="venv"),
            pytest.param(
                "python -m venv --without-pip /venv",
                "pip --python /venv/bin/python",
                "/venv",
                id="venv without pip",
            ),
        ],
    )
    def test_pip_installs_into(self, wheel: Path, prepare: str, pip: str, prefix: str) -> None:
        answer = run_python(
            f"{prepare}\n"
            f"{pip} install --quiet --no-index --root-user-action=ignore /wheels/{wheel.name}\n"
            f"{prefix}/bin/python -c 'import hello; print(hello.__file__)'\n"
            f"{prefix}/bin/hello",
            f"--volume={wheel.parent}:/wheels:ro",
        )
        assert answer.splitlines() == [
            f"{prefix}/lib/python3.13/site-packages/hello.py",
            f"hello from {prefix}",
        ]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Give a package of one module and one command, which pip can install without an index."""
    path = tmp_path / "hello-1.0-py3-none-any.whl"
    about = "hello-1.0.dist-info"
    files = {
        "hello.py": "import sys\n\ndef main() -> None:\n    print('hello from', sys.prefix)\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nhello = hello:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(name, text)
    return path
