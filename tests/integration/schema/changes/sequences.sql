-- sequence invoice_number
DROP SEQUENCE invoice_number;

-- sequence invoice_numbers
ALTER SEQUENCE invoice_number RENAME TO invoice_numbers;

-- sequence app.invoice_number
ALTER SEQUENCE invoice_number SET SCHEMA app;

-- sequence invoice_number
ALTER SEQUENCE invoice_number INCREMENT BY 11;

-- sequence invoice_number
ALTER SEQUENCE invoice_number START 1001;

-- sequence invoice_number
ALTER SEQUENCE invoice_number MAXVALUE 9999;

-- sequence invoice_number
ALTER SEQUENCE invoice_number MINVALUE 0;

-- sequence invoice_number
ALTER SEQUENCE invoice_number CACHE 9;

-- sequence invoice_number
ALTER SEQUENCE invoice_number CYCLE;

-- sequence invoice_number
ALTER SEQUENCE invoice_number AS bigint;

-- sequence invoice_number
ALTER SEQUENCE invoice_number SET UNLOGGED;

-- sequence invoice_number
ALTER SEQUENCE invoice_number OWNED BY customers.code;

-- sequence customers_id_seq
ALTER SEQUENCE customers_id_seq OWNED BY NONE;

-- sequence customers_id_seq
ALTER SEQUENCE customers_id_seq OWNED BY customers.code;

-- sequence customers_id_seq
ALTER SEQUENCE customers_id_seq AS integer;

-- sequence fresh
CREATE SEQUENCE fresh INCREMENT -1;

-- nothing
SELECT nextval('invoice_number');

-- nothing
ALTER SEQUENCE invoice_number RESTART WITH 5000;

-- comment on sequence invoice_number
COMMENT ON SEQUENCE invoice_number IS 'x';

-- comment on sequence customers_id_seq
COMMENT ON SEQUENCE customers_id_seq IS 'x';
