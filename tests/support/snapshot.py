"""What a database holds, so that a test can tell whether anything has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.database import Database

# Rows of the system catalogs as they are, xmin included: an object that was dropped and made again
# differs too. Of pg_class only what VACUUM and ANALYZE leave alone.
_WHOLE = (
    "pg_attrdef",
    "pg_attribute",
    "pg_constraint",
    "pg_enum",
    "pg_extension",
    "pg_namespace",
    "pg_proc",
    "pg_trigger",
    "pg_type",
)
_CATALOGS = {
    "pg_class": "(oid, relname, relnamespace, relkind, relowner, relfilenode, relacl)",
    **dict.fromkeys(_WHOLE, "(c.xmin, c.*)"),
}
_STATE = " UNION ALL ".join(
    f"SELECT '{name}', count(*), md5(string_agg({row}::text, '' ORDER BY {row}::text))"
    f" FROM pg_catalog.{name} c"
    for name, row in _CATALOGS.items()
)
_TABLES = (
    "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
    " AND n.nspname !~ '^pg_toast' ORDER BY 1"
)


def snapshot(database: Database) -> dict[str, Any]:
    """Return what is in the catalogs and in every table; equal when nothing has changed."""
    state: dict[str, Any] = {name: rest for name, *rest in database.execute(_STATE)}
    for (table,) in database.execute(_TABLES):
        state[table] = database.execute(f"SELECT t.xmin::text, t.* FROM {table} t ORDER BY t::text")
    return state
