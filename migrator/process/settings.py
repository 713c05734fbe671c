"""Environment and flags become one validated `Settings`.

Every variable is declared once, in `VARIABLES`: the manual (`--help`), the check for misspelt names
and the documentation are made from that table.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from migrator.process.errors import UsageError
from migrator.process.names import IDENTIFIER, Table
from migrator.process.url import normalise_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


T = TypeVar("T")


class Variable(NamedTuple):
    """An environment variable and what it means.

    Attributes:
        name: the variable.
        default: its value when unset, as it would be written; empty for none.
        flag: the option that overrides it; empty for none.
        text: one or two sentences for the manual.
    """

    name: str
    default: str
    flag: str
    text: str


VARIABLES = (
    Variable(
        "DATABASE_URL",
        "",
        "",
        "Where the database is: postgresql://user:password@host:5432/database?sslmode=require. "
        "postgres:// and SQLAlchemy's postgresql+driver:// work too. Without it, libpq's own PG* "
        "variables (PGHOST, PGUSER, PGPASSWORD, PGDATABASE, PGSERVICE, PGSSLMODE, ...) are used. "
        "There is no flag for it, because a command line is visible to other users.",
    ),
    Variable("DATABASE_URL_FILE", "", "", "A file that holds DATABASE_URL (a Docker secret)."),
    Variable(
        "POSTGRES_PASSWORD",
        "",
        "",
        "The password, where neither DATABASE_URL nor PGPASSWORD has one.",
    ),
    Variable("POSTGRES_PASSWORD_FILE", "", "", "A file that holds POSTGRES_PASSWORD."),
    Variable("MIGRATIONS_DIR", "migrations", "--dir", "The folder with the migrations."),
    Variable(
        "MIGRATOR_WAIT",
        "60s",
        "--wait",
        "How long to wait for the server to accept us, at the start and after a lost connection.",
    ),
    Variable(
        "MIGRATOR_LOCK_WAIT",
        "10min",
        "--lock-wait",
        "How long each migration keeps trying for a lock, another migrator's or a table's, before "
        "giving up.",
    ),
    Variable(
        "MIGRATOR_LOCK_TIMEOUT",
        "3s",
        "--lock-timeout",
        "How long one statement may wait for a table lock before the migration is rolled back, "
        "pauses and is tried again. Queries behind the waiting statement stall for that long.",
    ),
    Variable(
        "MIGRATOR_STATEMENT_TIMEOUT",
        "0",
        "--statement-timeout",
        "How long one statement may run before the migration fails; 0 is without limit.",
    ),
    Variable(
        "MIGRATOR_LOCK_HOLD_WARN",
        "1s",
        "",
        "Warn when a migration held a lock that blocks reads or writes on a table for longer; "
        "0 never warns.",
    ),
    Variable(
        "MIGRATOR_LOCK_HOLD_MAX",
        "0",
        "",
        "Cancel a migration and roll it back before it holds such a lock for longer; 0 is without "
        "limit. Takes a second connection, which watches the first.",
    ),
    Variable(
        "MIGRATOR_HEARTBEAT",
        "10s",
        "",
        "How often a statement that takes long is reported while it runs, with what it waits for "
        "and how far it is; 0 is never. Takes a second connection while such a statement runs.",
    ),
    Variable(
        "MIGRATOR_TABLE",
        "public.schema_migrations",
        "",
        "The history table, with or without its schema.",
    ),
    Variable(
        "MIGRATOR_AHEAD",
        "warn",
        "",
        "What to do when the database has versions that are not on disk, newer than every file: "
        "warn (exit 0, so that rolling an image back works) or refuse (exit 5).",
    ),
    Variable(
        "MIGRATOR_OUT_OF_ORDER",
        "refuse",
        "",
        "What to do with a pending file older than an applied one: refuse (exit 5) or allow.",
    ),
    Variable(
        "MIGRATOR_METRICS_FILE",
        "",
        "--metrics-file",
        "A file to write how the run went to, for the textfile collector of Prometheus' "
        "node_exporter; docs/logging.md lists the metrics.",
    ),
    Variable(
        "MIGRATOR_LOG_FORMAT",
        "auto",
        "",
        "json, console, or auto: console when stderr is a terminal, else json.",
    ),
    Variable("MIGRATOR_LOG_LEVEL", "info", "", "debug, info, warning or error."),
    Variable(
        "MIGRATOR_SCRATCH_URL",
        "",
        "",
        "An empty database on a server of the same version, where verify builds what the files "
        "describe, and which it empties again: for a role that may not create databases. Without "
        "it, verify creates a database beside the target and drops it. There is no flag for it, "
        "as for DATABASE_URL.",
    ),
    Variable("MIGRATOR_SCRATCH_URL_FILE", "", "", "A file that holds MIGRATOR_SCRATCH_URL."),
)

# The image's name in a deployment's settings, and what Kubernetes tells every container about a
# Service whose name is or begins with `migrator` (its documentation, "Service", "Discovering").
_FOREIGN = r"MIGRATOR_(?:IMAGE|(?:\w+_)?(?:SERVICE_HOST|PORT)(?:_\w+)?)"
_ALIKE = 0.7  # as difflib measures it, from 0 to 1
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_SHORTEST = 0.001  # what would be rounded to 0 is without limit to the server
_LONGEST = 576 * 3600.0  # its timeouts are milliseconds in 32 bits
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|)")


class Settings(NamedTuple):
    """What a run needs to know. Times are in seconds.

    Attributes:
        url: what libpq is given, a URL or a keyword/value string; empty: libpq's PG* variables.
        password: used where neither `url` nor PGPASSWORD has one.
        directory: the folder with the migrations.
        wait: how long to wait for the server.
        lock_wait: how long to keep trying for a lock.
        lock_timeout: how long one statement may wait for a lock.
        statement_timeout: how long one statement may run; 0 is without limit.
        lock_hold_warn: how long a lock that blocks others may be held without a warning; 0 is
            without limit.
        lock_hold_max: how long such a lock may be held at all; 0 is without limit.
        heartbeat: between two reports on a statement that runs; 0 is never.
        table: the history table.
        refuse_ahead: whether a database ahead of the files is an error.
        allow_out_of_order: whether a pending file older than an applied one is applied.
        metrics_file: where to write how the run went; None: nowhere.
        scratch_url: an empty database to build a schema in; empty: one is created and dropped.
    """

    url: str
    password: str | None
    directory: Path
    wait: float
    lock_wait: float
    lock_timeout: float
    statement_timeout: float
    lock_hold_warn: float
    lock_hold_max: float
    heartbeat: float
    table: Table
    refuse_ahead: bool
    allow_out_of_order: bool
    metrics_file: Path | None = None
    scratch_url: str = ""


class LogSettings(NamedTuple):
    """How to log: `format` is json, console or auto; `level` is debug, info, warning or error."""

    format: str
    level: str


def duration(text: str) -> float:
    """Parse a duration such as `500ms`, `3s`, `10min`, `1h` or `2.5` (seconds).

    Returns:
        Seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected a number with a unit: 500ms, 3s, 10min or 1h")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds and not _SHORTEST <= seconds <= _LONGEST:
        raise ValueError("expected 0, or at least 1ms and at most 576h")
    return seconds


