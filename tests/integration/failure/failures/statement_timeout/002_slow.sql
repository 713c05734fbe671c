-- Takes too long
-- migrator: statement-timeout=100ms
INSERT INTO users VALUES (1);
SELECT pg_sleep(20);
