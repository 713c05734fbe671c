"""Which databases and schemas a command runs on: read from a file, or asked from a database."""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.process.errors import UsageError
from migrator.process.log import hide
from migrator.process.settings import given_as, in_schema, read_schema, require_database
from migrator.process.terminal import visible
from migrator.process.url import EXAMPLE_URL, normalise_url, secret_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from migrator.process.settings import Settings
    from migrator.process.signals import Stop

_STDIN = "-"
_MOST_MISTAKES = 10  # are named, one by one
_LONGEST_NAME = 200  # characters
# What a line may say, and what libpq calls it.
_PARAMETERS = {"host": "host", "port": "port", "database": "dbname"}
_COLUMNS = ("name", "database", "schema")
_EXAMPLES = (
    "Write a name and what differs from DATABASE_URL: acme database=acme, or globex schema=globex, "
    f"or initech {EXAMPLE_URL}."
)


class Target(NamedTuple):
    """A database, or a schema in one, with a history of its own.

    Attributes:
        name: what it is called in the list, unique.
        url: an address of its own; empty: that of DATABASE_URL.
        parameters: the parameters of libpq in which it differs, by libpq's names.
        schema: the schema of its run; empty: that of MIGRATOR_SCHEMA, if there is one.
    """

    name: str
    url: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    schema: str = ""

    def settings(self, base: Settings, environ: Mapping[str, str]) -> Settings:
        """Return the settings of a run on this target.

        Args:
            base: those of the whole command.
            environ: what they were read from.

        Raises:
            UsageError: MIGRATOR_TABLE names another schema than that of the target.
        """
        from migrator.server.connect import url_to  # noqa: PLC0415 - the driver takes 24 ms

        settings = base
        if self.url:  # the password of DATABASE_URL's server is not for another one
            settings = settings._replace(url=self.url, password=None)
        if self.parameters:
            settings = settings._replace(url=url_to(settings.url, dict(self.parameters)))
        return in_schema(settings, self.schema, environ) if self.schema else settings


