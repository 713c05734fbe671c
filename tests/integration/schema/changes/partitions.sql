-- table events_2025
ALTER TABLE events DETACH PARTITION events_2025;

-- table events_2024
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');

-- table events_2026_0
DROP TABLE events_2026_0 CASCADE;

-- table events_2025
ALTER TABLE events DETACH PARTITION events_2025;
ALTER TABLE events ATTACH PARTITION events_2025 FOR VALUES FROM ('2025-01-01') TO ('2025-12-31');

-- table events_2026
DROP TABLE events_2026 CASCADE;
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY HASH (id, at);
CREATE TABLE events_2026_0 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2026_1 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 1);

-- nothing
ALTER TABLE events DETACH PARTITION events_2025;
ALTER TABLE events ATTACH PARTITION events_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');

-- table events_2025
ALTER TABLE events_2025 SET (fillfactor = 60);

-- table bookings_1
ALTER TABLE bookings_1 SET UNLOGGED;

-- table events_2025
ALTER TABLE events_2025 ENABLE ROW LEVEL SECURITY;

-- table events_2025
ALTER TABLE events_2025 REPLICA IDENTITY FULL;

-- constraint bookings_code_key on bookings
ALTER TABLE bookings ADD CONSTRAINT bookings_code_key UNIQUE (room, code);

-- constraint bookings_code_key on bookings
ALTER TABLE ONLY bookings ADD CONSTRAINT bookings_code_key UNIQUE (room, code);

-- constraint bookings_pkey on bookings
ALTER TABLE bookings ALTER room SET NOT NULL, ALTER code SET NOT NULL;
ALTER TABLE ONLY bookings ADD CONSTRAINT bookings_pkey PRIMARY KEY (room, code);

-- constraint bookings_excl on bookings [17]
ALTER TABLE ONLY bookings ADD CONSTRAINT bookings_excl EXCLUDE USING gist (room WITH =, at WITH &&);

-- index bookings_code on bookings
CREATE INDEX bookings_code ON ONLY bookings (code);

-- index bookings_1_own on bookings_1
CREATE INDEX bookings_1_own ON bookings_1 (code);

-- index events_2025_words on events_2025
ALTER INDEX events_2025_what_idx RENAME TO events_2025_words;

-- index events_2025_what_idx on events_2025
ALTER INDEX events_2025_what_idx SET (fillfactor = 50);

-- index events_2026_0_what_idx on events_2026_0
ALTER INDEX events_2026_0_what_idx SET (deduplicate_items = off);

-- index events_2026_what_idx on events_2026
ALTER INDEX events_2026_what_idx RENAME TO events_2026_words;

-- comment on index events_2025_what_idx on events_2025
COMMENT ON INDEX events_2025_what_idx IS 'x';

-- constraint events_2025_primary on events_2025
ALTER INDEX events_2025_pkey RENAME TO events_2025_primary;

-- constraint events_2025_pkey on events_2025
ALTER INDEX events_2025_pkey SET (fillfactor = 50);

-- comment on constraint events_2025_pkey on events_2025
COMMENT ON CONSTRAINT events_2025_pkey ON events_2025 IS 'x';

-- index events_2025_what_idx on events_2025
ALTER TABLE events_2025 CLUSTER ON events_2025_what_idx;

-- table events_2025
ALTER TABLE events_2025 REPLICA IDENTITY USING INDEX events_2025_pkey;

-- trigger events_change on events_2025
ALTER TABLE events_2025 DISABLE TRIGGER events_change;

-- trigger events_change on events_2025
ALTER TABLE events_2025 ENABLE ALWAYS TRIGGER events_change;

-- trigger events_change on events_2026_1
ALTER TABLE events_2026_1 DISABLE TRIGGER events_change;

-- trigger events_change on events
ALTER TABLE ONLY events DISABLE TRIGGER events_change;

-- trigger events_change on events
ALTER TABLE events DISABLE TRIGGER events_change;

-- nothing
COMMENT ON TRIGGER events_change ON events_2025 IS 'x';

-- constraint events_customer_fkey on events
ALTER TABLE events_2025 DISABLE TRIGGER ALL;

-- constraint event_notes_fkey on event_notes [policy: triggers of foreign keys]
ALTER TABLE event_notes DISABLE TRIGGER ALL;

-- constraint events_customer_fkey on events
ALTER TABLE events DROP CONSTRAINT events_customer_fkey;

-- constraint events_2025_own on events_2025
ALTER TABLE events_2025 ADD CONSTRAINT events_2025_own CHECK (customer_id > 0);

-- constraint events_what on events
ALTER TABLE events DROP CONSTRAINT events_what;

-- nothing
COMMENT ON CONSTRAINT events_what ON events_2025 IS 'x';

-- column events.what
ALTER TABLE events DROP COLUMN what CASCADE;

-- index bookings_room on bookings
CREATE INDEX bookings_room ON bookings (room);
ALTER INDEX bookings_1_room_idx RENAME TO bookings_1_by_room;

-- constraint bookings_1_own on bookings_1
CREATE UNIQUE INDEX bookings_unique ON bookings (room, code);
ALTER TABLE bookings_1 ADD CONSTRAINT bookings_1_own UNIQUE (room, code);

-- constraint event_notes_fkey on event_notes
UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'events_2025'::regclass AND tgisinternal
AND tgconstraint IN (SELECT oid FROM pg_constraint WHERE confrelid = 'events_2025'::regclass);
