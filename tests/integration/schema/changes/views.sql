-- view happy_customers
ALTER VIEW happy_customers RESET (security_barrier);

-- view happy_customers
ALTER VIEW happy_customers RESET (check_option);

-- view happy_customers
ALTER VIEW happy_customers SET (check_option = cascaded);

-- view happy_customers
ALTER VIEW happy_customers SET (security_invoker = on);

-- view happy_customers
CREATE OR REPLACE VIEW happy_customers WITH (security_barrier, check_option = local) AS
SELECT id, name FROM customers WHERE mood = 'ok';

-- view happy_customers
DROP VIEW happy_customers;

-- view happy
ALTER VIEW happy_customers RENAME TO happy;

-- view happy_customers
ALTER VIEW happy_customers RENAME COLUMN name TO first_name;

-- view app.happy_customers
ALTER VIEW happy_customers SET SCHEMA app;

-- view tree
CREATE RECURSIVE VIEW tree (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM tree WHERE n < 9;

-- comment on view happy_customers
COMMENT ON VIEW happy_customers IS 'x';

-- materialized view order_counts
DROP MATERIALIZED VIEW order_counts;

-- materialized view order_counts
DROP MATERIALIZED VIEW order_counts;
CREATE MATERIALIZED VIEW order_counts AS SELECT customer_id, 1 AS orders, max(note) AS note FROM orders GROUP BY customer_id;
CREATE UNIQUE INDEX order_counts_customer ON order_counts (customer_id);

-- materialized view order_counts
ALTER MATERIALIZED VIEW order_counts SET (fillfactor = 60);

-- materialized view order_counts
ALTER MATERIALIZED VIEW order_counts SET (toast.autovacuum_enabled = off);

-- materialized view order_counts
DROP MATERIALIZED VIEW order_counts;
CREATE MATERIALIZED VIEW order_counts USING pile AS SELECT customer_id, count(*) AS orders, max(note) AS note FROM orders GROUP BY customer_id;
CREATE UNIQUE INDEX order_counts_customer ON order_counts (customer_id);

-- index order_counts_customer on order_counts
ALTER MATERIALIZED VIEW order_counts CLUSTER ON order_counts_customer;

-- nothing
REFRESH MATERIALIZED VIEW order_counts WITH NO DATA;

-- comment on materialized view order_counts
COMMENT ON MATERIALIZED VIEW order_counts IS 'x';

-- extension dependency of materialized view order_counts on extension citext
ALTER MATERIALIZED VIEW order_counts DEPENDS ON EXTENSION citext;

-- rule orders_keep on orders
DROP RULE orders_keep ON orders;

-- rule orders_kept on orders
ALTER RULE orders_keep ON orders RENAME TO orders_kept;

-- rule orders_keep on orders
ALTER TABLE orders DISABLE RULE orders_keep;

-- rule orders_keep on orders
ALTER TABLE orders ENABLE ALWAYS RULE orders_keep;

-- rule orders_keep on orders
ALTER TABLE orders ENABLE REPLICA RULE orders_keep;

-- rule orders_keep on orders
CREATE OR REPLACE RULE orders_keep AS ON DELETE TO orders DO INSTEAD NOTHING;

-- rule happy_insert on happy_customers
CREATE RULE happy_insert AS ON INSERT TO happy_customers DO ALSO NOTIFY happy;

-- comment on rule orders_keep on orders
COMMENT ON RULE orders_keep ON orders IS 'x';

-- policy customers_see_themselves on customers
DROP POLICY customers_see_themselves ON customers;

-- policy customers_see on customers
ALTER POLICY customers_see_themselves ON customers RENAME TO customers_see;

-- policy customers_see_themselves on customers
ALTER POLICY customers_see_themselves ON customers USING (true);

-- policy customers_see_themselves on customers
ALTER POLICY customers_see_themselves ON customers TO pg_monitor;

-- policy customers_see_themselves on customers
DROP POLICY customers_see_themselves ON customers;
CREATE POLICY customers_see_themselves ON customers AS RESTRICTIVE FOR SELECT USING (name = CURRENT_USER);

-- policy customers_see_themselves on customers
DROP POLICY customers_see_themselves ON customers;
CREATE POLICY customers_see_themselves ON customers FOR DELETE USING (name = CURRENT_USER);

-- policy all_of_it on customers
CREATE POLICY all_of_it ON customers WITH CHECK (id > 0);

-- comment on policy customers_see_themselves on customers
COMMENT ON POLICY customers_see_themselves ON customers IS 'x';
