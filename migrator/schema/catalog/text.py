"""Reads collations, conversions, and what text search is configured with."""

from __future__ import annotations

from migrator.schema.catalog.fragments import rare

# The catalog has other columns in each version. The version of the library's collation is not
# compared: it is that of the operating system on which the collation was made.
COLLATIONS = rare(
    "pg_collation",
    """json_build_object('definition', (
    SELECT format('(PROVIDER = %s, LOCALE = %L, LC_COLLATE = %L, LC_CTYPE = %L, DETERMINISTIC = %s,'
      ' RULES = %L)',
      CASE o.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
      coalesce(c ->> 'colllocale', c ->> 'colliculocale'), o.collcollate, o.collctype,
      o.collisdeterministic, c ->> 'collicurules')
    FROM to_jsonb(o) c))""",
)
CONVERSIONS = rare(
    "pg_conversion",
    """json_build_object(
    'default', CASE WHEN o.condefault THEN 'DEFAULT' END,
    'definition', format('FOR %L TO %L FROM %s', pg_encoding_to_char(o.conforencoding),
      pg_encoding_to_char(o.contoencoding), o.conproc))""",
)
_NAMES = {"pg_ts_template": "tmpl", "pg_ts_parser": "prs", "pg_ts_dict": "dict"}


def _name(catalog: str, oid: str) -> str:
    """Return the SQL for the name of a template, a parser or a dictionary, with its schema."""
    prefix = _NAMES[catalog]
    return (
        f"(SELECT quote_ident(s.nspname) || '.' || quote_ident(x.{prefix}name) FROM {catalog} x"
        f" JOIN pg_namespace s ON s.oid = x.{prefix}namespace WHERE x.oid = {oid})"
    )


DICTIONARIES = rare(
    "pg_ts_dict",
    f"""json_build_object('definition', '(TEMPLATE = '
      || concat_ws(', ', {_name("pg_ts_template", "o.dicttemplate")}, o.dictinitoption) || ')')""",
)
PARSERS = rare(
    "pg_ts_parser",
    """json_build_object('definition', format('(START = %s, GETTOKEN = %s, END = %s, LEXTYPES = %s,'
    ' HEADLINE = %s)', o.prsstart, o.prstoken, o.prsend, o.prslextype, o.prsheadline))""",
)
TEMPLATES = rare(
    "pg_ts_template",
    "json_build_object('definition', format('(INIT = %s, LEXIZE = %s)', o.tmplinit, o.tmpllexize))",
)
# The order of the dictionaries of a token counts, because each is asked after the one before.
CONFIGURATIONS = rare(
    "pg_ts_config",
    f"""json_build_object(
    'parser', '(PARSER = ' || {_name("pg_ts_parser", "o.cfgparser")} || ')',
    'mappings', (SELECT string_agg(line, E';\\n' ORDER BY line) FROM (
      SELECT 'ALTER TEXT SEARCH CONFIGURATION ' || i.identity || ' ADD MAPPING FOR '
        || quote_ident(t.alias) || ' WITH '
        || string_agg({_name("pg_ts_dict", "m.mapdict")}, ', ' ORDER BY m.mapseqno) AS line
      FROM pg_ts_config_map m JOIN ts_token_type(o.cfgparser) t ON t.tokid = m.maptokentype
      WHERE m.mapcfg = o.oid GROUP BY t.alias) l))""",
)