def read_targets(path: str, stop: Stop) -> list[Target]:
    """Read the targets from a file, one a line.

    Args:
        path: of the file; `-` for stdin.
        stop: lets a signal end the process while it waits for stdin.

    Raises:
        UsageError: the file cannot be read, or lines of it make no sense; each of them is named.
    """
    targets, mistakes = [], []
    # Not splitlines(), for which some characters in a name would end the line.
    for number, line in enumerate(_text(path, stop).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            targets.append(_target(line))
        except ValueError as error:
            mistakes.append(f"line {number}: {error}")
    where = "stdin" if path == _STDIN else path
    return _checked(targets, mistakes, where)


def ask_targets(settings: Settings, query: str, stop: Stop) -> list[Target]:
    """Ask the database of DATABASE_URL which targets there are.

    The query runs in a transaction that can change nothing. Its answer may name databases of the
    same server and schemas, and no address: whoever writes the table that it reads would otherwise
    choose where our password goes.

    Args:
        settings: those of the whole command.
        query: one SELECT, with the columns `name`, and `database` or `schema` or both.
        stop: ends the wait for the server when a signal arrives.

    Raises:
        UsageError: the query cannot be run, has other columns, or its rows make no sense.
        DatabaseUnavailable: the database could not be reached.
    """
    from migrator.server.connect import connect  # noqa: PLC0415 - the driver takes 24 ms
    from migrator.server.session import ServerError  # noqa: PLC0415 - as connect

    where = given_as("MIGRATOR_TARGETS_QUERY")
    if len(scanner.read(query).statements) != 1:  # a second one could end the transaction
        raise UsageError(f"{where}: it has to be one statement", "Write one SELECT.")
    with connect(settings, stop, write=False) as session:
        try:
            columns, rows = session.query_read_only(query)
        except ServerError as error:
            code = f" ({error.sqlstate})" if error.sqlstate else ""
            raise UsageError(
                f"{where}: the server refused the query: {error.diagnosis.message}{code}",
                error.diagnosis.hint or "Try the query in psql, in the database of DATABASE_URL.",
            ) from None
    _require_columns(columns, where)
    targets, mistakes = [], []
    for number, row in enumerate(rows, 1):
        values = {
            name: "" if value is None else str(value)
            for name, value in zip(columns, row, strict=True)
        }
        try:
            targets.append(_target_of(values))
        except ValueError as error:
            mistakes.append(f"row {number}: {error}")
    return _checked(targets, mistakes, where)


def part_of(targets: Sequence[Target], shard: str, environ: Mapping[str, str]) -> list[Target]:
    """Return the part of the targets that this process takes.

    Where a target belongs depends on its name alone, so it stays there when others come and go.

    Args:
        targets: all of them, without the canaries.
        shard: `I/N` or `N`; empty for all.
        environ: has the number of this process in JOB_COMPLETION_INDEX, for `N` alone.

    Raises:
        UsageError: the number of this process is missing or too high.
    """
    if not shard:
        return list(targets)
    index, count = shard_of(shard, environ)
    return [target for target in targets if _hash(target.name) % count == index]


def shard_of(shard: str, environ: Mapping[str, str]) -> tuple[int, int]:
    """Return which part this process takes, from 0, and of how many.

    Args:
        shard: `I/N` or `N`.
        environ: has the number of this process in JOB_COMPLETION_INDEX, for `N` alone.

    Raises:
        UsageError: the number of this process is missing or too high.
    """
    index, _, count = shard.rpartition("/")
    if not index:
        index = environ.get("JOB_COMPLETION_INDEX", "")
        name = given_as("MIGRATOR_SHARD")
        if not (index.isascii() and index.isdecimal()):
            raise UsageError(
                f"{name}={shard} says how many parts there are, and nothing says which one this is",
                f"Write {name}=I/{shard} with I from 0 to {int(count) - 1}; in an Indexed Job, "
                "Kubernetes sets JOB_COMPLETION_INDEX.",
            )
        if int(index) >= int(count):
            raise UsageError(
                f"JOB_COMPLETION_INDEX={index}, and {name}={shard} has the parts 0 to "
                f"{int(count) - 1}",
                "Give the Job as many completions as there are parts.",
            )
    return int(index), int(count)


def canaries_of(targets: Sequence[Target], canary: str) -> list[Target]:
    """Return the targets that come before all others.

    Args:
        targets: all of them, in their order.
        canary: a name, how many of the first ones, or names with commas between them.

    Raises:
        UsageError: no target has one of the names.
    """
    by_name = {target.name: target for target in targets}
    if canary in by_name:
        return [by_name[canary]]
    if canary.isascii() and canary.isdecimal():
        return list(targets[: int(canary)])
    names = list(dict.fromkeys(name.strip() for name in canary.split(",") if name.strip()))
    if unknown := [name for name in names if name not in by_name]:
        raise UsageError(
            f"{given_as('MIGRATOR_CANARY')}={canary!r}: no target has the name {unknown[0]!r}",
            "Write names of the list, or how many of its first targets come before the others.",
        )
    return [by_name[name] for name in names]


def named(targets: Sequence[Target], name: str) -> Target:
    """Return the target of a name.

    Raises:
        UsageError: there is none.
    """
    for target in targets:
        if target.name == name:
            return target
    from migrator.process.spelling import meant  # noqa: PLC0415 - only a mistake needs it

    close = meant(name, [target.name for target in targets])
    one = f"{given_as('MIGRATOR_ONE_TARGET')}={name!r}"
    raise UsageError(
        f"{one}: none of the {len(targets)} targets has this name",
        f"Did you mean {close!r}?" if close else "Look at the list of the targets.",
    )


def require_distinct(
    targets: Sequence[Target], base: Settings, environ: Mapping[str, str]
) -> list[tuple[Settings, tuple[str, str]]]:
    """Return the settings of all targets, which are different databases or schemas, and servers.

    Args:
        targets: all of them.
        base: the settings of the whole command.
        environ: what they were read from.

    Returns:
        The settings of each target, and the host and the port of its server.

    Raises:
        UsageError: two targets are the same schema of the same database, as far as their addresses
            tell, or the settings of one are not possible.
    """
    from migrator.server.connect import place_of  # noqa: PLC0415 - the driver takes 24 ms

    seen: dict[object, str] = {}
    all_settings = []
    for target in targets:
        try:
            settings = target.settings(base, environ)
            require_database(settings, environ)
            host, port, database = place_of(settings.url)
        except UsageError as error:
            what = error.message.removeprefix("DATABASE_URL ")
            raise UsageError(f"the target {target.name!r}: {what}", error.hint) from None
        all_settings.append((settings, (host, port)))
        first = seen.setdefault((host, port, database, settings.table), target.name)
        if first != target.name:
            raise UsageError(
                f"the targets {first!r} and {target.name!r} are the same database and schema",
                "Remove one of the two. Two histories in one database need two schemas.",
            )
    return all_settings


def _text(path: str, stop: Stop) -> str:
    """Return the text of the file with the targets."""
    name = given_as("MIGRATOR_TARGETS")
    try:
        with stop.idle():  # it may be a FIFO
            if path == _STDIN:
                data = sys.stdin.buffer.read()
            else:
                with open(path, "rb") as file:  # noqa: PTH123 - as in settings
                    data = file.read()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{name}={path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name}={path}: not valid UTF-8") from None


def _target(line: str) -> Target:
    """Read one line.

    Raises:
        ValueError: it makes no sense; the error shows nothing that may be a password.
    """
    _hide_passwords(line)
    if "\0" in line:
        raise ValueError("a NUL is not possible here")
    name, rest = _at_blank(line.strip())
    if "://" in name:
        raise ValueError("an address stands in the place of the name")
    _require_name(name)
    url, rest = _url(name, rest)
    given = _parameters(name, rest)
    if not url and not given:
        raise ValueError(f"{name!r} does not say in what it differs from DATABASE_URL")
    schema = given.pop("schema", "")
    return Target(name, url, _named_by_libpq(given), _schema(name, schema))


def _url(name: str, rest: str) -> tuple[str, str]:
    """Return the address that comes after the name, which may be empty, and what follows it."""
    url = ""
    if "://" in rest.split("=", 1)[0]:
        address, rest = _at_blank(rest)
        try:
            url = normalise_url(address, f"the address of {name!r}")
        except UsageError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        password, beside = secret_of(url)
        hide(password, is_name=password in beside)
    if "://" in rest:
        raise ValueError(f"{name!r}: an address is possible right after the name, and only there")
    return url, rest


def _parameters(name: str, text: str) -> dict[str, str]:
    """Return the parameters of a line, by the names that they have there."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise ValueError(f"{name!r}: a quote is not closed") from None
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in (*_PARAMETERS, "schema") or not equals:
            # What is no word may be a part of a password.
            what = "a word without =" if not equals else f"{key}=" if key.isalpha() else "that"
            known = ", ".join(f"{known}=" for known in (*_PARAMETERS, "schema"))
            raise ValueError(f"{name!r}: {what} is not possible here: a line has {known} or a URL")
        if not value.strip():
            raise ValueError(f"{name!r}: {key}= has no value")
        if key in given:
            raise ValueError(f"{name!r}: {key}= is there twice")
        given[key] = value
    return given


def _hide_passwords(line: str) -> None:
    """Hide what may be the password of an address, wherever in a line it stands."""
    for password in re.findall(r":/*[^\s:/@]*:([^\s@]+)@", line):
        hide(password)


def _at_blank(text: str) -> tuple[str, str]:
    """Return the first word of a text, and what follows it."""
    first, *rest = text.split(None, 1)
    return first, rest[0] if rest else ""


def _target_of(values: Mapping[str, str]) -> Target:
    """Return the target of a row of the query.

    Raises:
        ValueError: the row makes no sense.
    """
    name, database, schema = (values.get(column, "") for column in _COLUMNS)
    _require_name(name)
    if not database and not schema:
        raise ValueError(f"{name!r} has neither a database nor a schema")
    quoted = '"{}"'.format(schema.replace('"', '""')) if schema else ""
    return Target(
        name,
        parameters=_named_by_libpq({"database": database} if database else {}),
        schema=_schema(name, quoted),
    )


def _require_name(name: str) -> None:
    if not name.strip():
        raise ValueError("there is no name")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters; at most {_LONGEST_NAME} are possible")


def _named_by_libpq(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    port = given.get("port", "1")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ValueError("port= is no number from 1 to 65535")
    return tuple((_PARAMETERS[key], value) for key, value in given.items())


def _schema(name: str, text: str) -> str:
    try:
        return read_schema(text)
    except ValueError as error:
        raise ValueError(f"{name!r}: the name of the schema: {error}") from None


def _require_columns(columns: Sequence[str], where: str) -> None:
    """Refuse a query whose columns are not those of targets.

    Raises:
        UsageError: one is missing, is there twice, or is another one.
    """
    others = [column for column in columns if column not in _COLUMNS]
    if others or "name" not in columns or len(columns) != len(set(columns)) or len(columns) == 1:
        raise UsageError(
            f"{where}: the query has the columns {', '.join(map(repr, columns)) or 'none'}",
            "Targets have the columns name, and database or schema or both, and no other one: "
            "SELECT slug AS name, schema_name AS schema FROM tenants.",
        )


def _checked(targets: list[Target], mistakes: list[str], where: str) -> list[Target]:
    """Return the targets; refuse mistakes, a name that is there twice, and an empty list."""
    mistakes += _twice(target.name for target in targets)
    if mistakes:
        shown = mistakes[:_MOST_MISTAKES]
        more = len(mistakes) - len(shown)
        also = [f"and {more} more"] if more else []
        raise UsageError(
            "\n".join(visible(f"{where}: {one}") for one in (*shown, *also)), _EXAMPLES
        )
    if not targets:
        raise UsageError(f"{where}: there are no targets", _EXAMPLES)
    return targets


def _twice(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return [f"the name {name!r} is there twice" for name in twice]


def _hash(name: str) -> int:
    """Return a number that depends on the name alone, on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
