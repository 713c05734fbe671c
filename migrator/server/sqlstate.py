"""The error codes (SQLSTATE) that some code of this package depends on, by their names.

The names are those of the PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".
"""

from __future__ import annotations

ACTIVE_SQL_TRANSACTION = "25001"
ADMIN_SHUTDOWN = "57P01"
CANNOT_CONNECT_NOW = "57P03"
CHARACTER_NOT_IN_REPERTOIRE = "22021"
CRASH_SHUTDOWN = "57P02"
DEADLOCK_DETECTED = "40P01"
DEPENDENT_OBJECTS = "2BP01"
DUPLICATE_COLUMN = "42701"
DUPLICATE_FUNCTION = "42723"
DUPLICATE_OBJECT = "42710"
DUPLICATE_SCHEMA = "42P06"
DUPLICATE_TABLE = "42P07"
INSUFFICIENT_PRIVILEGE = "42501"
INVALID_COLUMN_REFERENCE = "42P10"
INVALID_FUNCTION_DEFINITION = "42P13"
INVALID_NAME = "42602"
INVALID_PARAMETER_VALUE = "22023"
INVALID_SCHEMA_NAME = "3F000"
INVALID_TABLE_DEFINITION = "42P16"
INVALID_TRANSACTION_TERMINATION = "2D000"
LOCK_NOT_AVAILABLE = "55P03"
NOT_NULL_VIOLATION = "23502"
OBJECT_NOT_IN_PREREQUISITE_STATE = "55000"
QUERY_CANCELED = "57014"
RAISE_EXCEPTION = "P0001"
SERIALIZATION_FAILURE = "40001"
SYNTAX_ERROR = "42601"
UNDEFINED_COLUMN = "42703"
UNDEFINED_FUNCTION = "42883"
UNDEFINED_OBJECT = "42704"
UNDEFINED_TABLE = "42P01"
UNSAFE_NEW_ENUM_VALUE_USAGE = "55P04"
UNTRANSLATABLE_CHARACTER = "22P05"

# Codes that the migrator's own SQL raises, in a class that the SQL standard and PostgreSQL leave
# free.
CHANGED_HISTORY = "MG001"
LOCK_GIVEN_AWAY = "MG002"
NOT_CLAIMED = "MG003"
NOT_KEPT = "MG004"
RUNS_CODE = "MG005"

# Another transaction was in the way; the same transaction may succeed later.
RETRYABLE = frozenset({LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED, SERIALIZATION_FAILURE})
# The server ends the connection after these errors.
CONNECTION_ENDS = frozenset({ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW})


def condition(code: str) -> str:
    """Return the name of an error code in lower case; empty for a code that a RAISE invented."""
    from psycopg2 import errorcodes  # noqa: PLC0415 - only a failure has a name

    try:
        return str(errorcodes.lookup(code)).lower()
    except KeyError:
        return ""
