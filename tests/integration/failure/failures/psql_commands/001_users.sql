\set ON_ERROR_STOP on
\connect fingerflow
CREATE TABLE users (id bigint);
\i tokens.sql
