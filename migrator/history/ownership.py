"""Who owns the migrator's tables, and what of other roles would run when we write into them.

A trigger, a rule or a default of a table runs its functions with the rights of whoever writes. So a
role that made the history table before us, or owns it, or may create triggers on it, could have its
code run with our rights. A role is one of ours when it can have these rights anyway: our own role,
the owner of the database, or a superuser. Where another role has a hand in a table, we write into
the table only while nothing in it runs code of that role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.process.errors import Problem, ProblemsFound
from migrator.process.names import literal, raised
from migrator.server.sqlstate import RUNS_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.process.names import Table
    from migrator.server.session import Session

# What a table of the migrator may have as a default: that of `applied_at`.
_OWN_DEFAULTS = "('CURRENT_TIMESTAMP', 'now()')"
# Our role, the owner of the database and the first superuser, whose oid is 10, are known without a
# look at the roles, which most runs need not take.
_PLAINLY = "(pg_get_userbyid({0}) IN (current_user, session_user, 'pg_database_owner') OR {0} = 10)"


class Guest(NamedTuple):
    """A table of the migrator in which another role has a hand.

    Attributes:
        owner: the role that owns the table; None when that is one of ours.
        landlord: the role that owns the schema of the table; None when that is one of ours.
        trigger_maker: a role that may create triggers on the table; None when all are ours.
        runs: what the table has that runs code of another role, each in words.
    """

    owner: str | None
    landlord: str | None
    trigger_maker: str | None
    runs: Sequence[str]


def plainly_ours_sql(table: str) -> str:
    """Return the condition that no other role has a hand in a table.

    The condition is quick to find out. When it is false, only `guest_sql` tells.

    Args:
        table: the name of a row of pg_class.
    """
    schema = f"(SELECT n.nspowner FROM pg_namespace n WHERE n.oid = {table}.relnamespace)"
    return (
        f"NOT {table}.relhastriggers"
        f" AND {_PLAINLY.format(f'{table}.relowner')} AND {_PLAINLY.format(schema)}"
        f" AND NOT EXISTS (SELECT FROM aclexplode({table}.relacl) a"
        f" WHERE a.privilege_type = 'TRIGGER' AND a.grantee <> {table}.relowner)"
    )


def guest_sql(table: str) -> str:
    """Return the expression for the values of a `Guest`, as a JSON array.

    Args:
        table: the expression for the oid of the table.
    """
    return f"""(SELECT json_build_array({_stranger("c.relowner")}, {_stranger("n.nspowner")},
    (SELECT min(coalesce({_stranger("a.grantee")}, 'PUBLIC')) FROM aclexplode(c.relacl) a
      WHERE a.privilege_type = 'TRIGGER'
      AND (a.grantee = 0 OR {_stranger("a.grantee")} IS NOT NULL)),
    ARRAY(SELECT what FROM {_runs_sql(table)} runs))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {table})"""


def _stranger(role: str) -> str:
    """Return the expression for the name of a role; NULL for one that is ours."""
    return f"""CASE WHEN NOT ({_PLAINLY.format(role)}
      OR {role} = (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database())
      OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = {role} AND r.rolsuper))
    THEN pg_get_userbyid({role})::text END"""


def _runs_sql(table: str) -> str:
    """Return the query for what would run code of others when we write into a table, in words.

    Of a table of ours that is only a trigger, because only its owner can give it anything else.

    Args:
        table: the expression for the oid of the table.
    """
    return f"""(
SELECT 'the trigger ' || quote_ident(g.tgname) AS what
FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_class c ON c.oid = g.tgrelid
WHERE g.tgrelid = {table} AND NOT g.tgisinternal
  AND ({_stranger("c.relowner")} IS NOT NULL OR {_stranger("p.proowner")} IS NOT NULL)
UNION ALL SELECT what FROM (
  SELECT 'the rule ' || quote_ident(rulename) AS what FROM pg_rewrite WHERE ev_class = {table}
  UNION ALL SELECT 'the policy ' || quote_ident(polname) FROM pg_policy WHERE polrelid = {table}
  UNION ALL SELECT 'the constraint ' || quote_ident(conname) FROM pg_constraint
  WHERE {table} IN (conrelid, confrelid) AND contype NOT IN ('p', 'u', 'n')
  UNION ALL SELECT 'the default of ' || quote_ident(a.attname)
  FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  WHERE d.adrelid = {table} AND pg_get_expr(d.adbin, d.adrelid) NOT IN {_OWN_DEFAULTS}
  UNION ALL SELECT 'the index ' || quote_ident(x.relname)
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
  WHERE i.indrelid = {table} AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
  UNION ALL SELECT 'the type of ' || quote_ident(a.attname)
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  WHERE a.attrelid = {table} AND t.typnamespace <> 'pg_catalog'::regnamespace
  UNION ALL SELECT 'the table ' || inhrelid::regclass::text FROM pg_inherits
  WHERE inhparent = {table}) everything, pg_class c
WHERE c.oid = {table} AND {_stranger("c.relowner")} IS NOT NULL
ORDER BY what)"""


def refuse(session: Session) -> None:
    """Refuse to write when the last look at the tables has found code of another role in them.

    Raises:
        ProblemsFound: it has.
    """
    if session.refusals:
        raise ProblemsFound(session.refusals)


def look_again(session: Session, table: Table) -> None:
    """Refuse to write into a table that may be newer than the last look at the tables.

    Raises:
        ProblemsFound: code of another role would run.
    """
    oid = f"to_regclass({literal(table.quoted)})"
    [(found,)] = session.query(f"SELECT {guest_sql(oid)}")
    if not found or not any(found):
        return
    session.refusals = problems({table: Guest(*found)})
    refuse(session)
    guard = guard_sql([table])
    if guard not in session.guard:
        session.guard += guard


def guard_sql(tables: Sequence[Table]) -> str:
    """Return the SQL that a transaction begins with before it writes into tables of other roles.

    It locks each table, so that nothing can be added to it until the end of the transaction, and
    fails with the SQLSTATE `RUNS_CODE` when something in it runs code of another role. It needs the
    safe path.

    Args:
        tables: the tables; the SQL is empty when there are none.
    """
    return "".join(
        f"""LOCK TABLE {table.quoted} IN ROW EXCLUSIVE MODE;
DO $migrator$ BEGIN
  IF EXISTS {_runs_sql(f"{literal(table.quoted)}::regclass")} THEN
    RAISE EXCEPTION {raised(f"{table} is not what it was: now it could run code of another role")}
      USING ERRCODE = '{RUNS_CODE}', HINT = 'Run the migrator again: it names what was added, if'
        ' that is still there. Find out who added it.';
  END IF;
END $migrator$;
"""
        for table in tables
    )


def problems(guests: Mapping[Table, Guest]) -> tuple[Problem, ...]:
    """Return why we must not write into some tables: code of other roles would run.

    Args:
        guests: the tables in which other roles have a hand.
    """
    return tuple(_problem(table, guest) for table, guest in guests.items() if guest.runs)


def _problem(table: Table, guest: Guest) -> Problem:
    owner = f"belongs to the role {guest.owner}, and " if guest.owner else ""
    things = ", ".join(guest.runs)
    return Problem(
        str(table),
        f"{owner}has {things}: code of another role could run with our rights",
        f"Find out who made this. If the table is your history, drop or change {things}; if it is "
        "not, drop the table, or name another one in MIGRATOR_TABLE.",
    )
