CREATE TABLE users (id bigint PRIMARY KEY, "sessionMode" text);
UPDATE users SET sessionMode = 'ticker';
