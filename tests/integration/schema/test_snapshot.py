"""A snapshot of a schema: the same for every way to it, another after every change."""

from __future__ import annotations

import random
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg2

from migrator.files import scanner
from migrator.process.names import Table
from migrator.process.settings import load_settings
from migrator.process.signals import Stop
from migrator.schema.difference import Difference, compare
from migrator.schema.snapshot import Snapshot, read_snapshot, take_snapshot
from migrator.server.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database

SCHEMAS = Path(__file__).parent / "schemas"
SEED = 20250131
CHANGES = 100


@contextmanager
def connected(target: Database) -> Iterator[Session]:
    with closing(psycopg2.connect(target.admin_url)) as connection:
        yield Session(connection, load_settings({}), Stop())


def build(target: Database, file: str) -> None:
    """Run a schema's statements, each in a transaction of its own."""
    script = scanner.read((SCHEMAS / file).read_text("utf-8"))
    with connected(target) as session:
        for statement in script.statements:
            session.execute(script.text(statement))


def snapshot(target: Database, *left_out: Table) -> Snapshot:
    with connected(target) as session:
        return take_snapshot(session, left_out)


def titles(found: tuple[Difference, ...]) -> list[str]:
    return [difference.title for difference in found]


def test_two_ways_to_one_schema(database: Database) -> None:
    build(database, "shop.sql")
    straight = snapshot(database)
    database.execute("DROP SCHEMA public, audit CASCADE; CREATE SCHEMA public")
    build(database, "shop_grown.sql")
    assert titles(compare(straight, snapshot(database))) == []
    assert len(straight) > 70


class Change(NamedTuple):
    """A statement, and the object that is different after it."""

    kind: str
    sql: str
    key: str


COLUMNS = {
    "customers": ("email", "name", "mood", "settings", "born"),
    "orders": ("customer_id", "price", "placed_at", "note"),
    "audit.buffer": ("line",),
}
# Of each column: its type's change, a default, and whether it is NOT NULL.
TYPES = {
    "email": ("text", "'a@b'", False),
    "name": ("varchar(101)", "'x'", True),
    "mood": ("text USING mood::text", "'sad'", False),
    "settings": ("json", "'[]'", True),
    "born": ("timestamp", "'2000-02-01'", False),
    "customer_id": ("numeric", "7", True),
    "price": ("text", "'(1,EUR)'", False),
    "placed_at": ("timestamp", "'2000-01-01'", True),
    "note": ('text COLLATE "C"', "'none'", False),
    "line": ("varchar(7)", "'x'", False),
}
# Their type cannot change, because something is made of it.
FIXED = ("name", "mood", "settings", "customer_id", "note")
INDEXES = {
    "customers_settings": ("customers", "customers USING gin (settings jsonb_path_ops)"),
    "customers_lower_name": ("customers", "customers (lower(name)) WHERE mood <> 'sad'"),
    "orders_customer_placed": ("orders", "orders (customer_id, placed_at) INCLUDE (note)"),
    "order_counts_customer": ("order_counts", "order_counts (customer_id)"),
    "events_what": ("events", "events (what DESC)"),
}
CONSTRAINTS = {
    "customers_pkey": ("customers", "UNIQUE (id)"),
    "customers_email_key": ("customers", "UNIQUE (email) DEFERRABLE"),
    "customers_name_check": ("customers", "CHECK (length(name) > 1)"),
    "orders_customer_id_fkey": (
        "orders",
        "FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET NULL",
    ),
    "orders_during_excl": ("orders", "EXCLUDE USING gist (during WITH =)"),
    "events_pkey": ("events", "UNIQUE (id, at)"),
}
TRIGGERS = {"customers_change": "customers", "events_change": "events"}


def changes() -> list[Change]:
    """Return single changes to the schema of shop.sql, of every kind."""
    return [
        *(change for table, names in COLUMNS.items() for change in of_columns(table, names)),
        *of_indexes(),
        *of_constraints(),
        *of_triggers(),
        *of_others(),
    ]


