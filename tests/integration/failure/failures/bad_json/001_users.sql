CREATE TABLE users (
    id bigint PRIMARY KEY,
    settings jsonb NOT NULL DEFAULT '{
        "theme": "default",
        "wordCount": 20,
    }'
);
