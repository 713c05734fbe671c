"""Lists the SQL queries that a snapshot is read with; `snapshot` runs them.

Each query reads the system catalogs with the server's own `pg_get_…def` functions (PostgreSQL
documentation, "System Catalog Information Functions"). A row of the result is one object: the three
columns of `Address`, then the five of `Item`, or six. Of these, `parts` is a JSON object that has
no entry for a part that the object does not have.

A query leaves out the objects that do not count as a difference; `difference` lists the rules. The
modules of `catalog` have the queries, each for the kinds of objects that its first line names.
"""

from __future__ import annotations

from migrator.schema.catalog.constraints import CONSTRAINTS
from migrator.schema.catalog.data_types import DOMAIN_CONSTRAINTS, TYPES
from migrator.schema.catalog.foreign import SERVERS, USER_MAPPINGS, WRAPPERS
from migrator.schema.catalog.indexes import INDEXES, STATISTICS
from migrator.schema.catalog.languages import ACCESS_METHODS, LANGUAGES, TRANSFORMS
from migrator.schema.catalog.operators import (
    CASTS,
    OPERATOR_CLASSES,
    OPERATOR_FAMILIES,
    OPERATORS,
)
from migrator.schema.catalog.relations import COLUMNS, RELATIONS, VIEW_COLUMNS
from migrator.schema.catalog.replication import publications, subscriptions
from migrator.schema.catalog.routines import ROUTINES
from migrator.schema.catalog.schemas import EXTENSIONS, SCHEMAS
from migrator.schema.catalog.sequences import SEQUENCES
from migrator.schema.catalog.text import (
    COLLATIONS,
    CONFIGURATIONS,
    CONVERSIONS,
    DICTIONARIES,
    PARSERS,
    TEMPLATES,
)
from migrator.schema.catalog.triggers import EVENT_TRIGGERS, POLICIES, RULES, TRIGGERS

# When one side lacks a whole table, a difference shows the statements of the table in this order.
QUERIES = (
    EXTENSIONS,
    SCHEMAS,
    TYPES,
    DOMAIN_CONSTRAINTS,
    RELATIONS,
    COLUMNS,
    VIEW_COLUMNS,
    SEQUENCES,
    *CONSTRAINTS,
    INDEXES,
    STATISTICS,
    ROUTINES,
    TRIGGERS,
    RULES,
    POLICIES,
    EVENT_TRIGGERS,
    COLLATIONS,
    CONVERSIONS,
    PARSERS,
    TEMPLATES,
    DICTIONARIES,
    CONFIGURATIONS,
    OPERATORS,
    OPERATOR_FAMILIES,
    OPERATOR_CLASSES,
    CASTS,
    LANGUAGES,
    TRANSFORMS,
    ACCESS_METHODS,
    WRAPPERS,
    SERVERS,
    USER_MAPPINGS,
)


def queries(server_version: int, *, subscriptions_readable: bool) -> tuple[str, ...]:
    """Return all queries for a server.

    Args:
        server_version: as libpq gives it: 150018 is 15.18.
        subscriptions_readable: whether our role may read the addresses of subscriptions.
    """
    return (
        *QUERIES,
        publications(server_version),
        subscriptions(server_version, readable=subscriptions_readable),
    )
