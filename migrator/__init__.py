"""Apply plain SQL migrations to PostgreSQL, each exactly once, and exit."""

__version__ = "0.1.0"
