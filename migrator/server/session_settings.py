"""What the session is set to for our own SQL and for files, and how that is undone.

MIGRATOR_ROLE, MIGRATOR_SCHEMA and MIGRATOR_SET are set inside each transaction, so that they work
through every pooler and nothing of them is left in the connection. Whoever sends SQL takes the
pieces from here. Where none of the three is given, nothing is sent for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.process.names import identifier, literal

if TYPE_CHECKING:
    from migrator.process.settings import Settings


def no_transaction_timeout(*, local: bool) -> str:
    """Return the SQL expression that switches transaction_timeout off, where the server has it.

    At this limit, which PostgreSQL has since version 17, the server ends the whole session. When it
    is set for a role, each try of a long file would end in the same way.

    Args:
        local: whether the setting ends with the transaction.
    """
    return (
        "CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL THEN"
        f" pg_catalog.set_config('transaction_timeout', '0', {'true' if local else 'false'}) END"
    )


# The path on which the migrator's own SQL finds operators, functions and types. On the usual path,
# whoever may create objects in one of its schemas could create an operator that fits our SQL better
# than the server's own, and its function would run with our rights (CVE-2018-1058). pg_temp is the
# last one, because the server looks there first for tables and types when it is not named.
SAFE_PATH = "SET LOCAL search_path TO pg_catalog, pg_temp"


def on_safe_path(sql: str) -> str:
    """Return SQL of the migrator for between two statements of a file, in their transaction.

    The file may have set a path of its own, which is given back.

    Args:
        sql: statements whose rows nobody needs.
    """
    path = "pg_catalog.current_setting('search_path')"
    return (
        f"SELECT pg_catalog.set_config('migrator.path', {path}, true); {SAFE_PATH}; {sql};"
        " SELECT pg_catalog.set_config('search_path',"
        " pg_catalog.current_setting('migrator.path'), true)"
    )


# For the migrator's own SQL at the end of a file: its path, and a limit for the record.
OUR_SETTINGS = f"{SAFE_PATH}; SET LOCAL lock_timeout TO '10s'"

# These two undo everything that a migration may have set in the session. Together they do what
# DISCARD ALL does, which itself is refused in a transaction (PostgreSQL documentation, "DISCARD").
# Both run in the migration's own transaction, because a pooler may hand the connection on to
# another client right after the commit. `SessionSettings.reset` begins with the first one.
_RESET = (
    "SET CONSTRAINTS ALL IMMEDIATE; SET SESSION AUTHORIZATION DEFAULT; RESET ALL;"
    f" {OUR_SETTINGS};"
    f" SELECT {no_transaction_timeout(local=True)}"  # RESET ALL has brought back the role's limit
)
RESET_STATE = (
    "CLOSE ALL; DEALLOCATE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all();"
    " DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)
# This undoes what a rollback of a file leaves behind.
UNDO_ROLLED_BACK = "DEALLOCATE ALL; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD SEQUENCES"
_USUAL = "pg_catalog.set_config('search_path', NULL, {})"


class SessionSettings(NamedTuple):
    """Pieces of SQL with the role, the path and the values of a run.

    Attributes:
        role: sets the role for a transaction; empty without MIGRATOR_ROLE. It ends with `; `.
        ours: begins a transaction of the migrator: the role, on the safe path.
        usual: gives a file in a transaction its path and its values, in statements.
        usual_values: the same as the expressions of a SELECT list.
        reset: undoes what a file has set in its transaction, and sets the role again.
        next_file: undoes, for the next file of the transaction, what `reset` and a record set.
        for_session: gives a file outside a transaction its role, path and values, until DISCARD
            ALL; empty when there are none. It ends with `; `.
        names: begins a transaction in which names are looked up as a file would; empty when that is
            how the session begins anyway. It ends with `; `.
    """

    role: str
    ours: str
    usual: str
    usual_values: str
    reset: str
    next_file: str
    for_session: str
    names: str


def session_settings(settings: Settings) -> SessionSettings:
    """Return the pieces of SQL for the settings of a run."""
    role = f"SET LOCAL ROLE {identifier(settings.role)}; " if settings.role else ""
    usual_values = _values(settings, local=True)
    plain = not settings.schema and not settings.values
    usual = "SET LOCAL search_path TO DEFAULT" if plain else f"SELECT {usual_values}"
    for_session = role.replace("LOCAL ", "", 1)
    if not plain:
        for_session += f"SELECT {_values(settings, local=False)}; "
    return SessionSettings(
        role=role,
        ours=role + SAFE_PATH,
        usual=usual,
        usual_values=usual_values,
        reset=f"{_RESET}; {role}".rstrip("; "),
        next_file="RESET search_path; RESET TimeZone" + ("" if plain else f"; {usual}"),
        for_session=for_session,
        names=role + ("" if plain else f"{usual}; "),
    )


def _values(settings: Settings, *, local: bool) -> str:
    """Return the expressions that set the path of a file and its values.

    The path is looked up on the server, because it is that of the role and the database.
    """
    scope = "true" if local else "false"
    path = _USUAL.format(scope)
    if settings.schema:
        # No operator is used, because those on the path of a file are not to be trusted.
        both = f"pg_catalog.concat({literal(identifier(settings.schema) + ', ')}, {path})"
        whole = f"pg_catalog.rtrim({both}, ', ')"
        path = f"pg_catalog.set_config('search_path', {whole}, {scope})"
    values = [
        f"pg_catalog.set_config({literal(name)}, {literal(value)}, {scope})"
        for name, value in settings.values
    ]
    return ", ".join([path, *values])
