"""Lists the SQL queries that a snapshot is read with; `snapshot` runs them.

Each query reads the system catalogs with the server's own `pg_get_…def` functions (PostgreSQL
documentation, "System Catalog Information Functions"). A row of the result is one object: the three
columns of `Address`, then the five of `Item`. The last one, `parts`, is a JSON object that has no
entry for a part that the object does not have.

A query leaves out the objects that do not count as a difference; `difference` lists the rules. The
modules of `catalog` have the queries, each for the kinds of objects that its first line names.
"""

from __future__ import annotations

from migrator.schema.catalog.constraints import CONSTRAINTS
from migrator.schema.catalog.data_types import DOMAIN_CONSTRAINTS, TYPES
from migrator.schema.catalog.indexes import INDEXES, STATISTICS
from migrator.schema.catalog.others import others
from migrator.schema.catalog.relations import COLUMNS, RELATIONS
from migrator.schema.catalog.routines import ROUTINES
from migrator.schema.catalog.schemas import EXTENSIONS, SCHEMAS
from migrator.schema.catalog.sequences import SEQUENCES
from migrator.schema.catalog.triggers import EVENT_TRIGGERS, POLICIES, RULES, TRIGGERS

# When one side lacks a whole table, a difference shows the statements of the table in this order.
QUERIES = (
    EXTENSIONS,
    SCHEMAS,
    TYPES,
    DOMAIN_CONSTRAINTS,
    RELATIONS,
    COLUMNS,
    SEQUENCES,
    CONSTRAINTS,
    INDEXES,
    STATISTICS,
    ROUTINES,
    TRIGGERS,
    RULES,
    POLICIES,
    EVENT_TRIGGERS,
    others(),
)
