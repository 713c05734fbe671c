-- migrator: no-transaction
BEGIN;
VACUUM;
