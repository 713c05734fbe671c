"""Which files can leave nothing in their session."""

from __future__ import annotations

import pytest

from migrator.apply.traceless import is_traceless
from tests.unit.apply.test_batches import migration

# `test_hygiene` runs them one after the other.
DEFINITIONS = [
    "CREATE TABLE t (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())",
    "CREATE UNLOGGED TABLE IF NOT EXISTS u (i int GENERATED ALWAYS AS IDENTITY, n int CHECK (n>0))",
    'create table public."Wörter" (wort text unique, t bigint references t on delete cascade)',
    "CREATE INDEX u_n ON u (n)",
    "CREATE UNIQUE INDEX IF NOT EXISTS u_n_id ON public.u (n DESC, i)",
    "ALTER TABLE u ADD CONSTRAINT u_t FOREIGN KEY (n) REFERENCES t (id) ON DELETE CASCADE",
    "ALTER TABLE u ADD CONSTRAINT u_once UNIQUE (n)",
    "ALTER TABLE u ADD COLUMN note text",
    "alter table if exists only u add a varchar(20), ADD COLUMN b timestamp with time zone NULL",
    "ALTER TABLE u ADD COLUMN IF NOT EXISTS c numeric(10, 2)[], ADD d double precision",
    "CREATE TYPE mood AS ENUM ('sad', 'happy')",
    "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
    "CREATE SEQUENCE numbers START 5",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION g() RETURNS trigger AS $$ BEGIN RETURN NEW; END $$ LANGUAGE plpgsql",
    "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION g()",
    "CREATE VIEW v AS SELECT id FROM t",
    "COMMENT ON TABLE t IS 'see SELECT'",
    "GRANT SELECT ON t TO PUBLIC",
    "REVOKE SELECT ON t FROM PUBLIC",
]
OTHERS = [
    "SET search_path TO x",
    "SELECT set_config('a.b', 'c', false)",
    "INSERT INTO t VALUES (DEFAULT)",  # a default or a trigger may be a function
    "UPDATE t SET id = 1",
    "DO $$ BEGIN END $$",
    "CALL p()",
    "CREATE TEMP TABLE t (id int)",
    "CREATE TABLE pg_temp.t (id int)",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE t AS SELECT f()",
    "CREATE TABLE t (a) AS SELECT f()",
    "CREATE TABLE t (a) AS VALUES (f())",
    "CREATE TABLE t (a) AS TABLE u",
    "CREATE TABLE t (a) AS EXECUTE p",
    "CREATE TABLE t PARTITION OF u FOR VALUES IN (f())",
    "CREATE TABLE t (a int) PARTITION BY RANGE ((f(1) + a))",
    "CREATE TABLE t (LIKE u INCLUDING ALL)",
    "CREATE TABLE t (a int, EXCLUDE (f(a) WITH =))",
    "CREATE INDEX ON t (f(a))",
    "CREATE INDEX ON t (a) WHERE f(1) = a",
    "CREATE INDEX ON t USING gist (a)",
    "ALTER TABLE t ADD COLUMN a int DEFAULT f()",
    "ALTER TABLE t ADD COLUMN a text, ALTER COLUMN b TYPE int USING f(b)",
    "ALTER TABLE t ADD COLUMN a text GENERATED ALWAYS AS (f(b)) STORED",
    "ALTER TABLE t ADD COLUMN a bigserial",
    "ALTER TABLE t ADD COLUMN a mood",
    "ALTER TABLE t ADD COLUMN a int NOT NULL",
    "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a), ADD COLUMN b int DEFAULT f()",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (f(a))",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plperlu AS 'BEGIN { 1 }'",
    "CREATE EXTENSION hstore",
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "CREATE SCHEMA s CREATE TABLE t (a int)",
    "CREATE MATERIALIZED VIEW v AS SELECT f()",
    "COPY t FROM STDIN;\n1\n\\.\nSELECT 1",
]


@pytest.mark.parametrize("text", DEFINITIONS)
def test_of_definitions(text: str) -> None:
    assert is_traceless(migration(text))
    assert is_traceless(migration(f"{DEFINITIONS[0]};\n-- a comment\n{text};\n"))


@pytest.mark.parametrize("text", OTHERS)
def test_not_of_what_runs_code_or_changes_the_session(text: str) -> None:
    assert not is_traceless(migration(text))
    assert not is_traceless(migration(f"{DEFINITIONS[0]};\n{text};\nCREATE TABLE z (id int);\n"))