def of_columns(table: str, names: tuple[str, ...]) -> Iterator[Change]:
    for name in names:
        kind, default, required = TYPES[name]
        alter = f"ALTER TABLE {table} ALTER COLUMN {name}"
        key = f"column {table}.{name}"
        toggle = "DROP" if required else "SET"
        if name not in FIXED:
            yield Change("type", f"{alter} DROP DEFAULT, ALTER COLUMN {name} TYPE {kind}", key)
        yield Change("default", f"{alter} SET DEFAULT {default}", key)
        yield Change("not null", f"{alter} {toggle} NOT NULL", key)
        yield Change("statistics", f"{alter} SET STATISTICS 42", key)
        yield Change("options", f"{alter} SET (n_distinct = 5)", key)
        yield Change("rename", f"ALTER TABLE {table} RENAME COLUMN {name} TO {name}_2", f"{key}_2")
        yield Change("drop", f"ALTER TABLE {table} DROP COLUMN {name} CASCADE", key)
        yield Change(
            "comment", f"COMMENT ON COLUMN {table}.{name} IS 'changed'", f"comment on {key}"
        )
    yield Change("add", f"ALTER TABLE {table} ADD COLUMN extra int", f"column {table}.extra")


def of_indexes() -> Iterator[Change]:
    for name, (table, other) in INDEXES.items():
        key = f"index {name} on {table}"
        yield Change("drop index", f"DROP INDEX {name}", key)
        yield Change("rename index", f"ALTER INDEX {name} RENAME TO {name}_2", key)
        yield Change("index", f"DROP INDEX {name}; CREATE INDEX {name} ON {other}", key)
        yield Change("add index", f"CREATE INDEX {name}_2 ON {other}", f"index {name}_2 on {table}")


def of_constraints() -> Iterator[Change]:
    for name, (table, other) in CONSTRAINTS.items():
        key = f"constraint {name} on {table}"
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE"
        rename = f"ALTER TABLE {table} RENAME CONSTRAINT {name} TO {name}_2"
        yield Change("drop constraint", drop, key)
        yield Change("rename constraint", rename, f"constraint {name}_2 on {table}")
        again = f"{drop}; ALTER TABLE {table} ADD CONSTRAINT {name} {other}"
        yield Change("constraint", again, key)
        comment = f"COMMENT ON CONSTRAINT {name} ON {table} IS 'changed'"
        yield Change("constraint comment", comment, f"comment on {key}")


def of_triggers() -> Iterator[Change]:
    for name, table in TRIGGERS.items():
        key = f"trigger {name} on {table}"
        again = (
            f"CREATE OR REPLACE TRIGGER {name} AFTER DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION note_change()"
        )
        yield Change("drop trigger", f"DROP TRIGGER {name} ON {table}", key)
        yield Change("trigger", again, key)
        yield Change("trigger off", f"ALTER TABLE {table} DISABLE TRIGGER {name}", key)
        yield Change("replica trigger", f"ALTER TABLE {table} ENABLE REPLICA TRIGGER {name}", key)


