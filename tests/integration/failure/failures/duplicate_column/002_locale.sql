-- Add the language of a user
ALTER TABLE users ADD COLUMN locale text;
