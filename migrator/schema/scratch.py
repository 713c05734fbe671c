"""An empty database to build a schema in, which is gone, or empty again, afterwards."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from migrator.process.errors import DatabaseUnavailable, LockUnavailable, UsageError
from migrator.process.names import literal
from migrator.schema import reset
from migrator.schema.snapshot import take_snapshot
from migrator.server import sqlstate
from migrator.server.connect import connect, url_of
from migrator.server.session import ConnectionLost, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.process.settings import Settings
    from migrator.server.session import Session

log = structlog.get_logger()


_PREFIX = "migrator_scratch"
_GRACE = 8.0  # seconds after a signal to drop the database in; Docker kills after ten
_YOUNG = 60  # seconds in which a database may have been created and nobody connected to it yet
_TRIES = 3
# In a database that we were given: says that it was empty, and which extensions it had.
MARKER = "migrator_scratch"
_SET_URL = (
    "set MIGRATOR_SCRATCH_URL to an empty database, on a server of the same version, that is for "
    "nothing else"
)


class Scratch(NamedTuple):
    """A database that is empty but for extensions.

    Attributes:
        settings: those of the run, with its address for the target's.
        session: a connection to it.
    """

    settings: Settings
    session: Session


@contextmanager
def empty(session: Session) -> Iterator[Scratch]:
    """Provide the database, and take it away at the end, also when a signal has arrived.

    Args:
        session: connected to the target, outside a transaction.

    Raises:
        UsageError: our role may not create a database, or the one that we were given is no use.
        DatabaseUnavailable: it cannot be reached.
        LockUnavailable: another run uses the one that we were given.
    """
    given = session.settings.scratch_url
    with _given(session) if given else _created(session) as scratch:
        yield scratch


@contextmanager
def _created(session: Session) -> Iterator[Scratch]:
    _sweep(session)
    # By the server's clock: several machines may run this.
    now = session.query("SELECT extract(epoch FROM clock_timestamp())::bigint")[0][0]
    name = f"{_PREFIX}_{now}_{secrets.token_hex(4)}"
    grace, session.stop.grace = session.stop.grace, _GRACE
    exists = True  # after a signal too, for all we know
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
                    "A pooler, or pg_hba.conf, may let only databases through that it knows: "
                    f"connect directly to the server, or {_SET_URL}.",
                ) from None
            try:
                yield Scratch(settings, keeper)
            finally:
                # A database that has one cannot be dropped; if need be, that is what is said.
                with suppress(ServerError):
                    if _is_usable(keeper):
                        reset.drop_subscriptions(keeper)
    finally:
        if exists:
            _drop(session, name)
        session.stop.grace = grace


def _create(session: Session, name: str) -> None:
    """Create a database that sorts and compares as the target does."""
    role, row = session.query(
        "SELECT pg_catalog.quote_ident(current_user), to_jsonb(d) - 'datacl'"
        " FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    )[0]
    try:
        session.execute(f"CREATE DATABASE {name} {options(row)}")
    except ServerError as error:
        if error.sqlstate != sqlstate.INSUFFICIENT_PRIVILEGE:
            raise
        raise UsageError(
            f"the role {role} may not create the database to build the files in",
            f"Allow it with ALTER ROLE {role} CREATEDB; or {_SET_URL}.",
        ) from None


def _configure(session: Session, name: str) -> None:
    """Give the database the settings of the target, such as its search_path."""
    # Rows that files insert are nobody else's business.
    session.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    settings = session.query(
        """
        SELECT unnest(s.setconfig)
        FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = pg_catalog.current_database() AND s.setrole IN
          (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))
        ORDER BY s.setrole <> 0
        """
    )
    for (setting,) in settings:
        _copy_setting(session, name, setting)


def options(row: dict[str, Any]) -> str:
    """Return the options of CREATE DATABASE for one with the locale of another.

    Args:
        row: the other's row of pg_database; older servers have fewer columns.
    """
    provider = {"c": "libc", "i": "icu", "b": "builtin"}[row.get("datlocprovider", "c")]
    # Named daticulocale in PostgreSQL 15 and 16.
    locale = row.get("datlocale") or row.get("daticulocale")
    found = {
        "ENCODING": str(row["encoding"]),
        "LC_COLLATE": literal(row["datcollate"]),
        "LC_CTYPE": literal(row["datctype"]),
    }
    if "datlocprovider" in row:
        found["LOCALE_PROVIDER"] = provider
    if provider != "libc" and locale:
        found[f"{provider}_locale".upper()] = literal(locale)
    if rules := row.get("daticurules"):
        found["ICU_RULES"] = literal(rules)
    return "TEMPLATE template0 " + " ".join(f"{key} {value}" for key, value in found.items())


def _copy_setting(session: Session, name: str, setting: str) -> None:
    """Set what ALTER DATABASE has set for the target in the copy too.

    The value of a list, such as search_path, can be taken over as it is only FROM CURRENT.
    """
    key, _, value = setting.partition("=")
    try:
        session.execute(
            f"BEGIN; SELECT pg_catalog.set_config({literal(key)}, {literal(value)}, true);"
            f' ALTER DATABASE {name} SET "{key}" FROM CURRENT; COMMIT'
        )
    except ServerError as error:
        session.rollback()
        log.warning("setting not copied", setting=key, reason=error.diagnosis.message)


def _drop(session: Session, name: str) -> None:
    """Drop the database, even though a signal has arrived."""
    if session.closed:
        log.warning("scratch database left behind", scratch=name, reason="the connection was lost")
        return
    cancel, session.stop.cancel = session.stop.cancel, None
    for _ in range(_TRIES):
        try:
            session.execute_in_spite_of_signals(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        except (ServerError, ConnectionLost) as error:
            if isinstance(error, ServerError) and error.sqlstate == sqlstate.QUERY_CANCELED:
                continue  # the signal's cancel, which was on its way
            reason = error.diagnosis.message if isinstance(error, ServerError) else error.message
            log.warning("scratch database left behind", scratch=name, reason=reason)
        break
    session.stop.cancel = cancel


def _sweep(session: Session) -> None:
    """Drop what killed runs have left: databases of ours that nobody is connected to.

    A run is connected to its scratch database from shortly after its creation to its end.
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
            session.execute(f"DROP DATABASE IF EXISTS {name}")
        except ServerError as error:
            log.warning(
                "scratch database left behind", scratch=name, reason=error.diagnosis.message
            )
        else:
            log.info("scratch database of a killed run dropped", scratch=name)


