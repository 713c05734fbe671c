-- constraint customers_pkey on customers
ALTER TABLE customers DROP CONSTRAINT customers_pkey CASCADE;

-- constraint customers_email_key on customers
ALTER TABLE customers DROP CONSTRAINT customers_email_key;

-- constraint customers_mail on customers
ALTER TABLE customers RENAME CONSTRAINT customers_email_key TO customers_mail;

-- constraint customers_email_key on customers
ALTER TABLE customers DROP CONSTRAINT customers_email_key, ADD CONSTRAINT customers_email_key UNIQUE (email);

-- constraint customers_email_key on customers
ALTER INDEX customers_email_key SET (fillfactor = 60);

-- constraint customers_email_key on customers
ALTER INDEX customers_email_key RESET (fillfactor);

-- constraint customers_email_key on customers
ALTER TABLE customers DROP CONSTRAINT customers_email_key;
ALTER TABLE customers ADD CONSTRAINT customers_email_key UNIQUE (email) WITH (fillfactor = 70) DEFERRABLE;

-- constraint customers_email_key on customers
ALTER TABLE customers DROP CONSTRAINT customers_email_key;
CREATE UNIQUE INDEX customers_email_key ON customers (email DESC) WITH (fillfactor = 70);

-- constraint customers_code_key on customers
ALTER TABLE customers DROP CONSTRAINT customers_code_key;
ALTER TABLE customers ADD CONSTRAINT customers_code_key UNIQUE (code) INCLUDE (name) DEFERRABLE;

-- constraint customers_code_key on customers
ALTER TABLE customers DROP CONSTRAINT customers_code_key;
ALTER TABLE customers ADD CONSTRAINT customers_code_key UNIQUE NULLS NOT DISTINCT (code) DEFERRABLE;

-- constraint customers_code_key on customers
ALTER TABLE customers DROP CONSTRAINT customers_code_key;
ALTER TABLE customers ADD CONSTRAINT customers_code_key UNIQUE NULLS NOT DISTINCT (code) INCLUDE (name) DEFERRABLE INITIALLY DEFERRED;

-- constraint customers_name_check on customers
ALTER TABLE customers DROP CONSTRAINT customers_name_check, ADD CONSTRAINT customers_name_check CHECK (length(name) > 1);

-- constraint customers_name_check on customers
ALTER TABLE customers DROP CONSTRAINT customers_name_check, ADD CONSTRAINT customers_name_check CHECK (length(name) > 0) NOT VALID;

-- constraint customers_name_check on customers
ALTER TABLE customers DROP CONSTRAINT customers_name_check, ADD CONSTRAINT customers_name_check CHECK (length(name) > 0) NO INHERIT;

-- constraint more on customers
ALTER TABLE customers ADD CONSTRAINT more CHECK (code > 0 AND name <> '');

-- constraint customers_name_check on customers [18]
ALTER TABLE customers DROP CONSTRAINT customers_name_check, ADD CONSTRAINT customers_name_check CHECK (length(name) > 0) NOT ENFORCED;

-- constraint meals_room on meals [18]
ALTER TABLE meals VALIDATE CONSTRAINT meals_room;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey, ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET NULL;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey, ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers ON DELETE CASCADE ON UPDATE CASCADE;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey, ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers ON DELETE SET DEFAULT (customer_id);

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey, ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers MATCH FULL ON DELETE CASCADE;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey, ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers ON DELETE CASCADE NOT VALID;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders ALTER CONSTRAINT orders_customer_id_fkey DEFERRABLE;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders ALTER CONSTRAINT orders_customer_id_fkey DEFERRABLE INITIALLY DEFERRED;

-- constraint orders_customer_id_fkey on orders [18]
ALTER TABLE orders ALTER CONSTRAINT orders_customer_id_fkey NOT ENFORCED;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE orders DISABLE TRIGGER ALL;

-- constraint orders_customer_id_fkey on orders
ALTER TABLE customers DISABLE TRIGGER ALL;

-- constraint orders_during_excl on orders
ALTER TABLE orders DROP CONSTRAINT orders_during_excl, ADD CONSTRAINT orders_during_excl EXCLUDE USING gist (during WITH =) WHERE (note IS NOT NULL);

-- constraint orders_during_excl on orders
ALTER TABLE orders DROP CONSTRAINT orders_during_excl, ADD CONSTRAINT orders_during_excl EXCLUDE USING gist (during WITH &&);

-- constraint orders_during_excl on orders
ALTER TABLE orders DROP CONSTRAINT orders_during_excl, ADD CONSTRAINT orders_during_excl EXCLUDE USING spgist (during WITH &&) WHERE (note IS NOT NULL);

-- constraint stays_pkey on stays [18]
ALTER TABLE stays DROP CONSTRAINT stays_pkey CASCADE, ADD CONSTRAINT stays_pkey PRIMARY KEY (room, during);

-- constraint meals_fkey on meals [18]
ALTER TABLE meals DROP CONSTRAINT meals_fkey;

-- constraint stays_room on stays [18]
ALTER TABLE stays DROP CONSTRAINT stays_room, ADD CONSTRAINT stays_room CHECK (room > 0);

-- constraint parents_name on parents
ALTER TABLE parents DROP CONSTRAINT parents_name;

-- constraint parents_name on children
ALTER TABLE ONLY parents DROP CONSTRAINT parents_name;
ALTER TABLE parents ADD CONSTRAINT parents_name CHECK (name <> '');

-- constraint children_name on children
ALTER TABLE children ADD CONSTRAINT children_name CHECK (name <> 'y');

-- constraint email_alone on customers
CREATE UNIQUE INDEX email_alone ON customers (email);
ALTER TABLE customers ADD CONSTRAINT email_alone UNIQUE USING INDEX email_alone;

-- comment on constraint customers_pkey on customers
COMMENT ON CONSTRAINT customers_pkey ON customers IS 'x';

-- comment on constraint customers_name_check on customers
COMMENT ON CONSTRAINT customers_name_check ON customers IS 'x';

-- comment on constraint orders_customer_id_fkey on orders
COMMENT ON CONSTRAINT orders_customer_id_fkey ON orders IS 'x';

-- comment on the index of constraint customers_pkey on customers
COMMENT ON INDEX customers_pkey IS 'x';

-- [policy: IN on varchar]
ALTER TABLE customers DROP CONSTRAINT customers_known;
ALTER TABLE customers ADD CONSTRAINT customers_known CHECK (
    name::text = ANY (ARRAY['anna'::character varying, 'berta'::character varying]::text[])
);

-- constraint customers_known on customers
ALTER TABLE customers DROP CONSTRAINT customers_known;
ALTER TABLE customers ADD CONSTRAINT customers_known CHECK (name IN ('anna', 'bertha'));
