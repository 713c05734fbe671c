"""pgbouncer, by default in transaction pooling, in front of a server.

    with pgbouncer(server, pool_size=1) as pooler:
        pooler.url(database.url)

It needs the program pgbouncer (Debian's package of that name) and removes what it made in the same
way as the servers in postgres.py do.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.database import OWNER, OWNER_PASSWORD
from tests.support.postgres import ServerError, _account, _base, _give, _keeper, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Server

START_SECONDS = 20
KEEPER = r"""
"$1" "$2/pgbouncer.ini" </dev/null >>"$2/log" 2>&1 &
cat >/dev/null
kill -s KILL $!
wait $!
rm -rf "$2"
"""
# With the default of 15 s for server_login_retry, clients are refused for that long after a restart
# of the server (pgbouncer documentation, "config"). The pooler notices a client or a server that
# vanished only if it is told to look; without that its connections stay as they are for hours.
SETTINGS = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
server_round_robin = {round_robin}
default_pool_size = {pool_size}
max_client_conn = 500
server_login_retry = 1
tcp_keepidle = 5
tcp_keepintvl = 2
tcp_keepcnt = 3
tcp_user_timeout = 10000
"""


@dataclass(frozen=True)
class Pooler:
    """A running pgbouncer.

    Attributes:
        port: where it listens, on 127.0.0.1.
        folder: everything of it; the keeper removes it.
    """

    port: int
    folder: Path

    def url(self, url: str) -> str:
        """Return a connection URL with the pooler's address in the place of the server's."""
        parts = urlsplit(url)
        account, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}{at}127.0.0.1:{self.port}"))

    def log(self) -> str:
        """Return what it has logged."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")


@contextmanager
def pgbouncer(
    server: Server,
    *,
    pool_size: int = 20,
    address: tuple[str, int] | None = None,
    mode: str = "transaction",
    round_robin: bool = False,
) -> Iterator[Pooler]:
    """Run pgbouncer, for the owner of the tests' databases.

    Args:
        server: whose databases it gives access to.
        pool_size: how many connections it makes to each database.
        address: where it looks for the server, if not where the server is.
        mode: its pool_mode: session, transaction or statement.
        round_robin: whether it gives the connections in turn, instead of the last one used.

    Raises:
        ServerError: it is not installed, or does not start.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        message = "pgbouncer is not installed: apt-get install pgbouncer"
        if os.environ.get("CI") == "true":
            raise ServerError(message)
        pytest.skip(message)
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir=_base(account)))
    try:
        host, port = address or (server.host, server.port)
        pooler = Pooler(free_port(), folder)
        settings = SETTINGS.format(
            host=host,
            port=port,
            own_port=pooler.port,
            folder=folder,
            pool_size=pool_size,
            mode=mode,
            round_robin=int(round_robin),
        )
        (folder / "pgbouncer.ini").write_text(settings)
        (folder / "users").write_text(f'"{OWNER}" "{OWNER_PASSWORD}"\n')
        (folder / "users").chmod(0o600)
        (folder / "log").touch()
        if account is not None:
            _give(folder, account)
        opened = _keeper(["sh", "-c", KEEPER, "keeper", program, str(folder)], account)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    with opened:
        _wait(pooler)
        yield pooler


def _wait(pooler: Pooler) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", pooler.port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise ServerError(f"pgbouncer did not start:\n{pooler.log()}") from None
            time.sleep(0.02)
        else:
            return
