"""SQL that takes the right to change the migrator's own tables away from all other roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.names import literal

if TYPE_CHECKING:
    from migrator.process.names import Table


def read_only_sql(table: Table) -> str:
    """Return the SQL that takes every right except SELECT on a table away from other roles.

    The role of an application may have been granted INSERT and more on all future tables (ALTER
    DEFAULT PRIVILEGES). A role that can write into the migrator's tables decides which migrations
    run.

    Args:
        table: the history table or the progress table.
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
