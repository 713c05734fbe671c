UPDATE users
SET email = lower(emial)
WHERE id > 0;
