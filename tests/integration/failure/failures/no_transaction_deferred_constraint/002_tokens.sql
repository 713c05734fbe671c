-- migrator: no-transaction
INSERT INTO users VALUES (1);
INSERT INTO tokens VALUES (2);
INSERT INTO users VALUES (3);
