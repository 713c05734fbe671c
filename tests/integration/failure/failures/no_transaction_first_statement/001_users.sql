-- migrator: no-transaction
ALTER TABLE users ADD COLUMN locale text;
VACUUM users;
