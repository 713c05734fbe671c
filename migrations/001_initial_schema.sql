-- Initial schema with all tables
--
-- Points in time are BIGINT milliseconds since 1970-01-01 00:00:00 UTC. The backend sends created_at
-- with every INSERT, so that column is NOT NULL and has no default.
--
-- Constraints and indexes are named because later migrations and error messages refer to them: a
-- constraint as PostgreSQL itself would name it, an index as in FingerFlow's older databases where they
-- have it, so that it is not built twice under two names there.
--
-- email, name and token have no index of their own: UNIQUE made one. Nor has session_id or the user_id
-- of a session: an index that begins with the column serves it, and the cascade, as well.

-- BIGSERIAL is what the backend's models and the older databases have.
-- squawk-ignore-file prefer-identity

CREATE TYPE eventtype AS ENUM ('DOWN', 'UP');

-- From left to right, as the hands lie on the keyboard.
CREATE TYPE fingerposition AS ENUM (
    'L_PINKY',
    'L_RING',
    'L_MIDDLE',
    'L_INDEX',
    'L_THUMB',
    'R_THUMB',
    'R_INDEX',
    'R_MIDDLE',
    'R_RING',
    'R_PINKY'
);

CREATE TABLE users (
    id BIGSERIAL PRIMARY KEY,
    email VARCHAR(255) NOT NULL CONSTRAINT users_email_key UNIQUE,
    hashed_password VARCHAR(255),
    auth_provider VARCHAR(50) NOT NULL DEFAULT 'local',
    created_at BIGINT NOT NULL,
    settings JSONB NOT NULL DEFAULT '{
        "theme": "default",
        "sessionMode": "wordcount",
        "timedDuration": 30,
        "wordCount": 20,
        "viewMode": "ticker",
        "selectedWordSetId": null
    }',
    email_verified BOOLEAN NOT NULL DEFAULT false,
    email_verified_at BIGINT,
    two_factor_enabled BOOLEAN NOT NULL DEFAULT false,
    two_factor_secret VARCHAR(32),
    two_factor_backup_codes VARCHAR(500),
    failed_login_attempts BIGINT NOT NULL DEFAULT 0,
    account_locked_until BIGINT,
    last_failed_login BIGINT,
    last_successful_login BIGINT
);
COMMENT ON COLUMN users.created_at IS 'Milliseconds since 1970-01-01 UTC, as every point in time here';

CREATE TABLE word_sets (
    id BIGSERIAL PRIMARY KEY,
    name VARCHAR(100) NOT NULL CONSTRAINT word_sets_name_key UNIQUE,
    description VARCHAR(255),
    words JSONB NOT NULL
);

-- end_time and what is measured stay NULL until the session has ended.
CREATE TABLE typing_sessions (
    id BIGSERIAL PRIMARY KEY,
    user_id BIGINT NOT NULL
        CONSTRAINT typing_sessions_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    start_time BIGINT NOT NULL,
    end_time BIGINT,
    wpm DOUBLE PRECISION,
    mechanical_wpm DOUBLE PRECISION,
    accuracy DOUBLE PRECISION,
    total_characters BIGINT,
    correct_characters BIGINT,
    incorrect_characters BIGINT,
    total_keystrokes BIGINT,
    practice_text TEXT
);
COMMENT ON COLUMN typing_sessions.start_time IS 'Milliseconds since 1970-01-01 UTC';
COMMENT ON COLUMN typing_sessions.accuracy IS 'Percent, 0 to 100';
CREATE INDEX idx_session_user_start ON typing_sessions (user_id, start_time);

-- One row for each key that goes down or up: every index here is paid for with each keystroke.
CREATE TABLE telemetry_events (
    id BIGSERIAL PRIMARY KEY,
    session_id BIGINT NOT NULL
        CONSTRAINT telemetry_events_session_id_fkey
        REFERENCES typing_sessions (id) ON DELETE CASCADE,
    event_type eventtype NOT NULL,
    key_code VARCHAR(50) NOT NULL,
    timestamp_offset BIGINT NOT NULL,
    finger_used fingerposition NOT NULL,
    is_error BOOLEAN NOT NULL DEFAULT false
);
COMMENT ON COLUMN telemetry_events.key_code IS 'KeyboardEvent.code of the browser: KeyA, Space, Enter';
COMMENT ON COLUMN telemetry_events.timestamp_offset IS 'Milliseconds since typing_sessions.start_time';
CREATE INDEX idx_telemetry_session_event_type ON telemetry_events (session_id, event_type);
CREATE INDEX idx_telemetry_session_timestamp ON telemetry_events (session_id, timestamp_offset);
CREATE INDEX idx_telemetry_key_code ON telemetry_events (key_code);
CREATE INDEX idx_telemetry_finger_used ON telemetry_events (finger_used);

CREATE TABLE password_reset_tokens (
    id BIGSERIAL PRIMARY KEY,
    user_id BIGINT NOT NULL
        CONSTRAINT password_reset_tokens_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    token VARCHAR(64) NOT NULL CONSTRAINT password_reset_tokens_token_key UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used BOOLEAN NOT NULL DEFAULT false
);
COMMENT ON COLUMN password_reset_tokens.expires_at IS 'Milliseconds since 1970-01-01 UTC';
CREATE INDEX idx_reset_user ON password_reset_tokens (user_id);
CREATE INDEX idx_reset_expires ON password_reset_tokens (expires_at);

CREATE TABLE email_verification_tokens (
    id BIGSERIAL PRIMARY KEY,
    user_id BIGINT NOT NULL
        CONSTRAINT email_verification_tokens_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    token VARCHAR(64) NOT NULL CONSTRAINT email_verification_tokens_token_key UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used BOOLEAN NOT NULL DEFAULT false
);
COMMENT ON COLUMN email_verification_tokens.expires_at IS 'Milliseconds since 1970-01-01 UTC';
CREATE INDEX idx_verify_user ON email_verification_tokens (user_id);
CREATE INDEX idx_verify_expires ON email_verification_tokens (expires_at);

CREATE TABLE refresh_tokens (
    id BIGSERIAL PRIMARY KEY,
    user_id BIGINT NOT NULL
        CONSTRAINT refresh_tokens_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    token VARCHAR(64) NOT NULL CONSTRAINT refresh_tokens_token_key UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked BOOLEAN NOT NULL DEFAULT false,
    device_info VARCHAR(255)
);
COMMENT ON COLUMN refresh_tokens.expires_at IS 'Milliseconds since 1970-01-01 UTC';
CREATE INDEX idx_refresh_user ON refresh_tokens (user_id);
CREATE INDEX idx_refresh_expires ON refresh_tokens (expires_at);
