CREATE TYPE eventtype AS ENUM ('DOWN', 'UP');
CREATE TABLE events (id bigint, kind eventtype);
INSERT INTO events VALUES (1, 'DOWN'), (2, 'SIDEWAYS');