@contextmanager
def _given(session: Session) -> Iterator[Scratch]:
    settings = session.settings._replace(url=session.settings.scratch_url)
    with connect(settings, session.stop, write=True) as keeper:
        name = keeper.query("SELECT pg_catalog.current_database()")[0][0]
        with structlog.contextvars.bound_contextvars(scratch=name):
            _claim(session, keeper, name)
            if f"schema {MARKER}" in take_snapshot(keeper):
                _clear(keeper)
            _require_empty(keeper, name)
            _mark(keeper)
            try:
                yield Scratch(settings, keeper)
            finally:
                # After a signal there is no time: the next run finds the marker, and clears.
                if _is_usable(keeper):
                    _clear(keeper)


def _claim(session: Session, keeper: Session, name: str) -> None:
    """Make sure that nobody else uses the database, and that it is not the target itself.

    Advisory locks are per database: only in the target can one of its sessions be in the way.
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
    if not keeper.query(
        f"SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended({literal(MARKER)}, 0))"
    )[0][0]:
        raise LockUnavailable(
            f"another run is building in the database {name!r} of MIGRATOR_SCRATCH_URL",
            "Let it finish, or give each run a database of its own.",
        )


def _require_empty(keeper: Session, name: str) -> None:
    items = take_snapshot(keeper)
    found = [
        item.key
        for item in items.values()
        if item.kind != "extension" and item.key != "schema public" and item.parent not in items
    ]
    if found:
        shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")
        raise UsageError(
            f"the database {name!r} of MIGRATOR_SCRATCH_URL is not empty: it has {shown}",
            f"Nothing was changed in it. Empty it, or {_SET_URL}.",
        )


def _mark(keeper: Session) -> None:
    names = [name for (name,) in keeper.query("SELECT extname::text FROM pg_catalog.pg_extension")]
    keeper.execute(
        f'CREATE SCHEMA "{MARKER}"; COMMENT ON SCHEMA "{MARKER}" IS {literal(",".join(names))}'
    )


def _is_usable(keeper: Session) -> bool:
    """Tell whether there is time and a connection to clear up with; if so, end its transaction."""
    if keeper.stop.arrived or keeper.closed:
        return False
    if keeper.in_transaction:
        keeper.execute("ROLLBACK")
    return True


def _clear(keeper: Session) -> None:
    """Drop everything from a database that was empty, and with it the marker."""
    added = keeper.query(
        f"""
        SELECT pg_catalog.quote_ident(extname) FROM pg_catalog.pg_extension
        WHERE extname::text <> ALL (string_to_array(pg_catalog.obj_description(
          to_regnamespace({literal(MARKER)}), 'pg_namespace'), ','))
        """
    )
    for (extension,) in added:
        keeper.execute(f"DROP EXTENSION IF EXISTS {extension} CASCADE")
    reset.drop_subscriptions(keeper)
    reset.drop_everything(keeper)
