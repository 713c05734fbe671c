-- Words per minute
UPDATE sessions
SET wpm = words / minutes;
