"""Counts what a database has that a comparison with the files does not look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.process.names import literal
from migrator.schema.grant_queries import DEFAULT_PRIVILEGES, OWNERS, PRIVILEGES, filled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.process.names import Table
    from migrator.server.session import Session


class Uncompared(NamedTuple):
    """How many there are in the database of what was not compared.

    Attributes:
        grants: privileges on objects, and default privileges, that a role has, or has lost, other
            than PostgreSQL gives them by itself; 0 where they were compared.
        owners: objects that belong to another role than the one that applies the migrations; 0
            where they were compared.
        database_grants: as `grants`, on the database itself.
        extension_versions: extensions other than those of initdb; each has a version.
        tablespaces: tables, indexes and materialized views in another tablespace than the
            database's.
        settings: settings of the database, for all roles or for one (ALTER DATABASE … SET, ALTER
            ROLE … IN DATABASE … SET).
        unreadable: what our role may not read, such as the options of a user mapping.
    """

    grants: int
    owners: int
    database_grants: int
    extension_versions: int
    tablespaces: int
    settings: int
    unreadable: int


NOTHING = Uncompared(0, 0, 0, 0, 0, 0, 0)
_HERE = "(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
_OWNERS = f"""SELECT count(*) FROM ({OWNERS}) o WHERE o.role <> quote_ident({{migrating}})
  AND o.within[1] <> ALL ({{apart}}::text[])
  AND (o.object, o.role) <> ('SCHEMA public', 'pg_database_owner')"""
_GRANTS = (
    f"SELECT (SELECT coalesce(sum(p.entries), 0) FROM ({PRIVILEGES}) p"
    " WHERE p.within[1] <> ALL ({apart}::text[]))"
    f" + (SELECT coalesce(sum(p.entries), 0) FROM ({DEFAULT_PRIVILEGES}) p)"
)
_DATABASE_GRANTS = """SELECT count(*) FROM pg_database d
CROSS JOIN LATERAL (
  (SELECT grantee, privilege_type, bool_or(is_grantable) FROM aclexplode(d.datacl) GROUP BY 1, 2
  EXCEPT SELECT grantee, privilege_type, is_grantable FROM aclexplode(acldefault('d', d.datdba)))
  UNION (SELECT grantee, privilege_type, is_grantable FROM aclexplode(acldefault('d', d.datdba))
  EXCEPT SELECT grantee, privilege_type, bool_or(is_grantable) FROM aclexplode(d.datacl)
    GROUP BY 1, 2)) x
WHERE d.datname = current_database() AND d.datacl IS NOT NULL"""
_COUNTS = f"""
SELECT ({_GRANTS})::int, ({_OWNERS})::int, ({_DATABASE_GRANTS})::int,
  (SELECT count(*) FROM pg_extension WHERE oid >= 16384)::int,
  (SELECT count(*) FROM pg_class WHERE reltablespace <> 0 AND oid >= 16384
    AND relkind IN ('r', 'p', 'i', 'I', 'm') AND relpersistence <> 't'
    AND relnamespace <> 'pg_toast'::regnamespace)::int,
  (SELECT count(*) FROM pg_db_role_setting s, unnest(s.setconfig)
    WHERE s.setdatabase = {_HERE})::int
"""


def count_uncompared(
    session: Session,
    left_out: Iterable[Table],
    migrating: str,
    apart: Iterable[str] = (),
    *,
    grants: bool,
    unreadable: int = 0,
) -> Uncompared:
    """Count, in one message, what is in a database and was not compared.

    Args:
        session: connected to the target, outside a transaction.
        left_out: tables that are not looked at.
        migrating: the role that applies the migrations.
        apart: the keys of items in a snapshot whose owners and privileges are never compared.
        grants: whether owners and privileges were compared.
        unreadable: how much of the snapshot our role could not read.

    Raises:
        ServerError: the server reported an error.
    """
    keys = ", ".join(map(literal, apart))
    query = filled(_COUNTS, left_out, None)
    query = query.replace("{migrating}", literal(migrating)).replace("{apart}", f"ARRAY[{keys}]")
    with session.at_length():
        [counts] = session.query(query)
    uncompared = Uncompared._make([*counts, unreadable])
    return uncompared._replace(grants=0, owners=0) if grants else uncompared
