CREATE TYPE eventtype AS ENUM ('DOWN', 'UP');
CREATE TABLE events (kind eventtype);
