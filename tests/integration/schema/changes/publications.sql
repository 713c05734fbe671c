-- publication everything
DROP PUBLICATION everything;

-- publication everything
ALTER PUBLICATION everything SET (publish = 'insert');

-- publication everything
ALTER PUBLICATION everything SET (publish_via_partition_root = true);

-- publication all_of_it
ALTER PUBLICATION everything RENAME TO all_of_it;

-- publication parts
ALTER PUBLICATION parts ADD TABLE customers;

-- publication parts
ALTER PUBLICATION parts DROP TABLE app.plain;

-- publication parts
ALTER PUBLICATION parts SET TABLE orders (id), app.plain WHERE (a > 0);

-- publication parts
ALTER PUBLICATION parts SET TABLE orders, app.plain WHERE (a > 0);

-- publication parts
ALTER PUBLICATION parts SET TABLE orders (id, note), app.plain WHERE (a > 1);

-- publication parts
ALTER PUBLICATION parts SET TABLE orders (id, note), app.plain;

-- publication schemas
ALTER PUBLICATION schemas DROP TABLES IN SCHEMA ext;

-- publication schemas
ALTER PUBLICATION schemas ADD TABLES IN SCHEMA public, TABLE orders;

-- publication parts
ALTER PUBLICATION parts SET (publish = 'insert, update, delete');

-- nothing
ALTER PUBLICATION parts DROP TABLE orders;
ALTER PUBLICATION parts ADD TABLE orders (note, id);

-- publication fresh
CREATE PUBLICATION fresh;

-- publication generated [18]
ALTER PUBLICATION generated SET (publish_generated_columns = none);

-- comment on publication parts
COMMENT ON PUBLICATION parts IS 'x';
