"""The advice for a role that may not read or write the history, with the names of the roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.history.progress import own_tables
from migrator.process.errors import DatabaseUnavailable
from migrator.process.names import identifier, literal
from migrator.server.session import ServerError, sendable

if TYPE_CHECKING:
    from migrator.process.errors import MigratorError
    from migrator.process.names import Table
    from migrator.server.session import Session


def worded(session: Session, error: ServerError, *, write: bool) -> MigratorError:
    """Return the error to raise when the server refused a statement of the migrator itself.

    Args:
        session: the session in which that was.
        error: the error of the server.
        write: whether the command writes, so that the right to read is not enough for it.

    Returns:
        The error itself, unless it is about a right on the history that has an advice.
    """
    table, message = session.settings.table, error.diagnosis.message
    on_schema = message == f"permission denied for schema {table.schema}"
    refused = {f"permission denied for table {one.name}": one for one in own_tables(table)}
    if error.file is not None or not (on_schema or message in refused):
        return error
    to_read = refused.get(message, table)
    hint = cure(session) if write else _to_read(session, to_read, on_schema=on_schema)
    return DatabaseUnavailable(error.message, hint) if hint else error


def _to_read(session: Session, table: Table, *, on_schema: bool) -> str:
    role = _ask(session, f"SELECT {_quoted('current_user::text')}")
    if not role:
        return ""
    usage = f"GRANT USAGE ON SCHEMA {identifier(table.schema)} TO {role[0]}; " if on_schema else ""
    return f"To read it: {usage}GRANT SELECT ON {table.quoted} TO {role[0]}."


def cure(session: Session) -> str:
    """Return how our login can act as the role that owns the history; empty where it should not.

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
        " AND NOT o.rolsuper AND o.rolname NOT IN (current_user, session_user)",
    )
    if not names:
        return ""
    owner, login = names
    return (
        f"It belongs to {owner}. Let that role own the history and all tables, and let each login "
        f"act as it. A superuser does that: GRANT {owner} TO {login}; ALTER ROLE {login} SET role "
        f"TO {owner}."
    )


def _quoted(name: str) -> str:
    return sendable(f"pg_catalog.quote_ident({name})")


def _ask(session: Session, sql: str) -> tuple[str, ...]:
    """Return the first row of a query; empty for none, or when the server cannot answer."""
    if session.closed:
        return ()
    try:
        session.rollback()
        rows = session.query(sql)
    except ServerError:
        return ()
    return tuple(rows[0]) if rows else ()
