CREATE TABLE bookings (id bigint, at int4range, EXCLUDE USING gist (at WITH &&));
INSERT INTO bookings VALUES (1, '[1,5)');
INSERT INTO bookings VALUES (2, '[5,9)');
INSERT INTO bookings VALUES (3, '[8,10)');
