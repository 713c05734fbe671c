-- foreign-data wrapper postal
ALTER FOREIGN DATA WRAPPER postal OPTIONS (SET depot 'south');

-- foreign-data wrapper postal
ALTER FOREIGN DATA WRAPPER postal OPTIONS (DROP debug);

-- foreign-data wrapper postal
ALTER FOREIGN DATA WRAPPER postal VALIDATOR postgresql_fdw_validator OPTIONS (DROP debug, DROP depot);

-- nothing
ALTER FOREIGN DATA WRAPPER postal OPTIONS (DROP debug);
ALTER FOREIGN DATA WRAPPER postal OPTIONS (ADD debug 'true');

-- foreign-data wrapper mail
ALTER FOREIGN DATA WRAPPER postal RENAME TO mail;

-- foreign-data wrapper fresh
CREATE FOREIGN DATA WRAPPER fresh;

-- comment on foreign-data wrapper postal
COMMENT ON FOREIGN DATA WRAPPER postal IS 'x';

-- server post
ALTER SERVER post OPTIONS (SET host 'b');

-- server post
ALTER SERVER post OPTIONS (DROP port);

-- server post
ALTER SERVER post VERSION '2';

-- server postman
ALTER SERVER post RENAME TO postman;

-- server post
DROP SERVER post CASCADE;
CREATE SERVER post TYPE 'parcels' VERSION '1' FOREIGN DATA WRAPPER postal OPTIONS (host 'a', port '1');
CREATE USER MAPPING FOR PUBLIC SERVER post OPTIONS (user 'anna', password 'first secret');
CREATE FOREIGN TABLE letters (
    id integer OPTIONS (key 'yes', width '4') NOT NULL, body text
) SERVER post OPTIONS (box '7', lane 'b');

-- server post2
CREATE SERVER post2 FOREIGN DATA WRAPPER postal;

-- comment on server post
COMMENT ON SERVER post IS 'x';

-- user mapping public on server post
ALTER USER MAPPING FOR PUBLIC SERVER post OPTIONS (SET password 'second secret');

-- user mapping public on server post
ALTER USER MAPPING FOR PUBLIC SERVER post OPTIONS (SET user 'berta');

-- user mapping public on server post
ALTER USER MAPPING FOR PUBLIC SERVER post OPTIONS (DROP password);

-- user mapping public on server post
DROP USER MAPPING FOR PUBLIC SERVER post;

-- user mapping pg_monitor on server post
CREATE USER MAPPING FOR pg_monitor SERVER post OPTIONS (user 'carla', password 'third secret');

-- foreign table letters
ALTER FOREIGN TABLE letters OPTIONS (SET box '8');

-- foreign table letters
ALTER FOREIGN TABLE letters OPTIONS (DROP lane);

-- nothing
ALTER FOREIGN TABLE letters OPTIONS (DROP box);
ALTER FOREIGN TABLE letters OPTIONS (ADD box '7');

-- foreign table letters
DROP FOREIGN TABLE letters;

-- foreign table post
ALTER FOREIGN TABLE letters RENAME TO post;

-- constraint short on letters
ALTER FOREIGN TABLE letters ADD CONSTRAINT short CHECK (length(body) < 9);

-- column letters.id
ALTER FOREIGN TABLE letters ALTER id DROP NOT NULL;

-- foreign table letters
ALTER FOREIGN TABLE letters ADD COLUMN name text, ADD CONSTRAINT parents_name CHECK (name <> '');
ALTER FOREIGN TABLE letters INHERIT parents;

-- comment on foreign table letters
COMMENT ON FOREIGN TABLE letters IS 'x';
