"""Declares every setting, and reads them from the environment into one validated `Settings`.

To add a setting, add a field to `Settings` whose default is a call of `_setting`. The call declares
the variable: its name, its kind, its default, its flag and its text. `VARIABLES` lists all of them,
and from that list come the manual (`--help`), the check for misspelt names, docs/configuration.md
and `.env.example`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from migrator.process.errors import UsageError
from migrator.process.names import Table, read_names
from migrator.process.url import EXAMPLE_URL, normalise_url

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence


T = TypeVar("T")

# MIGRATOR_IMAGE is a setting of the deployment: the name of the image. Kubernetes sets the others
# in every container, if there is a Service whose name is `migrator` or begins with `migrator-`
# (Kubernetes documentation, "Service", "Discovering services").
_FOREIGN = r"MIGRATOR_(?:IMAGE|(?:\w+_)?(?:SERVICE_HOST|PORT)(?:_\w+)?)"
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_SHORTEST = 0.001  # the server rounds a shorter time to 0, and for the server 0 means no limit
_MOST_JOBS = 1000
_LONGEST = 576 * 3600.0  # the server's timeouts are milliseconds in 32 bits
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|)", re.ASCII)
# What the server takes for the name of a parameter that no module declares (PostgreSQL
# documentation, "Customized Options").
_PARAMETER = re.compile(r"[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)+", re.ASCII)
_NEXT_VALUE = re.compile(rf"[,;]\s*{_PARAMETER.pattern}=", re.ASCII)


def duration(text: str) -> float:
    """Read a duration such as `500ms`, `3s`, `10min`, `1h` or `2.5` (seconds).

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


class FromFile(str):
    """The text of a setting that a file holds, such as a Docker secret.

    Attributes:
        read_again: returns the text that the file holds now, because a password may be valid for
            some minutes only. Raises UsageError when the file cannot be read.
    """

    __slots__ = ("read_again",)
    read_again: Callable[[], str]

    @classmethod
    def of(cls, read: Callable[[], str]) -> FromFile:
        """Return the text that the file holds now, and remember how to read it again."""
        text = cls(read() or "")
        text.read_again = read
        return text


class Kind(Generic[T]):
    """How the text of a variable becomes the value of a setting.

    Args:
        metavar: the word that stands for the text in `--help`, such as TIME.
        read: returns the value, given the text and the name under which it was given: that of the
            variable or the flag. Where nothing is set, the text is the default. Raises UsageError,
            which has the name, for a wrong text.
        in_file: whether the text can also be in a file, which the variable NAME_FILE names.
    """

    __slots__ = ("in_file", "metavar", "read")

    def __init__(
        self, metavar: str, read: Callable[[str, str], T], *, in_file: bool = False
    ) -> None:
        self.metavar = metavar
        self.read = read
        self.in_file = in_file


