"""What to do next, for the errors that migrations fail with most."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.failure import Failure

_ANYTHING = "Correct the file and run the migrator again; nothing has to be cleaned up."

# PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".
_BY_SQLSTATE = {
    "23502": "A row has NULL there. Give the rows a value first (UPDATE, or a DEFAULT), or add the "
    "constraint NOT VALID and validate it in a later migration.",
    "23503": "A row refers to a row that does not exist. Repair the data in an earlier migration, "
    "or add the constraint NOT VALID and validate it in a later one.",
    "23505": "The data has duplicates. Remove them in an earlier migration, then add the "
    "constraint.",
    "23514": "A row violates the check. Repair the data first, or add the constraint NOT VALID and "
    "validate it in a later migration.",
    "23P01": "Two rows exclude each other. Repair the data first.",
    "22001": "A value is longer than the new type allows. Shorten the data first, or use a longer "
    "type.",
    "22003": "A value does not fit the type. Use a larger type (bigint), or repair the data first.",
    "22P02": "The text is not a valid value of that type; for an enum, the value has to be added "
    "first, in a migration of its own.",
    "25001": "This command cannot run in a transaction. Put it in a file of its own that begins "
    "with `-- migrator: no-transaction`.",
    "25006": "The server is read-only: a standby, or default_transaction_read_only is on.",
    "2BP01": "Other objects depend on it. Drop or change them first; CASCADE would drop them too.",
    "2D000": "A procedure or DO block that commits cannot run in the migration's transaction. Put "
    "it in a file of its own that begins with `-- migrator: no-transaction`.",
    "3F000": "Create the schema first, in this file or in an earlier one.",
    "40001": "Transactions kept getting in each other's way. Apply it when there is less traffic.",
    "40P01": "It kept deadlocking with other transactions. Lock the tables in the order in which "
    "the application does, or apply it when there is less traffic.",
    "42501": "The role may not do that. Since PostgreSQL 15 only the database's owner may create "
    "objects in schema public: GRANT CREATE ON SCHEMA public TO the role, or make it the owner of "
    "the database.",
    "42601": "The statement cannot be parsed; look at the caret, and at the line before it for a "
    "missing comma or semicolon.",
    "42701": "The column is there already. If it was added by hand, drop it or use IF NOT EXISTS.",
    "42703": "There is no such column; check its spelling and whether an earlier migration adds "
    "it.",
    "42704": "There is no such type or object; check its spelling, and whether an extension is "
    "missing.",
    "42710": "It exists already. If it was made by hand, drop it, or record the version with "
    "`migrator baseline` when the whole file is in the database.",
    "42723": "The function exists already; use CREATE OR REPLACE FUNCTION.",
    "42883": "There is no such function or operator for these types; check the spelling, add a "
    "cast, or create the extension that has it.",
    "42P01": "There is no such table; check its spelling and its schema, and whether an earlier "
    "migration creates it.",
    "42P06": "The schema is there already; use CREATE SCHEMA IF NOT EXISTS.",
    "42P07": "It exists already. If the database was built by another tool, record what is there "
    "with `migrator baseline N` instead of running the files.",
    "53100": "The server's disk is full. Make room before running the migrator again.",
    "53200": "The server ran out of memory, or of room for locks (max_locks_per_transaction).",
    "55000": "The object is not in the state that the command needs; the detail says which.",
    "55006": "The object is in use, by an open cursor or by pending trigger events.",
    "55P03": "A transaction held the lock for the whole budget. Find it in pg_stat_activity, end "
    "it, and run the migrator again; or raise MIGRATOR_LOCK_WAIT.",
    "55P04": "A new enum value cannot be used in the transaction that adds it. Use it in the next "
    "migration.",
    "57014": "The statement was cancelled: by an administrator, or because it ran longer than "
    "statement_timeout, which the directive `-- migrator: statement-timeout=30min` raises.",
    "58P01": "A file is missing on the server: the extension is not installed there.",
    "0A000": "This server does not support that, in this version or for this kind of object.",
    "MG001": "A migration records only itself. Remove its changes to the history table.",
    "P0001": "The file itself raised this (RAISE EXCEPTION).",
}


def text(failure: Failure) -> str:
    """Return one or two sentences on what to do about a failure."""
    return _BY_SQLSTATE.get(failure.sqlstate, _ANYTHING)
