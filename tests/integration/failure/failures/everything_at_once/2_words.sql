CREATE TABLE words (id bigint);
-- migrator: lock-timeout=5s
