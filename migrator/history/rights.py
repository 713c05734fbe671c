"""Who may change the tables of ours: nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.names import literal

if TYPE_CHECKING:
    from migrator.process.names import Table


def read_only_sql(table: Table) -> str:
    """Return the SQL that takes every right but SELECT on a table of ours away from other roles.

    An application's role may have been granted INSERT and more on all tables to come (ALTER DEFAULT
    PRIVILEGES), and a role that writes into these tables decides which migrations run.
    """
    return f"""
DO $migrator$ DECLARE other record; BEGIN
  FOR other IN
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS name,
      bool_or(a.privilege_type = 'SELECT') AS reads
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
    WHERE c.oid = {literal(table.quoted)}::regclass AND a.grantee <> c.relowner
    GROUP BY a.grantee
  LOOP
    EXECUTE 'REVOKE ALL ON {table.quoted} FROM ' || other.name;
    IF other.reads THEN
      EXECUTE 'GRANT SELECT ON {table.quoted} TO ' || other.name;
    END IF;
  END LOOP;
END $migrator$"""