def check_names(environ: Mapping[str, str]) -> list[str]:
    """Refuse a `MIGRATOR_…` variable whose name is almost that of a setting.

    Returns:
        The other ones that are no setting, as far as it is not known whose they are.

    Raises:
        UsageError: names the variable and the one that was probably meant.
    """
    known = {variable.name for variable in VARIABLES}
    unknown = [
        name
        for name in environ
        if name.startswith("MIGRATOR_") and name not in known and not re.fullmatch(_FOREIGN, name)
    ]
    if unknown:
        import difflib  # noqa: PLC0415 - only a mistake needs it

        parts = {_own_part(name): name for name in known}
        for name in unknown:
            close = difflib.get_close_matches(_own_part(name), parts, n=1, cutoff=_ALIKE)
            if close:
                raise UsageError(
                    f"{name} is not a setting of migrator", f"Did you mean {parts[close[0]]}?"
                )
    return unknown


def _own_part(name: str) -> str:
    """Return a name without what nearly all begin with, which would make any two alike."""
    return re.sub(r"MIGRAT(?:OR|IONS)_", "", name, count=1)


def load_log_settings(environ: Mapping[str, str]) -> LogSettings:
    """Read how to log.

    Raises:
        UsageError: a value is not one of those allowed.
    """
    return LogSettings(
        format=_choice(environ, "MIGRATOR_LOG_FORMAT", ("auto", "json", "console")),
        level=_choice(environ, "MIGRATOR_LOG_LEVEL", ("debug", "info", "warning", "error")),
    )


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Validate the environment.

    Args:
        environ: the environment, with the values of flags laid over it.

    Raises:
        UsageError: names the variable that is wrong, never a value that can hold a password.
    """
    url = _secret(environ, "DATABASE_URL") or ""
    scratch_url = _secret(environ, "MIGRATOR_SCRATCH_URL") or ""
    return Settings(
        url=normalise_url(url) if url else "",
        password=_secret(environ, "POSTGRES_PASSWORD"),
        directory=Path(_value(environ, "MIGRATIONS_DIR")),
        wait=_parsed(environ, "MIGRATOR_WAIT", duration),
        lock_wait=_parsed(environ, "MIGRATOR_LOCK_WAIT", duration),
        lock_timeout=_parsed(environ, "MIGRATOR_LOCK_TIMEOUT", duration),
        statement_timeout=_parsed(environ, "MIGRATOR_STATEMENT_TIMEOUT", duration),
        lock_hold_warn=_parsed(environ, "MIGRATOR_LOCK_HOLD_WARN", duration),
        lock_hold_max=_parsed(environ, "MIGRATOR_LOCK_HOLD_MAX", duration),
        heartbeat=_parsed(environ, "MIGRATOR_HEARTBEAT", duration),
        table=_parsed(environ, "MIGRATOR_TABLE", _table),
        refuse_ahead=_choice(environ, "MIGRATOR_AHEAD", ("warn", "refuse")) == "refuse",
        allow_out_of_order=_choice(environ, "MIGRATOR_OUT_OF_ORDER", ("refuse", "allow"))
        == "allow",
        metrics_file=Path(path) if (path := environ.get("MIGRATOR_METRICS_FILE")) else None,
        scratch_url=normalise_url(scratch_url, "MIGRATOR_SCRATCH_URL") if scratch_url else "",
    )


def require_database(settings: Settings, environ: Mapping[str, str]) -> None:
    """Refuse to fall back on libpq's built-in defaults, which in a container are never meant.

    Raises:
        UsageError: nothing says which database to use.
    """
    if not settings.url and not any(
        environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")
    ):
        raise UsageError(
            "no database is given",
            "Set DATABASE_URL (postgresql://user:password@host:5432/database), DATABASE_URL_FILE, "
            "or PGHOST, PGUSER, PGPASSWORD and PGDATABASE.",
        )


def _value(environ: Mapping[str, str], name: str) -> str:
    default = next(variable.default for variable in VARIABLES if variable.name == name)
    return environ.get(name) or default


def _parsed(environ: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T:
    value = _value(environ, name)
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{name}={value!r}: {error}") from None


def _choice(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = _value(environ, name).lower()
    if value not in allowed:
        raise UsageError(f"{name}={value!r}: expected {', '.join(allowed[:-1])} or {allowed[-1]}")
    return value


def _table(text: str) -> Table:
    schema, _, name = text.rpartition(".")
    table = Table(schema or "public", name)
    if not all(IDENTIFIER.fullmatch(part) for part in table):
        raise ValueError("expected a table name, or schema.table, of letters, digits and _")
    return table


def _secret(environ: Mapping[str, str], name: str) -> str | None:
    path = environ.get(f"{name}_FILE")
    if not path:
        return environ.get(name) or None
    if environ.get(name):
        raise UsageError(f"both {name} and {name}_FILE are set", "Set one of them.")
    try:
        value = Path(path).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{name}_FILE={path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name}_FILE={path}: not valid UTF-8") from None
    if not value:
        raise UsageError(f"{name}_FILE={path}: the file is empty")
    return value