def _parsed(parse: Callable[[str], T]) -> Callable[[str, str], T]:
    """Turn the ValueError of `parse` into an error that names the setting and shows the text."""

    def read(name: str, text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise UsageError(f"{name}={text!r}: {error}") from None

    return read


def _table(text: str) -> Table:
    try:
        *schema, name = read_names(text)
    except ValueError as error:
        raise ValueError(f"expected a table name, or schema.table: {error}") from None
    if len(schema) > 1:
        raise ValueError("expected a table name, or schema.table")
    return Table(schema[0] if schema else "public", name)


def read_schema(text: str) -> str:
    """Read the name of a schema that files may build in; empty where nothing is set.

    Args:
        text: a name as `read_names` reads it.

    Raises:
        ValueError: the text is something else, or the schema is one of the server's own.
    """
    name = _one_name(text, "schema")
    if name.startswith("pg_") or name == "information_schema":
        raise ValueError("the schemas pg_... and information_schema are the server's own")
    return name


def _role(text: str) -> str:
    name = _one_name(text, "role")
    if name in ("none", "public"):
        raise ValueError("no role can have this name")
    return name


def _one_name(text: str, what: str) -> str:
    """Read the name of a schema or a role; empty where nothing is set."""
    if not text:
        return ""
    try:
        names = read_names(text)
    except ValueError as error:
        raise ValueError(f"expected the name of one {what}: {error}") from None
    if len(names) > 1:
        raise ValueError(
            f"expected the name of one {what}; a name with a dot is written in double quotes"
        )
    return names[0]


def _values(text: str) -> tuple[tuple[str, str], ...]:
    """Read `app.env=production app.greeting='good day'`."""
    if not text:
        return ()
    import shlex  # noqa: PLC0415 - few runs have values

    values: dict[str, str] = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(
                f"expected name=value, and {word!r} has no =; a value with a blank is in quotes"
            )
        if not _PARAMETER.fullmatch(name):
            raise ValueError(
                f"the name {name!r} is not possible: write words of letters, digits and _ with a "
                "dot between them, such as app.env"
            )
        if name.lower().startswith("migrator."):
            raise ValueError(f"{name} is not possible: names in migrator. are its own")
        if name.lower() in values:
            raise ValueError(f"{name} has two values")
        as_it_is = re.search(rf"(?<!\S){re.escape(word)}(?!\S)", text)
        if as_it_is and _NEXT_VALUE.search(value):
            raise ValueError(
                f"{name} would have the value {value!r}: separate names with blanks, not with "
                "commas; a value that really is so is written in quotes"
            )
        values[name.lower()] = value
    return tuple(values.items())


def _choice(*words: str) -> Kind[str]:
    """Return the kind whose values are these words, in lower case."""

    def read(name: str, text: str) -> str:
        word = text.lower()
        if word not in words:
            expected = f"{', '.join(words[:-1])} or {words[-1]}"
            raise UsageError(f"{name}={word!r}: expected {expected}")
        return word

    return Kind("|".join(words), read)


def _switch(off: str, on: str) -> Kind[bool]:
    """Return the kind with two words, whose value is whether the text is the second word."""
    words = _choice(off, on)
    return Kind(words.metavar, lambda name, text: words.read(name, text) == on)


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise ValueError("expected a whole number")
    return int(text)


def _jobs(text: str) -> int:
    number = _count(text)
    if not 1 <= number <= _MOST_JOBS:
        raise ValueError(f"expected a number from 1 to {_MOST_JOBS}")
    return number


def _shard(text: str) -> str:
    """Read `3/10`, or `10` where something else says which one it is."""
    if not text:
        return ""
    match = re.fullmatch(r"(?:(\d{1,6})/)?(\d{1,6})", text, re.ASCII)
    if not match or not int(match[2]):
        raise ValueError("expected I/N, such as 0/10, or N, such as 10")
    index, count = int(match[1] or 0), int(match[2])
    if index >= count:
        raise ValueError(f"shards are counted from 0, so the last one of {count} is {count - 1}")
    return text


_TIME: Kind[float] = Kind("TIME", _parsed(duration))
_NUMBER: Kind[int] = Kind("N", _parsed(_count))
_JOBS: Kind[int] = Kind("N", _parsed(_jobs))
_SHARD: Kind[str] = Kind("I/N", _parsed(_shard))
_NAME: Kind[str] = Kind("NAME", lambda _, text: text)
_CANARY: Kind[str] = Kind("N|NAME,...", lambda _, text: text)
_SQL: Kind[str] = Kind("SQL", lambda _, text: text)
_TABLE: Kind[Table] = Kind("TABLE", _parsed(_table))
_SCHEMA: Kind[str] = Kind("SCHEMA", _parsed(read_schema))
_ROLE: Kind[str] = Kind("ROLE", _parsed(_role))
_VALUES: Kind[tuple[tuple[str, str], ...]] = Kind("NAME=VALUE ...", _parsed(_values))
# Paths are texts, because most runs need no more, and pathlib takes 4 ms to import.
_FOLDER: Kind[str] = Kind("FOLDER", lambda _, text: text)
_FILE: Kind[str | None] = Kind("FILE", lambda _, text: text or None)
_PASSWORD: Kind[str | None] = Kind("PASSWORD", lambda _, text: text or None, in_file=True)
_URL: Kind[str] = Kind(
    "URL", lambda name, text: normalise_url(text, name) if text else "", in_file=True
)


class Variable(NamedTuple):
    """An environment variable and its meaning.

    Attributes:
        name: the name of the variable.
        default: the text that holds when the variable is not set; empty for none.
        flag: the option that overrides the variable; empty for none.
        text: the sentences of the manual.
        kind: how the text becomes a value.
    """

    name: str
    default: str
    flag: str
    text: str
    kind: Kind[Any]

    @property
    def metavar(self) -> str:
        """The word that stands for the value in `--help`, such as TIME."""
        return self.kind.metavar


_declared: list[Variable] = []


def _setting(name: str, kind: Kind[T], text: str, *, default: str = "", flag: str = "") -> T:
    """Declare a setting where a field of `Settings` or `LogSettings` gets its default.

    Returns:
        The value of the default, which is the default of the field.
    """
    _declared.append(Variable(name, default, flag, text, kind))
    return kind.read(name, default)


class Settings(NamedTuple):
    """The settings of a run. Times are in seconds."""

    url: str = _setting(
        "DATABASE_URL",
        _URL,
        f"The address of the database: {EXAMPLE_URL}. sslmode=verify-full encrypts the connection "
        "and refuses a server without a certificate for the name of the host. sslrootcert says who "
        "may have issued the certificate: an authority that the image trusts (system), or one "
        "whose own certificate is in a file (sslrootcert=/run/secrets/ca.pem). Leave both out only "
        "on a private network, such as that of a Compose file. postgres:// and SQLAlchemy's "
        "postgresql+driver:// also work. In the user name and the password, percent-encode @ : / % "
        "# and ?. Without DATABASE_URL, the migrator uses libpq's own PG* variables (PGHOST, "
        "PGUSER, PGPASSWORD, PGDATABASE, PGSERVICE, PGSSLMODE, ...). There is no flag for the "
        "address, because other users of the machine can see a command line.",
    )
    password: str | None = _setting(
        "POSTGRES_PASSWORD",
        _PASSWORD,
        "The password, if neither DATABASE_URL nor PGPASSWORD contains one.",
    )
    directory: str = _setting(
        "MIGRATIONS_DIR",
        _FOLDER,
        "The folder with the migrations. In the image, the folder is /migrations.",
        default="migrations",
        flag="--dir",
    )
    wait: float = _setting(
        "MIGRATOR_WAIT",
        _TIME,
        "How long to wait until the server accepts a connection, at the start and after a lost "
        "connection. The migrator waits as long for an answer to a statement of its own, but at "
        "least 5 s, and in addition the time of MIGRATOR_LOCK_TIMEOUT.",
        default="60s",
        flag="--wait",
    )
    lock_wait: float = _setting(
        "MIGRATOR_LOCK_WAIT",
        _TIME,
        "How long each migration keeps trying to get a lock: a lock on a table, or the lock that "
        "another migrator holds. After this time the migrator gives up.",
        default="10min",
        flag="--lock-wait",
    )
    lock_timeout: float = _setting(
        "MIGRATOR_LOCK_TIMEOUT",
        _TIME,
        "How long one statement may wait for a table lock. After this time the migration is "
        "rolled back, and it is tried again after a pause; `rehearse` tries only once. Queries "
        "that queue behind the waiting statement are blocked for the same time.",
        default="3s",
        flag="--lock-timeout",
    )
    statement_timeout: float = _setting(
        "MIGRATOR_STATEMENT_TIMEOUT",
        _TIME,
        "How long one statement may run before the migration fails. 0 means no limit.",
        default="0",
        flag="--statement-timeout",
    )
    lock_hold_warn: float = _setting(
        "MIGRATOR_LOCK_HOLD_WARN",
        _TIME,
        "Warn if a migration held a lock that blocks reads or writes on a table for longer than "
        "this time. 0 means no warning. A run that begins in a database without tables does not "
        "warn.",
        default="1s",
    )
    lock_hold_max: float = _setting(
        "MIGRATOR_LOCK_HOLD_MAX",
        _TIME,
        "How long a migration may hold a lock that blocks reads or writes on a table. Before the "
        "time is over, the migration is cancelled and rolled back. 0 means no limit. A limit needs "
        "a second connection, which watches the first connection.",
        default="0",
    )
    heartbeat: float = _setting(
        "MIGRATOR_HEARTBEAT",
        _TIME,
        "How often to report a statement that runs for a long time. The report says what the "
        "statement waits for, who waits for it and how much of its work is done. 0 means never. "
        "While such a statement runs, the migrator has a second connection.",
        default="10s",
    )
    table: Table = _setting(
        "MIGRATOR_TABLE",
        _TABLE,
        "The history table, with or without its schema. A name of other characters than letters, "
        'digits, _, $ and - is written in double quotes, as in SQL: "my app".history. With '
        "MIGRATOR_SCHEMA, the table is in that schema.",
        default="public.schema_migrations",
    )
    role: str = _setting(
        "MIGRATOR_ROLE",
        _ROLE,
        "The role that the migrator acts as: SET LOCAL ROLE in each transaction, for files and for "
        "everything of the migrator's own, through every pooler. Whatever the login, the role owns "
        "what the files make. The login has to be a member of it. Settings that ALTER ROLE gives "
        "the role do not apply. docs/operations.md says more.",
    )
    schema: str = _setting(
        "MIGRATOR_SCHEMA",
        _SCHEMA,
        "The schema of this run, for example that of one tenant: the search_path of the files "
        "begins with it, the history is in it, and each schema has a lock of its own. The migrator "
        "creates it if it is not there. docs/operations.md says more.",
    )
    values: tuple[tuple[str, str], ...] = _setting(
        "MIGRATOR_SET",
        _VALUES,
        "Values that files read with current_setting('app.env'): app.env=production "
        "app.region='eu west'. Blanks separate them, and a value with a blank is in quotes. Each "
        "name has a dot in it. They are no secret: anybody who reads the log of the server can see "
        "them. docs/writing-migrations.md shows how a statement uses one.",
    )
    refuse_ahead: bool = _setting(
        "MIGRATOR_AHEAD",
        _switch("warn", "refuse"),
        "What to do if the database has versions that have no file and are newer than every file: "
        "warn (exit 0, so that an older image can be deployed again) or refuse (exit 5).",
        default="warn",
    )
    allow_out_of_order: bool = _setting(
        "MIGRATOR_OUT_OF_ORDER",
        _switch("refuse", "allow"),
        "What to do if a pending file is older than an applied file: refuse (exit 5) or allow.",
        default="refuse",
    )
    session_pooler: bool = _setting(
        "MIGRATOR_POOLER",
        _switch("transaction", "session"),
        "The pool mode of a connection pooler, such as PgBouncer, between the migrator and the "
        "server: transaction or session. Files with the directive no-transaction need session. "
        "Nothing can prove the mode from outside, so it is declared here. Without a pooler, this "
        "changes nothing.",
        default="transaction",
    )
    backfill_later: bool = _setting(
        "MIGRATOR_BACKFILL",
        _switch("now", "later"),
        "When a backfill is run after which no other file comes: now, in its place; or later, with "
        "`migrator backfill`, so that a deployment need not wait for it. `apply` finishes what was "
        "left as soon as a later file is pending.",
        default="now",
    )
    backfill_warn: float = _setting(
        "MIGRATOR_BACKFILL_WARN",
        _TIME,
        "After how long `check` warns of a backfill that was left for later and is not done. 0 "
        "means never.",
        default="24h",
    )
    metrics_file: str | None = _setting(
        "MIGRATOR_METRICS_FILE",
        _FILE,
        "A file to which the metrics of the run are written, for the textfile collector of "
        "Prometheus' node_exporter. docs/logging.md lists the metrics.",
        flag="--metrics-file",
    )
    scratch_url: str = _setting(
        "MIGRATOR_SCRATCH_URL",
        _URL,
        "The address of an empty database, on a server of the same version, for a role that may "
        "not create databases. In this database, verify builds what the files describe, and then "
        "verify empties the database again. Without MIGRATOR_SCRATCH_URL, verify creates a "
        "database next to the target and drops it at the end. There is no flag for the address, "
        "for the same reason as with DATABASE_URL.",
    )
    targets: str | None = _setting(
        "MIGRATOR_TARGETS",
        _FILE,
        "A file with many targets, one a line: a name, and in what the target differs from "
        "DATABASE_URL: host=, port=, database=, schema=, or a URL of its own. - means stdin. The "
        "file may have passwords in it. docs/fleet.md says more.",
        flag="--targets",
    )
    targets_query: str = _setting(
        "MIGRATOR_TARGETS_QUERY",
        _SQL,
        "A query that DATABASE_URL answers with many targets: the columns name, and database or "
        "schema or both. docs/fleet.md says more.",
        flag="--targets-query",
    )
    target: str = _setting(
        "MIGRATOR_ONE_TARGET",
        _NAME,
        "The name of one target: the command runs on it alone, and any command can.",
        flag="--target",
    )
    jobs: int = _setting(
        "MIGRATOR_JOBS",
        _JOBS,
        "On how many targets a command runs at once. Each of them has one connection, and a second "
        "one while a statement runs for long.",
        default="8",
        flag="--jobs",
    )
    canary: str = _setting(
        "MIGRATOR_CANARY",
        _CANARY,
        "The targets that apply, backfill, baseline and adopt change before all others: the first "
        "N of the list, or names with commas between them. When one of them fails, no other target "
        "is begun.",
        default="1",
        flag="--canary",
    )
    max_failures: int = _setting(
        "MIGRATOR_MAX_FAILURES",
        _NUMBER,
        "After how many failed targets apply, backfill, baseline and adopt begin no further one. "
        "What runs is finished. 0 means that they go on.",
        default="1",
        flag="--max-failures",
    )
    shard: str = _setting(
        "MIGRATOR_SHARD",
        _SHARD,
        "The part of the targets that this process takes: I/N is part I of N parts, counted from "
        "0. N alone takes I from JOB_COMPLETION_INDEX, which Kubernetes sets in an Indexed Job.",
        flag="--shard",
    )


class LogSettings(NamedTuple):
    """The settings of the log."""

    format: str = _setting(
        "MIGRATOR_LOG_FORMAT",
        _choice("auto", "json", "console"),
        "The format of the log: json, console or auto. auto means console, but json for apply, "
        "backfill and check --wait if stderr is no terminal and CI is not set.",
        default="auto",
    )
    level: str = _setting(
        "MIGRATOR_LOG_LEVEL",
        _choice("debug", "info", "warning", "error"),
        "The lowest level that is logged: debug, info, warning or error.",
        default="info",
    )


# Every field calls `_setting` once, so the declarations are in the order of the fields.
_OF_THE_RUN = tuple(_declared[: len(Settings._fields)])
_OF_THE_LOG = tuple(_declared[len(Settings._fields) :])


def _with_files(settings: Sequence[Variable]) -> Iterator[Variable]:
    """Yield each setting, and after it the variable that names its file, if there is one."""
    for setting in settings:
        yield setting
        if setting.kind.in_file:
            text = f"A file that holds {setting.name}, for example a Docker secret."
            yield Variable(f"{setting.name}_FILE", "", "", text, _FILE)


VARIABLES = tuple(_with_files(_declared))
# The flags of this process' command line, each under the name of its variable.
_flags_given: dict[str, str] = {}


def remember_flags(names: Container[str]) -> None:
    """Remember which settings the command line gave, for the messages that name a setting.

    Args:
        names: the variables whose flags were given.
    """
    _flags_given.clear()
    _flags_given.update({each.name: each.flag for each in VARIABLES if each.name in names})


def given_as(name: str) -> str:
    """Return under which name a person changes a setting: the flag if it was given as a flag.

    A flag wins over the variable, so advice to set the variable would be wrong then.

    Args:
        name: the name of the variable.
    """
    return _flags_given.get(name, name)


def check_names(environ: Mapping[str, str]) -> list[str]:
    """Refuse a `MIGRATOR_…` variable whose name is almost the name of a setting.

    Returns:
        The other names that begin with `MIGRATOR_`, are no setting, and are not known to belong to
        another program.

    Raises:
        UsageError: names the variable, and the setting that was probably meant.
    """
    known = {variable.name for variable in VARIABLES}
    unknown = [
        name
        for name in environ
        if name.startswith("MIGRATOR_") and name not in known and not re.fullmatch(_FOREIGN, name)
    ]
    if unknown:
        from migrator.process.spelling import meant  # noqa: PLC0415 - only a mistake needs it

        parts = {_own_part(name): name for name in known}
        for name in unknown:
            if close := meant(_own_part(name), parts):
                raise UsageError(
                    f"{name} is not a setting of migrator", f"Did you mean {parts[close]}?"
                )
    return unknown


def _own_part(name: str) -> str:
    """Return a name without the beginning that would make any two names alike."""
    return re.sub(r"MIGRAT(?:OR|IONS)_", "", name, count=1)


def load_log_settings(environ: Mapping[str, str]) -> LogSettings:
    """Read the settings of the log.

    Raises:
        UsageError: names the variable that is wrong.
    """
    return LogSettings._make(_read(setting, environ) for setting in _OF_THE_LOG)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read and validate the settings of a run.

    Args:
        environ: the environment, in which the values of flags replace those of variables.

    Raises:
        UsageError: names the variable or the flag that is wrong. The error never shows a text that
            can contain a password.
    """
    settings = Settings._make(_read(setting, environ) for setting in _OF_THE_RUN)
    return in_schema(settings, settings.schema, environ) if settings.schema else settings


def in_schema(settings: Settings, schema: str, environ: Mapping[str, str]) -> Settings:
    """Return the settings for a run in a schema, which has the history.

    Args:
        settings: those of a run in any schema.
        schema: the name of the schema.
        environ: what the settings were read from.

    Raises:
        UsageError: MIGRATOR_TABLE names another schema.
    """
    text = environ.get("MIGRATOR_TABLE")
    if text and len(names := read_names(text)) > 1 and names[0] != schema:
        raise UsageError(
            f"MIGRATOR_TABLE={text!r} is in another schema than the schema {schema!r} of the run",
            "The history of a schema is in that schema: write MIGRATOR_TABLE without a schema, or "
            "leave one of the two out.",
        )
    return settings._replace(schema=schema, table=settings.table._replace(schema=schema))


def require_database(settings: Settings, environ: Mapping[str, str]) -> None:
    """Refuse to use libpq's built-in defaults, which nobody wants in a container.

    Raises:
        UsageError: nothing says which database to use.
    """
    if not settings.url and not any(
        environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")
    ):
        raise UsageError(
            "no database is given",
            f"Set DATABASE_URL ({EXAMPLE_URL}), DATABASE_URL_FILE, or "
            "PGHOST, PGUSER, PGPASSWORD and PGDATABASE.",
        )


def _read(setting: Variable, environ: Mapping[str, str]) -> object:
    """Return the value of a setting; an empty variable counts as not set."""
    text = environ.get(setting.name)
    if setting.kind.in_file and (path := environ.get(f"{setting.name}_FILE")):
        if text:
            raise UsageError(
                f"both {setting.name} and {setting.name}_FILE are set", "Set one of them."
            )
        if _file_text(f"{setting.name}_FILE", path):
            return FromFile.of(
                lambda: setting.kind.read(setting.name, _file_text(f"{setting.name}_FILE", path))
            )
    return setting.kind.read(given_as(setting.name), text or setting.default)


def _file_text(name: str, path: str) -> str:
    """Return the text of the file that a variable names, without the line breaks at the end."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as _FOLDER
            text = file.read().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{name}={path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name}={path}: not valid UTF-8") from None
    if not text:
        raise UsageError(f"{name}={path}: the file is empty")
    return text
