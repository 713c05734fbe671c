-- index customers_settings on customers
DROP INDEX customers_settings;

-- index customers_data on customers
ALTER INDEX customers_settings RENAME TO customers_data;

-- index customers_settings on customers
DROP INDEX customers_settings;
CREATE INDEX customers_settings ON customers USING gin (settings jsonb_path_ops) WITH (fastupdate = off, gin_pending_list_limit = 128);

-- index customers_settings on customers
ALTER INDEX customers_settings SET (fastupdate = on);

-- index customers_settings on customers
ALTER INDEX customers_settings RESET (fastupdate);

-- [policy: order of options]
ALTER INDEX customers_settings RESET (fastupdate);
ALTER INDEX customers_settings SET (fastupdate = off);

-- index customers_lower_name on customers
DROP INDEX customers_lower_name;
CREATE INDEX customers_lower_name ON customers (lower(name), (code + 1)) WHERE mood <> 'sad';

-- index customers_lower_name on customers
ALTER INDEX customers_lower_name ALTER COLUMN 2 SET STATISTICS 60;

-- index customers_lower_name on customers
ALTER INDEX customers_lower_name ALTER COLUMN 1 SET STATISTICS 60;

-- index customers_name_trgm on customers
DROP INDEX customers_name_trgm;
CREATE INDEX customers_name_trgm ON customers USING gist (name gist_trgm_ops (siglen = 64));

-- index orders_customer_placed on orders
DROP INDEX orders_customer_placed;
CREATE UNIQUE INDEX orders_customer_placed ON orders (customer_id, placed_at);

-- index orders_customer_placed on orders
DROP INDEX orders_customer_placed;
CREATE INDEX orders_customer_placed ON orders (customer_id, placed_at) INCLUDE (note);

-- index orders_customer_placed on orders
DROP INDEX orders_customer_placed;
CREATE UNIQUE INDEX orders_customer_placed ON orders (customer_id, placed_at) INCLUDE (note) NULLS NOT DISTINCT;

-- index orders_customer_placed on orders
DROP INDEX orders_customer_placed;
CREATE UNIQUE INDEX orders_customer_placed ON orders (customer_id NULLS FIRST, placed_at) INCLUDE (note);

-- index orders_note_idx on orders
CREATE INDEX ON orders USING hash (note);

-- index plain_c on app.plain
CREATE INDEX plain_c ON app.plain (c COLLATE "C" text_pattern_ops DESC NULLS LAST) WITH (deduplicate_items = off);

-- index plain_a on app.plain
CREATE INDEX plain_a ON app.plain USING brin (a) WITH (pages_per_range = 4);

-- index customers_settings on customers
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'customers_settings'::regclass;

-- comment on index customers_settings on customers
COMMENT ON INDEX customers_settings IS 'x';

-- index order_counts_customer on order_counts
DROP INDEX order_counts_customer;

-- extension dependency of index customers_settings on customers on extension pg_trgm
ALTER INDEX customers_settings DEPENDS ON EXTENSION pg_trgm;

-- statistics orders_statistics
DROP STATISTICS orders_statistics;

-- statistics orders_statistics
DROP STATISTICS orders_statistics;
CREATE STATISTICS orders_statistics (mcv) ON customer_id, placed_at FROM orders;

-- statistics orders_statistics
DROP STATISTICS orders_statistics;
CREATE STATISTICS orders_statistics ON customer_id, note FROM orders;

-- statistics orders_statistics
ALTER STATISTICS orders_statistics SET STATISTICS 33;

-- statistics orders_pair
ALTER STATISTICS orders_statistics RENAME TO orders_pair;

-- statistics app.orders_expression
DROP STATISTICS app.orders_expression;
CREATE STATISTICS app.orders_expression ON (upper(note)) FROM orders;

-- statistics app.orders_expression
ALTER STATISTICS app.orders_expression SET SCHEMA ext;

-- comment on statistics orders_statistics
COMMENT ON STATISTICS orders_statistics IS 'x';
