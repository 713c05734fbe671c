"""The least that a migration tool in Python can do: one message for each migration.

It has a lock and a history, and nothing else: no checksums, no retries, no places of errors, and a
file that holds COPY data, COMMIT or CREATE INDEX CONCURRENTLY does not work.
"""

import os
import sys
from pathlib import Path

import psycopg2

connection = psycopg2.connect(os.environ["DATABASE_URL"])
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("SELECT pg_advisory_lock(1)")
cursor.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
if cursor.fetchone() != (True,):
    cursor.execute("CREATE TABLE schema_migrations (version bigint PRIMARY KEY)")
cursor.execute("SELECT version FROM schema_migrations")
applied = {version for (version,) in cursor.fetchall()}
for file in sorted(Path(sys.argv[1]).glob("*.sql")):
    version = int(file.name.partition("_")[0])
    if version not in applied:
        cursor.execute(
            f"BEGIN; {file.read_text()}; INSERT INTO schema_migrations VALUES ({version}); COMMIT"
        )
connection.close()
