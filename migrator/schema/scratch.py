"""Provides an empty database to build a schema in, and drops or empties it at the end."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from migrator.process.errors import DatabaseUnavailable, LockUnavailable, UsageError
from migrator.process.log import get_logger, redact
from migrator.process.names import literal
from migrator.schema import reset
from migrator.schema.grants import Right, lasting_rights, undo_sql
from migrator.schema.snapshot import take_snapshot
from migrator.server import sqlstate
from migrator.server.answers import Unanswered
from migrator.server.connect import connect, url_of, url_with
from migrator.server.limits import leash_sql
from migrator.server.session import ConnectionLost, ServerError
from migrator.server.words import without_passwords

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migrator.process.settings import Settings
    from migrator.process.signals import Stop
    from migrator.server.session import Session

log = get_logger()


_PREFIX = "migrator_scratch"
_GRACE = 8.0  # seconds after a signal to drop the database in; Docker kills after ten
_YOUNG = 60  # seconds after its creation in which a run may not have connected to its database yet
_TRIES = 3
# A schema in a database that the user gave. The schema says that the database was empty before, and
# its comment says which extensions the database had, and in a second line which rights.
MARKER = "migrator_scratch"
# Where a setting can come from that is not the server's own, and not of a connection's own needs.
_SOURCES = ("database", "user", "database user", "client")
_OF_A_CONNECTION = ("application_name", "client_encoding")
# What stands for something else in the options of a connection (PostgreSQL documentation, libpq,
# "Parameter Key Words").
_ESCAPED = re.compile(r"[\\\s]")
_SET_URL = (
    "set MIGRATOR_SCRATCH_URL to an empty database that is for nothing else, on a server of the "
    "same version"
)


class Scratch(NamedTuple):
    """A database that is empty except for extensions.

    Attributes:
        settings: the settings of the run, with the address of the scratch database as `url`.
        session: a connection to the scratch database.
    """

    settings: Settings
    session: Session


@contextmanager
def empty(session: Session) -> Iterator[Scratch]:
    """Provide a scratch database for the block, and drop or empty the database at the end.

    A database that was created here is dropped also when a signal has arrived.

    Args:
        session: connected to the target, outside a transaction.

    Raises:
        UsageError: our role may not create a database, or the database of MIGRATOR_SCRATCH_URL is
            the target or is not empty.
        DatabaseUnavailable: the scratch database cannot be reached.
        LockUnavailable: another run uses the database of MIGRATOR_SCRATCH_URL.
    """
    given = session.settings.scratch_url
    with _given(session) if given else _created(session) as scratch:
        yield scratch


@contextmanager
def _created(session: Session) -> Iterator[Scratch]:
    """Create a scratch database for the block, and drop it at the end."""
    _sweep(session)
    # The time is that of the server's clock, because several machines may run this code.
    now = session.query("SELECT extract(epoch FROM clock_timestamp())::bigint")[0][0]
    name = f"{_PREFIX}_{now}_{secrets.token_hex(4)}"
    grace, session.stop.grace = session.stop.grace, _GRACE
    exists = True  # until an error says otherwise: after a signal, the database may exist
    try:
        with structlog.contextvars.bound_contextvars(scratch=name), ExitStack() as stack:
            try:
                _create(session, name)
            except (UsageError, ServerError):
                exists = False
                raise
            _configure(session, name)
            url = url_of(session.settings.url, name)
            settings = session.settings._replace(url=url)
            try:
                keeper = stack.enter_context(connect(settings, session.stop, write=True))
            except DatabaseUnavailable as error:
                raise DatabaseUnavailable(
                    f"the scratch database cannot be reached: {error.message}",
                    "A pooler, or pg_hba.conf, may accept only databases that it knows: connect "
                    f"directly to the server, or {_SET_URL}.",
                ) from None
            try:
                yield Scratch(settings, keeper)
            finally:
                # A database that has a subscription cannot be dropped. If dropping the
                # subscriptions fails, `_drop` logs that the database is left behind.
                with suppress(ServerError):
                    if _is_usable(keeper):
                        reset.drop_subscriptions(keeper)
    finally:
        if exists:
            _drop(session, name)
        session.stop.grace = grace


def _create(session: Session, name: str) -> None:
    """Create a database with the encoding and the locale of the target."""
    role, login, row = session.query(
        "SELECT pg_catalog.quote_ident(current_user), pg_catalog.quote_ident(session_user),"
        " to_jsonb(d) - 'datacl'"
        " FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    )[0]
    owner = f"OWNER {role} " if session.settings.role else ""
    try:
        with session.at_length(), session.as_role() as has_role:
            role = role if has_role else login
            session.execute(f"CREATE DATABASE {name} {owner}{options(row)}")
    except ServerError as error:
        if error.sqlstate != sqlstate.INSUFFICIENT_PRIVILEGE:
            raise
        raise UsageError(
            f"the role {role} may not create the database to build the files in",
            f"Allow it with ALTER ROLE {role} CREATEDB; or {_SET_URL}.",
        ) from None


def _configure(session: Session, name: str) -> None:
    """Give the database the settings of the target, such as the search_path."""
    # No other role may connect, because files can insert rows that are secret.
    session.query(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    if session.settings.role:  # a member need not have the rights of its role
        session.query(f"GRANT CONNECT ON DATABASE {name} TO SESSION_USER")
    settings = session.query(
        """
        SELECT s.setrole <> 0, unnest(s.setconfig)
        FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = pg_catalog.current_database() AND s.setrole IN
          (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
        ORDER BY s.setrole <> 0
        """
    )
    database = f"ALTER DATABASE {name}"
    # What is set for a role in one database goes before what is set for the role in all of them.
    role = f"ALTER ROLE SESSION_USER IN DATABASE {name}"
    for is_of_role, setting in settings:
        _copy_setting(session, (role, database) if is_of_role else (database,), setting)


def options(row: dict[str, Any]) -> str:
    """Return the options of CREATE DATABASE for a database with the locale of another database.

    Args:
        row: the row of the other database in pg_database; older servers have fewer columns.
    """
    provider = {"c": "libc", "i": "icu", "b": "builtin"}[row.get("datlocprovider", "c")]
    # In PostgreSQL 15 and 16, the name of the column is daticulocale.
    locale = row.get("datlocale") or row.get("daticulocale")
    values = {
        "ENCODING": str(row["encoding"]),
        "LC_COLLATE": literal(row["datcollate"]),
        "LC_CTYPE": literal(row["datctype"]),
    }
    if "datlocprovider" in row:
        values["LOCALE_PROVIDER"] = provider
    if provider != "libc" and locale:
        values[f"{provider}_locale".upper()] = literal(locale)
    if rules := row.get("daticurules"):
        values["ICU_RULES"] = literal(rules)
    return "TEMPLATE template0 " + " ".join(f"{key} {value}" for key, value in values.items())


def _copy_setting(session: Session, commands: Sequence[str], setting: str) -> None:
    """Give the scratch database one setting that ALTER DATABASE or ALTER ROLE gave the target.

    The setting is copied with FROM CURRENT, because the value of a list, such as search_path,
    cannot be written as one quoted string.

    Args:
        session: connected to the target.
        commands: what a setting can be given with; the next is tried if our role may not do one.
        setting: `name=value`.
    """
    key, _, value = setting.partition("=")
    reason = ""
    for command in commands:
        try:
            session.execute(
                f"BEGIN; {session.set_to.role}"
                f"SELECT pg_catalog.set_config({literal(key)}, {literal(value)}, true);"
                f' {command} SET "{key}" FROM CURRENT; COMMIT'
            )
        except ServerError as error:
            session.rollback()
            reason = redact(error.diagnosis.message)
        else:
            return
    log.warning("setting not copied", setting=key, reason=reason)


def _as_in(session: Session, keeper: Session) -> str:
    """Return the options of a connection with which a database has the settings of the target.

    Args:
        session: connected to the target.
        keeper: connected to the other database.
    """
    target, other = _values(session), _values(keeper)
    changed = {
        name
        for values in (target, other)
        for name, (_, source, context) in values.items()
        if source in _SOURCES and context == "user" and name not in _OF_A_CONNECTION
    }
    wanted = {name: target[name][0] for name in changed if name in target}
    # A path can have the schema of the role in it, and the other role may be another one.
    [(role,)] = session.query("SELECT pg_catalog.quote_ident(current_user)")
    [(other_role,)] = keeper.query("SELECT pg_catalog.quote_ident(current_user)")
    path = target["search_path"][0]
    wanted["search_path"] = path
    if role != other_role:
        wanted["search_path"] = re.sub(r'"?\$user"?', lambda _: role, path)
    escaped = {name: _ESCAPED.sub(r"\\\g<0>", value) for name, value in wanted.items()}
    return " ".join(
        f"-c {name}={value}"
        for name, value in sorted(escaped.items())
        if name not in other or other[name][0] != wanted[name]
    )


def _values(session: Session) -> dict[str, tuple[str, str, str]]:
    """Return the value at the beginning of the session, the source and the context of settings."""
    rows = session.query_names(
        "SELECT s.name, s.reset_val, s.source, s.context FROM pg_catalog.pg_settings s"
    )
    # That view does not have settings that no module has declared, such as `app.tenant`.
    rows += session.query(
        """
        SELECT n.name, current_setting(n.name, true), 'database', 'user'
        FROM pg_db_role_setting s, unnest(s.setconfig) c, split_part(c, '=', 1) n (name)
        WHERE strpos(n.name, '.') > 0 AND current_setting(n.name, true) IS NOT NULL
        """
    )
    return {name: (value or "", source, context) for name, value, source, context in rows}


def _drop(session: Session, name: str) -> None:
    """Drop the database, also after a signal has arrived."""
    if session.closed:
        log.warning("scratch database left behind", scratch=name, reason="the connection was lost")
        return
    cancel, session.stop.cancel = session.stop.cancel, None
    force = " WITH (FORCE)"
    for _ in range(_TRIES):
        try:
            with session.at_length(), session.as_role():
                session.execute_in_spite_of_signals(f"DROP DATABASE IF EXISTS {name}{force}")
        except (ServerError, ConnectionLost, Unanswered) as error:
            if isinstance(error, ServerError) and error.sqlstate == sqlstate.QUERY_CANCELED:
                continue  # the cancel that the signal had caused before
            if isinstance(error, ServerError):
                # A session of ours that is about to end has the role that has logged in, and the
                # role that it has become may not end it. Without FORCE, the server waits for it.
                if error.sqlstate == sqlstate.INSUFFICIENT_PRIVILEGE and force:
                    force = ""
                    continue
                reason = redact(error.diagnosis.message)
            else:
                reason = without_passwords(error)
            log.warning("scratch database left behind", scratch=name, reason=reason)
        break
    session.stop.cancel = cancel


def _sweep(session: Session) -> None:
    """Drop the scratch databases of killed runs: those that no session is connected to.

    A run is connected to its scratch database from shortly after the creation of the database to
    the end of the run.
    """
    rows = session.query(
        f"""
        SELECT d.datname::text FROM pg_catalog.pg_database d
        WHERE d.datname ~ '^{_PREFIX}_[0-9]+_[0-9a-f]+$'
          AND split_part(d.datname, '_', 3)::numeric
            < extract(epoch FROM clock_timestamp()) - {_YOUNG}
          AND pg_catalog.pg_has_role(d.datdba, 'USAGE')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid)
        """
    )
    for (name,) in rows:
        try:
            with session.at_length(), session.as_role():
                session.execute(f"DROP DATABASE IF EXISTS {name}")
        except ServerError as error:
            log.warning(
                "scratch database left behind", scratch=name, reason=redact(error.diagnosis.message)
            )
        else:
            log.info("scratch database of a killed run dropped", scratch=name)


@contextmanager
def _given(session: Session) -> Iterator[Scratch]:
    """Use the database of MIGRATOR_SCRATCH_URL for the block, and empty it at the end."""
    settings = session.settings._replace(url=session.settings.scratch_url)
    if settings.role:
        settings = _with_role_of(settings, session.stop)
    with _reached(settings, session.stop) as keeper:
        name = keeper.query("SELECT pg_catalog.current_database()")[0][0]
        with structlog.contextvars.bound_contextvars(scratch=name):
            _claim(session, keeper, name)
            if _marks(keeper):
                _clear(keeper)
            _require_empty(keeper, name)
            _mark(keeper)
            if changes := _as_in(session, keeper):
                settings = settings._replace(url=url_with(settings.url, changes))
            try:
                yield Scratch(settings, keeper)
            finally:
                # After a signal there is no time. Then the next run finds the marker, and empties
                # the database.
                if _is_usable(keeper):
                    _clear(keeper)


@contextmanager
def _reached(settings: Settings, stop: Stop) -> Iterator[Session]:
    """Connect to the given scratch database; an error says that it is this one."""
    with ExitStack() as stack:
        try:
            session = stack.enter_context(connect(settings, stop, write=True))
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(
                f"the database of MIGRATOR_SCRATCH_URL cannot be reached: {error.message}",
                error.hint,
            ) from None
        yield session


def _with_role_of(settings: Settings, stop: Stop) -> Settings:
    """Return the settings without a role that may not build in the database; else as they are.

    The database may be on another server, where that role is not, and the login owns it there.
    """
    as_login = settings._replace(role="")
    with _reached(as_login, stop) as session:
        rows = session.query(
            f"""
            SELECT FROM pg_catalog.pg_roles r
            WHERE r.rolname = {literal(settings.role)}
              AND pg_has_role(session_user, r.oid, 'MEMBER')
              AND has_database_privilege(r.oid, current_database(), 'CREATE')
              AND has_schema_privilege(r.oid, 'public', 'CREATE')
            """
        )
    return settings if rows else as_login


def _claim(session: Session, keeper: Session, name: str) -> None:
    """Make sure that no other run uses the database, and that the database is not the target.

    Each database has advisory locks of its own. So the lock that `session` holds in the target is
    in the way of `keeper` only if `keeper` is also connected to the target.
    """
    number = secrets.randbits(62)
    session.execute(f"BEGIN; SELECT pg_catalog.pg_advisory_xact_lock({number})")
    free = keeper.query(f"SELECT pg_catalog.pg_try_advisory_lock({number})")[0][0]
    session.rollback()
    if not free:
        raise UsageError(
            f"MIGRATOR_SCRATCH_URL is the database {name!r} that is to be compared",
            f"Unset it, or {_SET_URL}.",
        )
    # In the same message, so that the server never keeps the lock of a client that has vanished.
    leash = leash_sql(keeper.server_version, local=False)
    key = f"pg_catalog.hashtextextended({literal(MARKER)}, 0)"
    if not keeper.query(f"SELECT {leash}; SELECT pg_catalog.pg_try_advisory_lock({key})")[0][0]:
        raise LockUnavailable(
            f"another run is building in the database {name!r} of MIGRATOR_SCRATCH_URL",
            "Let it finish, or give each run a database of its own.",
        )


def _require_empty(keeper: Session, name: str) -> None:
    """Refuse a database that has anything except extensions."""
    snapshot = take_snapshot(keeper)
    keys = [
        item.key
        for item in snapshot.values()
        if item.kind != "extension" and item.key != "schema public" and item.parent not in snapshot
    ]
    if keys:
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if keys[3:] else "")
        raise UsageError(
            f"the database {name!r} of MIGRATOR_SCRATCH_URL is not empty: it has {shown}",
            f"Nothing was changed in it. Empty it, or {_SET_URL}.",
        )


def _mark(keeper: Session) -> None:
    """Create the marker, from which a later run knows what it may drop."""
    names = [name for (name,) in keeper.query("SELECT extname::text FROM pg_catalog.pg_extension")]
    had = json.dumps({key: astuple(right) for key, right in lasting_rights(keeper).items()})
    comment = literal(f"{','.join(names)}\n{had}")
    keeper.query(f'CREATE SCHEMA "{MARKER}"; COMMENT ON SCHEMA "{MARKER}" IS {comment}')


def _marks(keeper: Session) -> list[str]:
    """Return what the marker says, if there is one.

    A marker of another role is none: what it says would be run with our rights.
    """
    rows = keeper.query(
        f"""
        SELECT coalesce(obj_description(n.oid, 'pg_namespace'), '')
        FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
        WHERE n.nspname = {literal(MARKER)} AND r.rolname = current_user
        """
    )
    return [comment for (comment,) in rows]


def _is_usable(keeper: Session) -> bool:
    """Return whether there is time and a connection to clear up; if so, end its transaction."""
    if keeper.stop.arrived or keeper.closed:
        return False
    if keeper.in_transaction:
        keeper.execute("ROLLBACK")
    return True


def _clear(keeper: Session) -> None:
    """Drop everything from a database that was empty before, also the marker."""
    names, _, had = "".join(_marks(keeper)).partition("\n")
    added = keeper.query(
        "SELECT pg_catalog.quote_ident(extname) FROM pg_catalog.pg_extension"
        " WHERE extname::text <> ALL (%s::text[])",
        (names.split(","),),
    )
    for (extension,) in added:
        keeper.query(f"DROP EXTENSION IF EXISTS {extension} CASCADE")
    reset.drop_subscriptions(keeper)
    before = {key: Right(*fields) for key, fields in json.loads(had or "{}").items()}
    if undo := undo_sql(lasting_rights(keeper), before):
        keeper.query(undo)
    reset.drop_everything(keeper)