def of_others() -> Iterator[Change]:
    body = "LANGUAGE sql IMMUTABLE AS $$ SELECT amount * (1 + rate)$$"
    add_tax = "function add_tax(amount numeric, rate numeric)"
    replace = "CREATE OR REPLACE FUNCTION add_tax(amount numeric, rate numeric DEFAULT"
    policy = "customers_see_themselves ON customers"
    texts = (
        ("enum", "ALTER TYPE mood ADD VALUE 'angry'", "enum mood"),
        ("enum", "ALTER TYPE mood ADD VALUE 'calm' BEFORE 'ok'", "enum mood"),
        ("enum", "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "enum mood"),
        ("domain", "ALTER DOMAIN email DROP NOT NULL", "domain email"),
        ("domain", "ALTER DOMAIN email SET DEFAULT 'x@y'", "domain email"),
        (
            "domain",
            "ALTER DOMAIN email DROP CONSTRAINT email_at",
            "constraint email_at on domain email",
        ),
        (
            "domain",
            "ALTER DOMAIN email ADD CONSTRAINT short CHECK (length(VALUE) < 9)",
            "constraint short on domain email",
        ),
        ("type", "ALTER TYPE money_amount ADD ATTRIBUTE x int", "composite type money_amount"),
        (
            "type",
            "ALTER TYPE money_amount RENAME ATTRIBUTE amount TO sum",
            "composite type money_amount",
        ),
        ("type", "DROP TYPE float_range", "range type float_range"),
        ("sequence", "ALTER SEQUENCE invoice_number INCREMENT BY 11", "sequence invoice_number"),
        ("sequence", "ALTER SEQUENCE invoice_number CYCLE", "sequence invoice_number"),
        ("sequence", "ALTER SEQUENCE invoice_number MAXVALUE 9999", "sequence invoice_number"),
        ("sequence", "ALTER SEQUENCE invoice_number AS bigint", "sequence invoice_number"),
        ("sequence", "ALTER SEQUENCE customers_id_seq OWNED BY NONE", "sequence customers_id_seq"),
        ("sequence", "ALTER SEQUENCE audit.log_id_seq AS bigint", "sequence audit.log_id_seq"),
        ("identity", "ALTER TABLE orders ALTER id SET GENERATED BY DEFAULT", "column orders.id"),
        ("identity", "ALTER TABLE orders ALTER id DROP IDENTITY", "column orders.id"),
        ("identity", "ALTER TABLE orders ALTER id SET INCREMENT BY 2", "column orders.id"),
        (
            "generated",
            "ALTER TABLE customers ALTER name_upper DROP EXPRESSION",
            "column customers.name_upper",
        ),
        (
            "storage",
            "ALTER TABLE orders ALTER note SET STORAGE EXTERNAL",
            "column orders.note",
        ),
        (
            "compression",
            "ALTER TABLE orders ALTER note SET COMPRESSION pglz",
            "column orders.note",
        ),
        ("table", "DROP TABLE audit.buffer", "table audit.buffer"),
        ("table", "CREATE TABLE by_hand (id int)", "table by_hand"),
        ("table", "ALTER TABLE audit.buffer RENAME TO buffer2", "table audit.buffer2"),
        ("table", "ALTER TABLE audit.buffer SET LOGGED", "table audit.buffer"),
        ("table", "ALTER TABLE audit.buffer SET SCHEMA public", "table buffer"),
        ("table", "ALTER TABLE orders SET (fillfactor = 80)", "table orders"),
        ("table", "ALTER TABLE orders SET (toast.autovacuum_enabled = off)", "table orders"),
        ("table", "ALTER TABLE orders REPLICA IDENTITY FULL", "table orders"),
        (
            "replica",
            "ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_pkey",
            "table orders",
        ),
        ("row security", "ALTER TABLE customers DISABLE ROW LEVEL SECURITY", "table customers"),
        ("row security", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "table orders"),
        ("row security", "ALTER TABLE customers FORCE ROW LEVEL SECURITY", "table customers"),
        ("policy", f"DROP POLICY {policy}", f"policy {policy.replace('ON', 'on')}"),
        ("policy", f"ALTER POLICY {policy} USING (true)", f"policy {policy.replace('ON', 'on')}"),
        (
            "policy",
            f"ALTER POLICY {policy} TO pg_monitor",
            f"policy {policy.replace('ON', 'on')}",
        ),
        (
            "policy",
            "CREATE POLICY all_of_it ON customers AS RESTRICTIVE WITH CHECK (id > 0)",
            "policy all_of_it on customers",
        ),
        ("partition", "ALTER TABLE events DETACH PARTITION events_2025", "table events_2025"),
        (
            "partition",
            (
                "CREATE TABLE events_2024 PARTITION OF events"
                " FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"
            ),
            "table events_2024",
        ),
        (
            "partition",
            (
                "ALTER TABLE events DETACH PARTITION events_2025;"
                " ALTER TABLE events ATTACH PARTITION events_2025"
                " FOR VALUES FROM ('2025-01-01') TO ('2025-12-31')"
            ),
            "table events_2025",
        ),
        (
            "inheritance",
            "ALTER TABLE audit.detailed_log NO INHERIT audit.log",
            "table audit.detailed_log",
        ),
        ("function", f"{replace} 0.2) RETURNS numeric {body}", add_tax),
        ("body", f"{replace} 0.19) RETURNS numeric {body}", add_tax),
        ("function", "ALTER FUNCTION add_tax STABLE", add_tax),
        ("function", "ALTER FUNCTION add_tax SECURITY DEFINER", add_tax),
        ("function", "ALTER FUNCTION add_tax SET search_path = public", add_tax),
        ("function", "DROP FUNCTION add_tax", add_tax),
        ("function", "COMMENT ON FUNCTION add_tax IS 'changed'", f"comment on {add_tax}"),
        ("function", "ALTER FUNCTION add_tax SET SCHEMA audit", f"{add_tax}"),
        (
            "body",
            (
                "CREATE OR REPLACE FUNCTION customers_count() RETURNS bigint"
                " BEGIN ATOMIC SELECT count(*) FROM orders; END"
            ),
            "function customers_count()",
        ),
        (
            "body",
            (
                "CREATE OR REPLACE PROCEDURE forget(days integer) LANGUAGE plpgsql"
                " AS $$ BEGIN NULL; END $$"
            ),
            "procedure forget(IN days integer)",
        ),
        (
            "aggregate",
            (
                "CREATE OR REPLACE AGGREGATE total(integer)"
                " (SFUNC = int4pl, STYPE = integer, INITCOND = '1')"
            ),
            "aggregate total(integer)",
        ),
        ("aggregate", "DROP AGGREGATE total(integer)", "aggregate total(integer)"),
        (
            "view",
            (
                "CREATE OR REPLACE VIEW happy_customers WITH (security_barrier) AS"
                " SELECT id, name FROM customers"
            ),
            "view happy_customers",
        ),
        ("view", "ALTER VIEW happy_customers RESET (security_barrier)", "view happy_customers"),
        ("view", "DROP VIEW happy_customers", "view happy_customers"),
        (
            "view",
            "ALTER VIEW happy_customers ALTER name SET DEFAULT 'x'",
            "column happy_customers.name",
        ),
        (
            "comment",
            "COMMENT ON COLUMN happy_customers.name IS NULL",
            "comment on column happy_customers.name",
        ),
        (
            "view",
            (
                "DROP MATERIALIZED VIEW order_counts; CREATE MATERIALIZED VIEW order_counts AS"
                " SELECT customer_id, 1 AS orders FROM orders;"
                " CREATE UNIQUE INDEX order_counts_customer ON order_counts (customer_id)"
            ),
            "materialized view order_counts",
        ),
        ("rule", "DROP RULE orders_keep ON orders", "rule orders_keep on orders"),
        ("rule", "ALTER TABLE orders DISABLE RULE orders_keep", "rule orders_keep on orders"),
        (
            "rule",
            "CREATE OR REPLACE RULE orders_keep AS ON DELETE TO orders DO INSTEAD NOTHING",
            "rule orders_keep on orders",
        ),
        ("statistics", "DROP STATISTICS orders_statistics", "statistics orders_statistics"),
        (
            "statistics",
            (
                "DROP STATISTICS orders_statistics; CREATE STATISTICS orders_statistics (mcv)"
                " ON customer_id, placed_at FROM orders"
            ),
            "statistics orders_statistics",
        ),
        ("comment", "COMMENT ON SCHEMA audit IS 'changed'", "comment on schema audit"),
        ("comment", "COMMENT ON TYPE mood IS NULL", "comment on enum mood"),
        ("comment", "COMMENT ON TABLE customers IS NULL", "comment on table customers"),
        (
            "comment",
            "COMMENT ON INDEX customers_lower_name IS 'changed'",
            "comment on index customers_lower_name on customers",
        ),
        ("schema", "CREATE SCHEMA extra", "schema extra"),
        ("schema", "DROP SCHEMA audit CASCADE", "schema audit"),
        ("schema", "ALTER SCHEMA audit RENAME TO audit2", "schema audit2"),
        (
            "index options",
            "ALTER INDEX customers_pkey SET (fillfactor = 50)",
            "constraint customers_pkey on customers",
        ),
        (
            "validity",
            (
                "UPDATE pg_index SET indisvalid = false"
                " WHERE indexrelid = 'customers_settings'::regclass"
            ),
            "index customers_settings on customers",
        ),
        (
            "clustering",
            "ALTER TABLE orders CLUSTER ON orders_customer_placed",
            "index orders_customer_placed on orders",
        ),
        (
            "enforcement",
            "ALTER TABLE orders DISABLE TRIGGER ALL",
            "constraint orders_customer_id_fkey on orders",
        ),
        ("operator", "CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)", ""),
        ("cast", "CREATE CAST (mood AS int) WITH INOUT", "cast (public.mood AS integer)"),
        (
            "collation",
            'CREATE COLLATION german FROM "C"',
            "collation german",
        ),
    )
    yield from (Change(*text) for text in texts)


def chosen() -> list[Change]:
    """Return as many changes as the test makes, at random, but at least one of every kind."""
    pool = changes()
    random.Random(SEED).shuffle(pool)  # noqa: S311 - not for secrets
    first = {change.kind: change for change in pool}
    rest = [change for change in pool if change is not first[change.kind]]
    return [*first.values(), *rest][:CHANGES]


def test_every_change_is_found(database: Database) -> None:
    """Not only is there a difference: it is the one that was made."""
    build(database, "shop.sql")
    unnoticed = []
    made = chosen()
    with connected(database) as session:
        expected = take_snapshot(session)
        for change in made:
            session.execute("BEGIN")
            try:
                session.execute(change.sql)
            except psycopg2.Error as error:
                session.execute("ROLLBACK")
                unnoticed.append((change, [str(error)]))
                continue
            found = compare(expected, read_snapshot(session))
            session.execute("ROLLBACK")
            keys = [difference.key for difference in found]
            if not found or (change.key and change.key not in keys):
                unnoticed.append((change, titles(found)))
        assert compare(expected, take_snapshot(session)) == ()
    assert "\n".join(f"{change}: {found}" for change, found in unnoticed) == ""
    assert len(made) == CHANGES
    assert {change.kind for change in changes()} == {change.kind for change in made}


def test_what_is_not_part_of_the_schema(database: Database) -> None:
    database.execute(
        "CREATE EXTENSION pg_trgm; CREATE TEMP TABLE t (id int);"
        "CREATE TABLE ours (id serial PRIMARY KEY, a int CHECK (a > 0));"
        "CREATE INDEX ON ours (a); COMMENT ON TABLE ours IS 'x'; COMMENT ON COLUMN ours.a IS 'x'"
    )
    found = snapshot(database, Table("public", "ours"), Table("nowhere", "nothing"))
    assert sorted(found) == [
        "comment on extension pg_trgm",
        "extension pg_trgm",
        "extension plpgsql",
        "schema public",
    ]


def test_it_does_not_depend_on_the_session(database: Database) -> None:
    build(database, "shop.sql")
    usual = snapshot(database)
    for setting in (
        "search_path = audit, public",
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Asia/Tokyo'",
        "IntervalStyle = iso_8601",
        "quote_all_identifiers = on",
        "bytea_output = escape",
    ):
        database.execute(f"ALTER DATABASE {database.name} SET {setting}")
    assert compare(usual, snapshot(database)) == ()


def test_what_only_one_side_has_can_be_made_from_what_is_shown(database: Database) -> None:
    """Indexes, constraints, comments, sequences of a table are shown with it, and in order."""
    build(database, "shop.sql")
    everything = snapshot(database)
    database.execute(
        "DROP TABLE orders CASCADE; DROP SCHEMA audit CASCADE; DROP DOMAIN email CASCADE"
    )
    found = compare(everything, snapshot(database))
    assert {d.key for d in found} == {
        "schema audit",
        "domain email",
        "table orders",
        "column customers.email",
        "constraint customers_email_key on customers",
        "materialized view order_counts",
    }
    order = ("domain", "column", "constraint", "table", "materialized view")
    for kind in order:
        database.execute(next(d.files or "" for d in found if d.kind == kind))
    again = compare(everything, snapshot(database))
    assert titles(again) == ["schema audit: missing in the database"]
