INSERT INTO users VALUES (1, 'a@example.org');
INSERT INTO users VALUES (2, 'B@example.org');
