"""Reads publications and subscriptions."""

from __future__ import annotations

from migrator.schema.catalog.fragments import UNREADABLE, hidden, rare

# The columns and the condition of a table, and whole schemas, can be named since PostgreSQL 15.
_SINCE_FILTERS = 150000
_FILTERS = """
      || coalesce(' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname)
        FROM pg_attribute a WHERE a.attrelid = t.prrelid AND a.attnum = ANY (t.prattrs)) || ')', '')
      || coalesce(' WHERE (' || pg_get_expr(t.prqual, t.prrelid, true) || ')', '')"""
_SCHEMAS = """,
    'schemas', (SELECT string_agg('ALTER PUBLICATION ' || quote_ident(o.pubname)
        || ' ADD TABLES IN SCHEMA ' || quote_ident(s.nspname), E';\\n' ORDER BY s.nspname)
      FROM pg_publication_namespace t JOIN pg_namespace s ON s.oid = t.pnnspid
      WHERE t.pnpubid = o.oid)"""
# The options of CREATE SUBSCRIPTION, each with its column and the first version that has it.
_OPTIONS = {
    "binary": ("o.subbinary", 0),
    "streaming": ("o.substream", 0),
    "slot_name": ("quote_literal(o.subslotname)", 0),
    "synchronous_commit": ("o.subsynccommit", 0),
    "two_phase": ("o.subtwophasestate <> 'd'", 150000),
    "disable_on_error": ("o.subdisableonerr", 150000),
    "password_required": ("o.subpasswordrequired", 160000),
    "run_as_owner": ("o.subrunasowner", 160000),
    "origin": ("o.suborigin", 160000),
    "failover": ("o.subfailover", 170000),
}


def publications(server_version: int) -> str:
    """Return the query for publications.

    Args:
        server_version: as libpq gives it: 150018 is 15.18.
    """
    filters, schemas = (_FILTERS, _SCHEMAS) if server_version >= _SINCE_FILTERS else ("", "")
    return rare(
        "pg_publication",
        f"""json_build_object(
    'coverage', CASE WHEN o.puballtables THEN 'FOR ALL TABLES' END,
    'options', 'WITH (' || concat_ws(', ',
      'publish = ''' || concat_ws(', ', CASE WHEN o.pubinsert THEN 'insert' END,
        CASE WHEN o.pubupdate THEN 'update' END, CASE WHEN o.pubdelete THEN 'delete' END,
        CASE WHEN o.pubtruncate THEN 'truncate' END) || '''',
      CASE WHEN o.pubviaroot THEN 'publish_via_partition_root = true' END,
      -- PostgreSQL 18 has this column.
      CASE to_jsonb(o) ->> 'pubgencols' WHEN 's' THEN 'publish_generated_columns = stored' END)
      || ')',
    'tables', (SELECT string_agg('ALTER PUBLICATION ' || quote_ident(o.pubname) || ' ADD TABLE '
        || t.prrelid::regclass {filters}, E';\\n' ORDER BY t.prrelid::regclass::text)
      FROM pg_publication_rel t WHERE t.prpubid = o.oid){schemas})""",
    )


def subscriptions(server_version: int, *, readable: bool) -> str:
    """Return the query for the subscriptions of the database.

    The address of the publishing server may have a password, so only its digest is read. Whether a
    subscription is enabled is left to those who operate it.

    Args:
        server_version: as libpq gives it: 150018 is 15.18.
        readable: whether our role may read the address.
    """
    address = f"'CONNECTION ' || {hidden('o.subconninfo')}" if readable else f"'{UNREADABLE}'"
    options = " || ', ' || ".join(
        f"'{option} = ' || coalesce(({column})::text, 'NONE')"
        for option, (column, since) in _OPTIONS.items()
        if server_version >= since
    )
    return rare(
        "pg_subscription",
        f"""json_build_object(
    'address', {address},
    'publications', 'PUBLICATION ' || (SELECT string_agg(quote_ident(p), ', ' ORDER BY p)
      FROM unnest(o.subpublications) p),
    'options', 'WITH (' || {options} || ')')""",
        joins="JOIN pg_database b ON b.oid = o.subdbid AND b.datname = current_database()",
    )
