"""The SQL queries that a snapshot is read with, by kinds of objects."""
