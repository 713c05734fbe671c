CREATE TYPE eventtype AS ENUM ('DOWN', 'UP');

CREATE TYPE eventtype AS ENUM ('DOWN', 'UP');
