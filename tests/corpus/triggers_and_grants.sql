CREATE TABLE IF NOT EXISTS corpus_tg (a int CHECK (a > 0), b text DEFAULT ';');
CREATE OR REPLACE FUNCTION corpus_tg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE OR REPLACE TRIGGER tg BEFORE INSERT ON corpus_tg FOR EACH ROW WHEN (NEW.a > 1) EXECUTE FUNCTION corpus_tg();
COMMENT ON COLUMN corpus_tg.b IS 'what; it''s for';
GRANT SELECT ON corpus_tg TO PUBLIC;
CREATE INDEX IF NOT EXISTS corpus_tg_a ON corpus_tg ((a + 1)) WHERE b <> ';';
WITH x AS (INSERT INTO corpus_tg VALUES (1, 'x;') RETURNING *) SELECT * FROM x;
