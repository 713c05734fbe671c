-- What only PostgreSQL 18 has.
CREATE TABLE stays (
    room integer, during tsrange,
    CONSTRAINT stays_pkey PRIMARY KEY (room, during WITHOUT OVERLAPS),
    CONSTRAINT stays_room CHECK (room > 0) NOT ENFORCED
);
CREATE TABLE doubles (a integer, doubled integer GENERATED ALWAYS AS (a * 2) VIRTUAL);
CREATE TABLE meals (
    room integer, during tsrange, cook text CONSTRAINT meals_cook NOT NULL,
    CONSTRAINT meals_fkey FOREIGN KEY (room, PERIOD during) REFERENCES stays (room, PERIOD during)
);
ALTER TABLE meals ADD CONSTRAINT meals_room CHECK (room > 1) NOT VALID;
ALTER TABLE meals ADD CONSTRAINT meals_during NOT NULL during NOT VALID;
CREATE PUBLICATION generated FOR TABLE customers WITH (publish_generated_columns = stored);
