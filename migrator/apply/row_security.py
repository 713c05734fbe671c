"""Sees that row security hides rows from a statement of a file, and says how to reach them.

Row security is silent: a statement does not see the rows that no policy shows to the role, and
succeeds. INSERT and COPY FROM are no exception for what they read; for what they write the server
reports an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.log import get_logger
from migrator.server.session import sendable
from migrator.watch import impact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from migrator.files.migration import Migration
    from migrator.files.relations import Name
    from migrator.server.session import Session

log = get_logger()

# After these, the same relations hide the same rows as before.
_CHANGES_ROWS = re.compile(r"(?:INSERT|UPDATE|DELETE|MERGE|WITH|COPY)\b", re.IGNORECASE)
# A view shows the rows of its relations as its owner sees them, unless it has `security_invoker`
# (PostgreSQL documentation, "CREATE VIEW"). Row security does not apply to a superuser, to a role
# with BYPASSRLS, nor to the owner, unless the table has FORCE ("Row Security Policies"). The server
# has `row_security_active` for the current role only. This is asked on the path of a file, and must
# never fail, because that would end the transaction of the file.
_HIDDEN_SQL = f"""
WITH RECURSIVE reached (relation, role) AS (
  SELECT c.oid, r.oid
  FROM ROWS FROM (
    pg_catalog.unnest(%(schemas)s::pg_catalog.name[]),
    pg_catalog.unnest(%(names)s::pg_catalog.name[])) AS given (schema, relation)
  JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) given.relation
  JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) CURRENT_USER
  WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v']::pg_catalog."char"[])
    AND (given.schema OPERATOR(pg_catalog.=) n.nspname
      OR given.schema IS NULL AND pg_catalog.pg_table_is_visible(c.oid))
    AND pg_catalog.current_setting('row_security') OPERATOR(pg_catalog.=) 'on'
    AND (NOT %(locked)s OR EXISTS (SELECT FROM {impact.OWN_LOCKS}
      AND l.relation OPERATOR(pg_catalog.=) c.oid))
  UNION
  SELECT d.refobjid, CASE WHEN EXISTS (
      SELECT FROM pg_catalog.pg_options_to_table(v.reloptions) o
      WHERE CASE WHEN o.option_name OPERATOR(pg_catalog.=) 'security_invoker'
        THEN o.option_value::pg_catalog.bool END) THEN reached.role ELSE v.relowner END
  FROM reached
  JOIN pg_catalog.pg_class v ON v.oid OPERATOR(pg_catalog.=) reached.relation
    AND v.relkind OPERATOR(pg_catalog.=) 'v'
  JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) v.oid
    AND w.ev_type OPERATOR(pg_catalog.=) '1'
  JOIN pg_catalog.pg_depend d ON d.objid OPERATOR(pg_catalog.=) w.oid
    AND d.classid OPERATOR(pg_catalog.=)
      'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid
    AND d.refclassid OPERATOR(pg_catalog.=)
      'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
    AND d.refobjid OPERATOR(pg_catalog.<>) v.oid)
SELECT {sendable("pg_catalog.quote_ident(n.nspname::pg_catalog.text)")},
  {sendable("pg_catalog.quote_ident(t.relname::pg_catalog.text)")},
  {sendable("pg_catalog.quote_ident(r.rolname::pg_catalog.text)")},
  r.rolname OPERATOR(pg_catalog.=) CURRENT_USER,
  {sendable("pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(t.relowner)::pg_catalog.text)")},
  pg_catalog.pg_has_role(r.oid, t.relowner, 'USAGE'), t.relforcerowsecurity
FROM reached
JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) reached.relation
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.relnamespace
JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) reached.role
WHERE t.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
  AND (t.relforcerowsecurity OR NOT pg_catalog.pg_has_role(r.oid, t.relowner, 'USAGE'))
