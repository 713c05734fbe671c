"""Runs pg_dump on a scratch database, from PATH or in a container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.errors import MigratorError, UsageError
from migrator.process.log import redact
from migrator.schema.scratch import MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migrator.process.names import Table
    from migrator.server.session import Session

_PROGRAM = "pg_dump"
_DEBIAN = "/usr/lib/postgresql"  # Debian has the programs of each version in a folder of its own
# Large objects would need BEGIN and COMMIT in the file (pg_dump documentation, "--blobs").
_OPTIONS = ("-B", "--no-tablespaces", "--no-subscriptions", "--encoding=UTF8")
# With FORCE ROW LEVEL SECURITY, a policy hides rows from the owner too.
_ROW_SECURITY = (
    " Write the checkpoint as a superuser, or as a role with BYPASSRLS, such as on a server of "
    "your own: nothing hides rows from it."
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
# The parameters of the connection that every libpq since PostgreSQL 14 has.
_PARAMETERS = (
    *("host", "hostaddr", "port", "user", "dbname", "options"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey"),
)


class _Found(NamedTuple):
    """A program pg_dump.

    Attributes:
        path: where it is.
        major: its major version.
    """

    path: str
    major: int


def dump(session: Session, left_out: Iterable[Table]) -> str:
    """Return the schema and the rows of a database as pg_dump writes them.

    Args:
        session: connected to the database, outside a transaction.
        left_out: tables that are not written.

    Raises:
        UsageError: there is no pg_dump that can read from this server.
        MigratorError: pg_dump failed.
    """
    major = session.server_version // 10000
    arguments = [
        *_OPTIONS,
        *(f"--exclude-table={table.quoted}" for table in left_out),
        f"--exclude-schema={MARKER}",
        # The login need not have the rights of the role that has built everything.
        *([f"--role={session.settings.role}"] if session.settings.role else []),
        f"--dbname={_address(session)}",
    ]
    environ = {**os.environ, "LC_ALL": "C"}
    password = session.connection.info.password
    if password:
        environ["PGPASSWORD"] = password
    done = subprocess.run(
        [*_command(session, major), *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = redact(done.stderr.decode("utf-8", "replace").strip())
        raise MigratorError(
            f"pg_dump ended with status {done.returncode}: {said or 'it said nothing'}",
            f"Nothing was written.{_ROW_SECURITY if 'row-level security' in said else ''}",
        )
    return done.stdout.decode("utf-8")


def _address(session: Session) -> str:
    """Return the connection string of a session, without its password."""
    from migrator.server.driver import extensions  # noqa: PLC0415 - the driver takes 24 ms

    info = session.connection.info
    known = {**info.dsn_parameters, "host": info.host, "port": str(info.port)}
    chosen = {name: known[name] for name in _PARAMETERS if known.get(name)}
    return str(extensions.make_dsn(**chosen))


def _command(session: Session, major: int) -> Sequence[str]:
    """Return what starts a pg_dump that can read from a server.

    A pg_dump reads from servers of its own major version and of older ones (pg_dump documentation,
    "Notes"). The same major version is taken before a newer one.

    Args:
        session: connected to the server.
        major: the major version of the server.

    Raises:
        UsageError: there is none.
    """
    found = list(_programs())
    fit = sorted((one for one in found if one.major >= major), key=lambda one: one.major)
    if fit:
        return (fit[0].path,)
    docker = shutil.which("docker")
    if docker and _works(docker):
        host = session.connection.info.host
        socket = ("--volume", f"{host}:{host}") if host.startswith("/") else ()
        return (
            *(docker, "run", "--rm", "--network=host", "--env=PGPASSWORD", *socket),
            *(f"postgres:{major}", _PROGRAM),
        )
    has = ", ".join(f"{one.path} is {one.major}" for one in found)
    why = f"it has to be {major} or newer for this server, and {has}" if has else "not in PATH"
    raise UsageError(
        f"there is no pg_dump to write the checkpoint with: {why}",
        f"Install it: postgresql-client-{major} on Debian and Ubuntu, postgresql{major}-client on "
        f"Alpine, libpq with Homebrew; or start Docker, and postgres:{major} is used.",
    )


def _programs() -> Iterator[_Found]:
    """Yield each pg_dump of this machine, those of PATH first."""
    folders = [Path(one) for one in os.environ.get("PATH", os.defpath).split(os.pathsep) if one]
    seen = set()
    for folder in (*folders, *Path(_DEBIAN).glob("*/bin")):
        path = str(folder / _PROGRAM)
        if path in seen or not os.access(path, os.X_OK):
            continue
        seen.add(path)
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if match := _VERSION.search(done.stdout.decode("utf-8", "replace")):
            yield _Found(path, int(match[1]))


def _works(docker: str) -> bool:
    """Return whether an engine answers."""
    done = subprocess.run(
        [docker, "version", "--format", "{{.Server.Version}}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
