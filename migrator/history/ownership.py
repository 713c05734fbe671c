"""Who owns the migrator's tables, and what of other roles would run when we write into them.

A trigger, a rule or a default of a table runs its functions with the rights of whoever writes. So a
role that made the history table before us, or owns it, could have its code run with our rights. A
table is ours when its owner and the owner of its schema can have that anyway: our own role, the
owner of the database, or a superuser. Into any other table we write only while it has nothing that
runs code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.process.errors import Problem, ProblemsFound
from migrator.process.names import literal
from migrator.server.sqlstate import RUNS_CODE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.process.names import Table
    from migrator.server.session import Session

# What a table of the migrator may have as a default: that of `applied_at`.
_OWN_DEFAULTS = "('CURRENT_TIMESTAMP', 'now()')"
# Our role, the owner of the database and the first superuser, whose oid is 10, are known without a
# look at the roles, which most runs need not take.
_PLAINLY = "(pg_get_userbyid({0}) IN (current_user, session_user, 'pg_database_owner') OR {0} = 10)"


class Guest(NamedTuple):
    """A table of the migrator that is in the hands of another role.

    Attributes:
        owner: the role that owns the table; None when the table is ours.
        landlord: the role that owns the schema of the table; None when the schema is ours.
        runs: what the table has that runs code of its owner, each in words; empty when it is ours.
    """

    owner: str | None
    landlord: str | None
    runs: Sequence[str]


def plainly_ours_sql(*owners: str) -> str:
    """Return the condition that all owners are seen to be ours without a look at the roles.

    Args:
        owners: the expression for the oid of each.
    """
    return " AND ".join(_PLAINLY.format(owner) for owner in owners)


def guest_sql(table: str) -> str:
    """Return the expression for the values of a `Guest`, as a JSON array.

    Args:
        table: the expression for the oid of the table.
    """
    return f"""(SELECT json_build_array({_stranger("c.relowner")}, {_stranger("n.nspowner")},
    CASE WHEN {_stranger("c.relowner")} IS NOT NULL
      THEN ARRAY(SELECT what FROM {_runs_sql(table)} runs) ELSE '{{}}' END)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {table})"""


def _stranger(owner: str) -> str:
    """Return the expression for the name of an owner; NULL for one that is ours."""
    return f"""CASE WHEN NOT ({_PLAINLY.format(owner)}
      OR {owner} = (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database())
      OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = {owner} AND r.rolsuper))
    THEN pg_get_userbyid({owner})::text END"""


def _runs_sql(table: str) -> str:
    """Return the query for what would run code when somebody writes into a table, in words.

    Args:
        table: the expression for the oid of the table.
    """
    return f"""(
SELECT 'the trigger ' || quote_ident(tgname) AS what FROM pg_trigger
WHERE tgrelid = {table} AND NOT tgisinternal
UNION ALL SELECT 'the rule ' || quote_ident(rulename) FROM pg_rewrite WHERE ev_class = {table}
UNION ALL SELECT 'the policy ' || quote_ident(polname) FROM pg_policy WHERE polrelid = {table}
UNION ALL SELECT 'the constraint ' || quote_ident(conname) FROM pg_constraint
WHERE {table} IN (conrelid, confrelid) AND contype NOT IN ('p', 'u', 'n')
UNION ALL SELECT 'the default of ' || quote_ident(a.attname)
FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE d.adrelid = {table} AND pg_get_expr(d.adbin, d.adrelid) NOT IN {_OWN_DEFAULTS}
UNION ALL SELECT 'the index ' || quote_ident(c.relname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = {table} AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
UNION ALL SELECT 'the type of ' || quote_ident(a.attname)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = {table} AND NOT a.attisdropped AND t.typnamespace <> 'pg_catalog'::regnamespace
UNION ALL SELECT 'the table ' || inhrelid::regclass::text FROM pg_inherits WHERE inhparent = {table}
ORDER BY what)"""


def require(session: Session, table: Table) -> None:
    """Refuse to write into a table in which code of another role would run.

    Raises:
        ProblemsFound: the table is such a one.
    """
    oid = f"to_regclass({literal(table.quoted)})"
    [(found,)] = session.query(f"SELECT {guest_sql(oid)}")
    if found and (refusal := problem(table, Guest(*found))):
        raise ProblemsFound([refusal])


def guard_sql(tables: Sequence[Table]) -> str:
    """Return the SQL that a transaction begins with before it writes into tables of other roles.

    It locks each table, so that nothing can be added to it until the end of the transaction, and
    fails with the SQLSTATE `RUNS_CODE` when it has something that runs code. It is run on the safe
    path.

    Args:
        tables: the tables; the SQL is empty when there are none.
    """
    return "".join(
        f"""LOCK TABLE {table.quoted} IN ROW EXCLUSIVE MODE;
DO $migrator$ BEGIN
  IF (SELECT {_stranger("c.relowner")} FROM pg_class c WHERE c.oid = {_oid(table)}) IS NOT NULL
    AND EXISTS {_runs_sql(_oid(table))}
  THEN
    RAISE EXCEPTION '{table} is not what it was: now it would run code of its owner'
      USING ERRCODE = '{RUNS_CODE}', HINT = 'Look at who changes it while the migrator runs.';
  END IF;
END $migrator$;
"""
        for table in tables
    )


def _oid(table: Table) -> str:
    return f"{literal(table.quoted)}::regclass"


def problem(table: Table, guest: Guest) -> Problem | None:
    """Return why we do not write into a table of another role; None when nothing speaks against it.

    Args:
        table: the history table or the progress table.
        guest: what was found of it.
    """
    if not guest.runs:
        return None
    things = ", ".join(guest.runs)
    return Problem(
        str(table),
        f"belongs to the role {guest.owner}, and has {things}, by which code of that role would "
        "run with our rights",
        "Find out who made the table. If it is your history, drop what it has, or give the table "
        f"to the role of the migrator: ALTER TABLE {table.quoted} OWNER TO …; if it is not, drop "
        "the table, or name another one in MIGRATOR_TABLE.",
    )