ORDER BY 1, 2, 4 DESC"""
_REFUSES = (
    "SET row_security = off at the top of a file makes the server refuse such a statement instead."
)
_STAYS = "An applied file is not edited: put what is missing into a new one."


@dataclass(frozen=True, slots=True)
class RowSecurity:
    """A table of which a statement sees only the rows that its policies show.

    Attributes:
        relation: the table, with its schema unless that is `public`.
        role: the role to which the policies show rows: the current one, or the owner of a view.
        consequence: what that does to the statement, in words.
        instead: how to reach every row, in words.
    """

    relation: str
    role: str
    consequence: str
    instead: str


class FileSecurity:
    """Looks for row security after the statements of a file, in one try of the file."""

    def __init__(
        self,
        migration: Migration,
        told: set[tuple[str, str]],
        tell: Callable[[Migration, int, RowSecurity], None],
    ) -> None:
        """Begin a try of a file.

        Args:
            migration: the file.
            told: the files and tables that were told of before; new ones are added.
            tell: receives each table whose row security applies, once, with the file and the number
                of the first statement that it applies to, from 0.
        """
        self._migration = migration
        self._told = told
        self._tell = tell
        self._asked: set[Name] = set()
        self._next = 0  # the first statement of which it is not known whether it changes only rows

    def look(
        self, session: Session, index: int, names: Iterable[Name], done: str = "statement"
    ) -> None:
        """Tell of the tables of which a statement sees only a part.

        The server is not asked again about a name until a statement has run that may have changed
        the role, a policy or the path.

        Args:
            session: as the statement has left it.
            index: the statement, from 0.
            names: the relations whose rows it looks at.
            done: what it did, such as `UPDATE changed 0 rows`, where that is known.

        Raises:
            ServerError: the query failed, for example by a timeout that the file has set.
        """
        script, statements = self._migration.script, self._migration.statements
        for earlier in statements[self._next : index]:
            if not _CHANGES_ROWS.match(script.source, earlier.start, earlier.end):
                self._asked.clear()
        self._next = index
        if session.is_superuser:  # the server tells us of each change
            return
        new = [name for name in names if name not in self._asked]
        self._asked.update(new)
        for found in _find(session, new, done):
            key = (self._migration.file, found.relation)
            if key not in self._told:
                self._told.add(key)
                self._tell(self._migration, index, found)


def log_row_security(migration: Migration, index: int, found: RowSecurity) -> None:
    """Log that row security applies to a statement of a file that is being applied.

    Args:
        migration: the file.
        index: the statement, from 0.
        found: the table.
    """
    log.warning(
        "row security applies",
        **migration.number,
        file=migration.file,
        line=migration.place(migration.statements[index].start)[0],
        relation=found.relation,
        role=found.role,
        consequence=found.consequence,
        instead=f"{found.instead} {_STAYS}",
    )


class _Hidden(NamedTuple):
    """A table of which a role sees only a part; names are as SQL has them.

    Attributes:
        schema: the schema of the table.
        name: its name.
        role: the role.
        is_current: whether that is the current role.
        owner: the owner of the table.
        owns: whether the role has the rights of the owner.
        forced: whether row security applies to the owner, too.
    """

    schema: str
    name: str
    role: str
    is_current: bool
    owner: str
    owns: bool
    forced: bool


def _find(session: Session, names: Sequence[Name], done: str) -> list[RowSecurity]:
    if not session.reads_utf8:
        names = [name for name in names if f"{name.schema}{name.relation}".isascii()]
    if not names:
        return []
    arguments = {
        "schemas": [name.schema for name in names],
        "names": [name.relation for name in names],
        # The statement has locked what it has used, if its transaction is still open.
        "locked": session.in_transaction,
    }
    rows = session.query_names(_HIDDEN_SQL, arguments)
    return [_in_words(_Hidden(*row), done) for row in rows]


def _in_words(hidden: _Hidden, done: str) -> RowSecurity:
    schema, name, role, is_current, owner, owns, forced = hidden
    relation = name if schema == "public" else f"{schema}.{name}"
    bypass = "as a role that has BYPASSRLS"
    if not is_current:
        instead = f"name {relation} itself and not a view on it, which shows the rows as {role}"
    elif not forced:
        as_owner = f"as {owner}, which owns the table (SET ROLE {owner})"
        instead = f"let the statement run {as_owner}, or {bypass}"
    elif owns:
        instead = (
            f"let the statement run {bypass}; or, in a file that is one transaction, put ALTER "
            f"TABLE {relation} NO FORCE ROW LEVEL SECURITY before it and ALTER TABLE {relation} "
            "FORCE ROW LEVEL SECURITY after it"
        )
    else:
        instead = f"let the statement run {bypass}"
    return RowSecurity(
        relation,
        role,
        f"the {done}{'' if done == 'statement' else ': it'} sees only the rows of {relation} that "
        f"the policies show to {role}, and no other row",
        f"To reach every row, {instead}. {_REFUSES}",
    )
