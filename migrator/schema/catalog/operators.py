"""Reads operators, operator classes and families, and casts."""

from __future__ import annotations

from migrator.schema.catalog.fragments import rare

OPERATORS = rare(
    "pg_operator",
    """json_build_object('definition', format('(FUNCTION = %s, LEFTARG = %s, RIGHTARG = %s,'
    ' COMMUTATOR = %s, NEGATOR = %s, RESTRICT = %s, JOIN = %s, HASHES = %s, MERGES = %s)',
    o.oprcode, format_type(nullif(o.oprleft, 0), NULL), format_type(nullif(o.oprright, 0), NULL),
    nullif(o.oprcom, 0)::regoperator, nullif(o.oprnegate, 0)::regoperator, o.oprrest, o.oprjoin,
    o.oprcanhash, o.oprcanmerge))""",
)


def _members(belongs: str) -> str:
    """Return the SQL for the operators and functions of a family, in a fixed order.

    Args:
        belongs: the condition that a member belongs here; `m` is the member in pg_depend's words.
    """
    return f"""(SELECT E'\\nAS\\n    ' || string_agg(m.text, E',\\n    ' ORDER BY m.text) FROM (
      SELECT 'pg_amop'::regclass AS catalog, a.oid, a.amopfamily AS family,
        format('OPERATOR %s %s', a.amopstrategy, a.amopopr::regoperator)
          || CASE WHEN a.amopsortfamily = 0 THEN '' ELSE (SELECT ' FOR ORDER BY '
            || s.nspname || '.' || f.opfname FROM pg_opfamily f
            JOIN pg_namespace s ON s.oid = f.opfnamespace WHERE f.oid = a.amopsortfamily) END
          AS text
      FROM pg_amop a
      UNION ALL
      SELECT 'pg_amproc'::regclass, a.oid, a.amprocfamily, format('FUNCTION %s (%s, %s) %s',
        a.amprocnum, format_type(a.amproclefttype, NULL), format_type(a.amprocrighttype, NULL),
        a.amproc::regprocedure)
      FROM pg_amproc a) m
    WHERE {belongs})"""


_OF_CLASS = """EXISTS (SELECT FROM pg_depend d WHERE d.classid = m.catalog AND d.objid = m.oid
      AND d.refclassid = 'pg_opclass'::regclass"""
OPERATOR_FAMILIES = rare(
    "pg_opfamily",
    f"""json_build_object('members', {_members(f"m.family = o.oid AND NOT {_OF_CLASS})")})""",
)
OPERATOR_CLASSES = rare(
    "pg_opclass",
    f"""json_build_object(
    'default', CASE WHEN o.opcdefault THEN 'DEFAULT' END,
    'type', 'FOR TYPE ' || format_type(o.opcintype, NULL),
    'family', (SELECT 'FAMILY ' || quote_ident(s.nspname) || '.' || quote_ident(f.opfname)
      FROM pg_opfamily f JOIN pg_namespace s ON s.oid = f.opfnamespace WHERE f.oid = o.opcfamily),
    'storage', 'STORAGE ' || format_type(nullif(o.opckeytype, 0), NULL),
    'members', {_members(f"m.family = o.opcfamily AND {_OF_CLASS} AND d.refobjid = o.oid)")})""",
)
CASTS = rare(
    "pg_cast",
    """json_build_object(
    'method', CASE o.castmethod WHEN 'i' THEN 'WITH INOUT' WHEN 'b' THEN 'WITHOUT FUNCTION'
      ELSE 'WITH FUNCTION ' || o.castfunc::regprocedure END,
    'context', CASE o.castcontext WHEN 'a' THEN 'AS ASSIGNMENT' WHEN 'i' THEN 'AS IMPLICIT' END)""",
)
