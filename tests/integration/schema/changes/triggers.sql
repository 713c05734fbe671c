-- trigger customers_change on customers
DROP TRIGGER customers_change ON customers;

-- trigger customers_changed on customers
ALTER TRIGGER customers_change ON customers RENAME TO customers_changed;

-- trigger customers_change on customers
CREATE OR REPLACE TRIGGER customers_change AFTER DELETE ON customers FOR EACH ROW EXECUTE FUNCTION note_change();

-- trigger customers_change on customers
CREATE OR REPLACE TRIGGER customers_change BEFORE UPDATE OF name ON customers
FOR EACH ROW WHEN (old.name <> new.name) EXECUTE FUNCTION note_change();

-- trigger customers_change on customers
CREATE OR REPLACE TRIGGER customers_change AFTER UPDATE OF name ON customers
FOR EACH ROW WHEN (old.name <> new.name) EXECUTE FUNCTION note_change('x');

-- trigger customers_change on customers
ALTER TABLE customers DISABLE TRIGGER customers_change;

-- trigger customers_change on customers
ALTER TABLE customers ENABLE REPLICA TRIGGER customers_change;

-- trigger customers_change on customers
ALTER TABLE customers ENABLE ALWAYS TRIGGER customers_change;

-- trigger statement on customers
CREATE TRIGGER statement AFTER INSERT ON customers REFERENCING NEW TABLE AS fresh
FOR EACH STATEMENT EXECUTE FUNCTION note_change();

-- trigger happy on happy_customers
CREATE TRIGGER happy INSTEAD OF INSERT ON happy_customers FOR EACH ROW EXECUTE FUNCTION note_change();

-- trigger letters_change on letters
CREATE TRIGGER letters_change BEFORE INSERT ON letters FOR EACH ROW EXECUTE FUNCTION note_change();

-- trigger orders_checked on orders
DROP TRIGGER orders_checked ON orders;
CREATE CONSTRAINT TRIGGER orders_checked AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note_change('loud');

-- trigger orders_checked on orders
DROP TRIGGER orders_checked ON orders;
CREATE CONSTRAINT TRIGGER orders_checked AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION note_change('loud');

-- trigger orders_checked on orders
ALTER TABLE orders DISABLE TRIGGER orders_checked;

-- comment on trigger customers_change on customers
COMMENT ON TRIGGER customers_change ON customers IS 'x';

-- extension dependency of trigger customers_change on customers on extension citext
ALTER TRIGGER customers_change ON customers DEPENDS ON EXTENSION citext;

-- event trigger watch_commands
DROP EVENT TRIGGER watch_commands;

-- event trigger watch
ALTER EVENT TRIGGER watch_commands RENAME TO watch;

-- event trigger watch_commands
ALTER EVENT TRIGGER watch_commands ENABLE;

-- event trigger watch_commands
ALTER EVENT TRIGGER watch_commands ENABLE REPLICA;

-- event trigger watch_commands
DROP EVENT TRIGGER watch_commands;
CREATE EVENT TRIGGER watch_commands ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'DROP TABLE')
EXECUTE FUNCTION note_command();
ALTER EVENT TRIGGER watch_commands DISABLE;

-- event trigger watch_commands
DROP EVENT TRIGGER watch_commands;
CREATE EVENT TRIGGER watch_commands ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION note_command();
ALTER EVENT TRIGGER watch_commands DISABLE;

-- comment on event trigger watch_commands
COMMENT ON EVENT TRIGGER watch_commands IS 'x';

-- [policy: order of lists]
DROP EVENT TRIGGER watch_commands;
CREATE EVENT TRIGGER watch_commands ON ddl_command_end WHEN TAG IN ('DROP TABLE', 'CREATE TABLE')
EXECUTE FUNCTION note_command();
ALTER EVENT TRIGGER watch_commands DISABLE;
