"""Does first what FingerFlow's own migrate.py does first: make the table of the history."""

import os
import sys

import psycopg

try:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY)"
        )
except psycopg.Error as error:
    sys.exit(f"Unexpected error: {error}")
