-- migrator: no-transactions
CREATE TABLE users (id bigint);
\q
