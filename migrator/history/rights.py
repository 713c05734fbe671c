"""The advice when the server refuses our role, its schema or its values, with the names in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrator.history.progress import own_tables
from migrator.process.errors import NotAllowed, UsageError
from migrator.process.names import identifier, literal
from migrator.server import sqlstate
from migrator.server.session import ServerError, sendable

if TYPE_CHECKING:
    from migrator.process.errors import MigratorError
    from migrator.process.names import Table
    from migrator.server.session import Session


_REFUSALS = (
    sqlstate.INSUFFICIENT_PRIVILEGE,
    sqlstate.INVALID_PARAMETER_VALUE,
    sqlstate.INVALID_NAME,
    sqlstate.UNDEFINED_OBJECT,
)
_SET_OPTION = 160000  # the first version of the server in which a member may not SET ROLE


def worded(session: Session, error: ServerError, *, write: bool) -> MigratorError:
    """Return the error to raise when the server refused a statement of the migrator itself.

    Args:
        session: the session in which that was.
        error: the error of the server.
        write: whether the command writes, so that the right to read is not enough for it.

    Returns:
        The error itself, unless it is about the role, the values of the settings, or a right on
        the history, for which there is an advice.
    """
    if error.file is not None or error.sqlstate not in _REFUSALS:
        return error
    if refused := _role(session, error) or _value(session):
        return refused
    table, message = session.settings.table, error.diagnosis.message
    on_schema = message == f"permission denied for schema {table.schema}"
    tables = {f"permission denied for table {one.name}": one for one in own_tables(table)}
    hint = ""
    if on_schema or message in tables:
        to_read = tables.get(message, table)
        hint = cure(session) if write else _to_read(session, to_read, on_schema=on_schema)
    if write and not hint and error.sqlstate == sqlstate.INSUFFICIENT_PRIVILEGE:
        hint = _to_create(session)
    return NotAllowed(error.message, hint) if hint else error


def _role(session: Session, error: ServerError) -> MigratorError | None:
    """Return the error of a role of the settings that we cannot act as; None if we can."""
    name = session.settings.role
    if not name:
        return None
    role, schema = identifier(name), identifier(session.settings.table.schema)
    may_set = "SET" if session.server_version >= _SET_OPTION else "MEMBER"
    found = _ask(
        session,
        f"SELECT {_quoted('session_user::text')}, r.oid IS NOT NULL,"
        f" coalesce(pg_has_role(session_user, r.oid, 'MEMBER'), false),"
        f" coalesce(pg_has_role(session_user, r.oid, '{may_set}'), false)"
        f" FROM (SELECT) one LEFT JOIN pg_catalog.pg_roles r ON r.rolname = {literal(name)}",
        as_login=True,
    )
    if not found or found[3]:
        return None
    login, exists, is_member, _ = found
    grant = f"GRANT {role} TO {login}" + (" WITH SET TRUE;" if is_member else ";")
    if exists:
        return NotAllowed(
            f"the login {login} may not act as the role {role} of MIGRATOR_ROLE: "
            f"{error.diagnosis.message}",
            f"A superuser allows it: {grant}",
        )
    return NotAllowed(
        f"the role {role} of MIGRATOR_ROLE does not exist",
        f"Correct the name, or let a superuser create the role: CREATE ROLE {role}; {grant} GRANT "
        f"USAGE, CREATE ON SCHEMA {schema} TO {role};",
    )


def _value(session: Session) -> MigratorError | None:
    """Return the error of a value of the settings that the server refuses; None if it takes all."""
    for name, value in () if session.closed else session.settings.values:
        setting = f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, true)"
        try:
            session.rollback()
            session.query(setting)
        except ServerError as refused:
            reason = refused.diagnosis.message
            return UsageError(
                f"MIGRATOR_SET: the server refuses the value of {name}: {reason}",
                "Choose another name; the names of an extension or a language are its own.",
            )
    return None


def _to_create(session: Session) -> str:
    """Return how our role can get the right to create the history; empty if that is not missing."""
    table = session.settings.table
    found = _ask(
        session,
        f"SELECT {_quoted('current_user::text')}, {_quoted('current_database()::text')},"
        f" {_quoted(literal(table.schema))}, n.oid IS NOT NULL,"
        " coalesce(has_schema_privilege(n.oid, 'USAGE'), false),"
        " coalesce(has_schema_privilege(n.oid, 'CREATE'),"
        " has_database_privilege(current_database(), 'CREATE'))"
        f" FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n"
        f" ON n.nspname = {literal(table.schema)}",
    )
    if not found or found[5]:
        return ""
    role, database, schema, exists, sees, _ = found
    if exists:
        rights = "CREATE" if sees else "USAGE, CREATE"
        return (
            f"The owner of the schema, or a superuser, allows it: GRANT {rights} ON SCHEMA "
            f"{schema} TO {role};"
        )
    return (
        f"The schema {schema} is not there, and {role} may not create it. A superuser does that: "
        f"CREATE SCHEMA {schema} AUTHORIZATION {role}; or allows it: GRANT CREATE ON DATABASE "
        f"{database} TO {role};"
    )


def _to_read(session: Session, table: Table, *, on_schema: bool) -> str:
    role = _ask(session, f"SELECT {_quoted('current_user::text')}")
    if not role:
        return ""
    usage = f"GRANT USAGE ON SCHEMA {identifier(table.schema)} TO {role[0]}; " if on_schema else ""
    return f"To read it: {usage}GRANT SELECT ON {table.quoted} TO {role[0]}."


def cure(session: Session) -> str:
    """Return how our login can act as the role that owns the history; empty where it should not.

    If we act as a role of the settings, it is how this role can own the history instead.

    Args:
        session: a failed transaction of it is rolled back.
    """
    table = session.settings.table
    names = _ask(
        session,
        f"SELECT {_quoted('o.rolname::text')}, {_quoted('session_user::text')}"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_roles o ON o.oid = c.relowner"
        f" WHERE n.nspname = {literal(table.schema)} AND c.relname = {literal(table.name)}"
        # Nobody should act as a superuser because a table belongs to one.
        " AND NOT o.rolsuper AND o.rolname <> current_user"
        + ("" if session.settings.role else " AND o.rolname <> session_user"),
    )
    if not names:
        return ""
    owner, login = names
    if session.settings.role:
        role = identifier(session.settings.role)
        return (
            f"It belongs to {owner}, and MIGRATOR_ROLE is {role}. Let that role own the history "
            f"and all tables. A superuser does that: REASSIGN OWNED BY {owner} TO {role};"
        )
    return (
        f"It belongs to {owner}. Let that role own the history and all tables, and let each login "
        f"act as it. A superuser allows that: GRANT {owner} TO {login}; and each run of {login} "
        f"then needs the setting MIGRATOR_ROLE={owner}"
    )


def _quoted(name: str) -> str:
    return sendable(f"pg_catalog.quote_ident({name})")


def _ask(session: Session, sql: str, *, as_login: bool = False) -> tuple[Any, ...]:
    """Return the first row of a query; empty for none, or when the server cannot answer."""
    if session.closed:
        return ()
    try:
        session.rollback()
        rows = session.query(sql, as_login=as_login)
    except ServerError:
        return ()
    return tuple(rows[0]) if rows else ()
