"""The advice on what to do next, found by the SQLSTATE and the message of an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.process.names import with_suffix
from migrator.process.settings import given_as
from migrator.server import sqlstate

if TYPE_CHECKING:
    from migrator.process.names import Table
    from migrator.server.activity import Blocker

_ANYTHING = "Correct the file and run the migrator again; nothing has to be cleaned up."
_REST_OF_THE_FILE = (
    "Correct the statement and run the migrator again. The statements before it stay done, so "
    "leave their text as it is."
)
_REST_OF_THE_ROWS = (
    "Correct the rows that it fails on, and run the migrator again: it goes on with this range. If "
    "the statement itself is wrong, correct it, and accept the file with `migrator repair`; the "
    "rows that are done stay as they are."
)
_EDITED_ROWS = (
    "A statement that was edited is accepted with `migrator repair`; the rows that are done stay "
    "as they are."
)
# For a statement of the migrator itself.
_NO_FILE = (
    "No file is to blame: this is about a statement of the migrator itself. Look for the reason in "
    "the server's log."
)
_OF_ANOTHER_ROLE = (
    "It belongs to another role. Let one role own the history and all tables, and let each login "
    "act as it. A superuser does that, with your names: GRANT owner TO login; ALTER ROLE login SET "
    "role TO owner."
)
_NO_TRANSACTION = (
    "Put it in a file of its own that begins with the line `-- migrator: no-transaction`."
)
_EXISTS = (
    "It exists already. If it was made by hand, compare it with the file, and drop it or remove "
    "the statement."
)
_EXISTS_AT_FIRST = (
    f"{_EXISTS} If another tool built the database, take over from it with `migrator adopt`, or "
    "record the existing schema with `migrator baseline N --verify`."
)
_SEES_ALL = (
    "run as the owner of the table or as a role that has BYPASSRLS. If the table has FORCE ROW "
    "LEVEL SECURITY, the owner also needs ALTER TABLE ... NO FORCE ROW LEVEL SECURITY before the "
    "statement and ALTER TABLE ... FORCE ROW LEVEL SECURITY after it, in a file that is one "
    "transaction."
)
_ADDED_NOT_NULL = (
    "The rows that are there would have NULL. Add the column without NOT NULL, fill it with "
    "UPDATE, then SET NOT NULL; or give it a constant DEFAULT. docs/writing-migrations.md shows "
    "how to do it on a live site."
)
_EXISTING = ("42710", "42P07")  # an object, a table
_FIRST = "first, by hand or in a migration before this one"
_NOT_VALID = "add the constraint NOT VALID and validate it in a later migration."

# Advice for some messages of a SQLSTATE, tried before the advice for the SQLSTATE alone. Each
# pattern is matched with the SQLSTATE, a space and the message.
_BY_MESSAGE = {
    "0A000 extension ": (
        "Install the extension's package on the server (for a container, in its image), then run "
        "the migrator again."
    ),
    "0A000 .*used by a view or rule": (
        "Drop the view, change the column and create the view again, in this file. What a "
        "repeatable has made need only be dropped: the repeatable is run again."
    ),
    "22P02 .*for enum": (
        "The enum does not have that value. Correct it, or add it in a migration before this one: "
        "a new value has to be committed before it can be used."
    ),
    "23502 .*contains null values": (
        "Existing rows have NULL. Fill in a value with UPDATE first, in an earlier migration if "
        "the table is large; docs/writing-migrations.md shows how to do it on a live site."
    ),
    "23503 .*update or delete": (
        "Other rows still refer to this row. Delete them or let them refer to another row first."
    ),
    "23505 .*could not create unique index": (
        f"Existing rows have the same key. Remove or merge them {_FIRST}."
    ),
    "3F000 .*no schema has been selected": (
        "search_path is empty, as pg_dump sets it. Write the schema before the name, or write SET "
        "search_path TO public above the statement."
    ),
    "42501 .*schema public": (
        "Since PostgreSQL 15 only the owner of the database may create objects in schema public. "
        "As a superuser: GRANT CREATE ON SCHEMA public TO the role; or make the role the owner of "
        "the database (ALTER DATABASE ... OWNER TO)."
    ),
    "42501 .*must be owner": (
        "Only its owner, or a member of that role, may change it. Run the migrator as that role, "
        "or make the migrator's role the owner (ALTER ... OWNER TO)."
    ),
    "42501 query would be affected by row-level security": (
        "The role would see only a part of the table, and with row_security off the server refuses "
        f"that. Let the statement {_SEES_ALL}"
    ),
    "42501 .*violates row-level security": (
        "The policies of the table do not let the role write such a row, or touch the one that is "
        f"there. Correct the row, or let the statement {_SEES_ALL}"
    ),
    "42501 .*create extension": (
        "Let a superuser create the extension once. A trusted extension can be created by the "
        "owner of the database."
    ),
    '42601 .*near "`"': 'PostgreSQL quotes names with "double quotes" or not at all.',
    '42601 .*near ":"': "There are no psql variables here: write the value itself.",
    '42601 .*near "[{%]': (
        "It looks like a placeholder of a template. A migration is plain SQL: nothing is filled in."
    ),
    "42601 INSERT has more": "Give as many values as there are columns.",
    r'42704 unrecognized configuration parameter "\w+\.': (
        "Nothing has set it. Give it a value for this run, such as "
        "MIGRATOR_SET=app.env=production; or let the file do without one: current_setting(name, "
        "true) is NULL or empty then. In a dump it is a setting of an extension that the server "
        "has not loaded: remove the line."
    ),
    "42704 unrecognized configuration parameter": (
        "The server does not have that setting. If the file is a dump, the server is older than "
        "the pg_dump that wrote the file: remove the line, or use the pg_dump of the server's "
        "version."
    ),
    '42P06 .*"public"': (
        "Every database has this schema: remove the line. pg_dump writes the line only with "
        "--schema=public."
    ),
    "42704 role ": (
        "Roles belong to the server, not to the database. Create the role before the migrator "
        "runs, or leave the statement out if the role is missing."
    ),
    "55006 .*pending trigger events": (
        "The file changed rows whose constraints are checked at its end. Change the rows in one "
        "migration and the table in the next; or write SET CONSTRAINTS ALL IMMEDIATE in between."
    ),
    "57014 .*MIGRATOR_LOCK_HOLD_MAX": (
        "Other users of the table wait for that lock. `migrator rehearse` shows which statement "
        "takes the lock and how to avoid it; or raise MIGRATOR_LOCK_HOLD_MAX."
    ),
    "57014 .*statement timeout": (
        "It ran longer than statement_timeout allows. Change many rows with a backfill "
        "(docs/backfills.md), or give this file more time: "
        "`-- migrator: statement-timeout=30min`."
    ),
    "57014 .*user request": (
        "Another session cancelled it (pg_cancel_backend). Find out why, then run the migrator "
        "again."
    ),
}
# PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".
_BY_SQLSTATE = {
    "0A000": "This server does not support that, in this version or for this kind of object.",
    "22001": "A value is longer than the type allows. Shorten it, or use a longer type.",
    "22003": "A value does not fit the type. Use a larger one (bigint, numeric), or correct it.",
    "22007": "The text is not a date or time in a form that the server reads. Write ISO 8601.",
    "22008": "There is no such date or time. Correct the value.",
    "22012": "Something is divided by zero. Use nullif(divisor, 0), or leave such rows out.",
    "22021": "The text has a character that the database's encoding does not have.",
    "22P02": "The text is not a value of that type. Correct it; existing rows have to be repaired "
    "before the type of their column is changed.",
    "22P04": "The row has another number of columns than COPY expects, or another delimiter: in "
    "the text format columns are separated by tabs.",
    "23502": "A column that is NOT NULL gets no value. Give it one, or a DEFAULT.",
    "23503": "A row refers to a row that does not exist. Insert that row first or repair the data; "
    f"for an existing table, {_NOT_VALID}",
    "23505": "Another row has this key already. Leave out the new row, or use ON CONFLICT.",
    "23514": f"A row violates the check. Repair the row first; for an existing table, {_NOT_VALID}",
    "23P01": "Two rows violate the exclusion constraint. Repair the data first.",
    "25001": f"This command cannot run in a transaction or in a function. {_NO_TRANSACTION}",
    "25006": "The server is read-only: a standby, or default_transaction_read_only is on.",
    "26000": "A prepared statement ends with its file. Prepare it in the same file.",
    "2BP01": "Other objects depend on it. Drop or change them first; CASCADE drops them too. What "
    "repeatables have made of them is made again in the same run.",
    "2D000": f"A procedure or DO block that commits cannot run in a transaction. {_NO_TRANSACTION}",
    "3F000": "There is no such schema. Create it first, in this file or in an earlier one.",
    "40001": "It conflicted with other transactions again and again. Apply it when there is less "
    "traffic.",
    "40P01": "It deadlocked with other transactions again and again. Lock the tables in the same "
    "order as the application, or apply it when there is less traffic.",
    "42501": "The role may not do that. GRANT it the right, or run the migrator as the owner.",
    "42601": "The statement cannot be parsed. Look at the caret and at the text before it: a "
    "comma, a parenthesis or a semicolon may be missing, or there may be one too many.",
    "42701": "The column exists already. If it was made by hand, drop it or use IF NOT EXISTS.",
    "42702": "Several tables have that column: write the name of the table before it.",
    "42703": "There is no such column. Check its spelling, and whether an earlier migration adds "
    'it; a name with capital letters needs "double quotes".',
    "42704": "There is no such type or object. Check its spelling, and whether the extension or "
    "the earlier migration that creates it is missing.",
    "42710": _EXISTS_AT_FIRST,
    "42723": "The function exists already; use CREATE OR REPLACE FUNCTION.",
    "42803": "Add the column to GROUP BY, or use it in an aggregate function.",
    "42804": "The types do not match. Add a cast; in ALTER COLUMN ... TYPE, write it after USING.",
    "42883": "There is no such function or operator for these types. Check the spelling, add a "
    "cast, or create the extension that has it.",
    "42939": "The name is reserved by PostgreSQL. Use another one.",
    "42P01": "There is no such table. Check its spelling and its schema, and whether an earlier "
    "migration creates it.",
    "42P02": "Parameters are not filled in here: write the value itself.",
    "42P06": "The schema exists already; use CREATE SCHEMA IF NOT EXISTS.",
    "42P07": _EXISTS_AT_FIRST,
    "42P13": "The function's definition is not valid. To change the result or the parameters' "
    "names of an existing function, drop it first.",
    "42P16": "The definition does not fit the table or view. CREATE OR REPLACE VIEW can only add "
    "columns at the end: for any other change, drop the view first.",
    "53100": "The server's disk is full. Make room before running the migrator again.",
    "53200": "The server has no memory left, or no room for locks (max_locks_per_transaction).",
    "54000": "A limit of PostgreSQL is reached; the message says which.",
    "55000": "The object is not in the state that the command needs.",
    "55006": "The object is in use, for example by an open cursor.",
    "55P03": "The lock was not free in time. Run the migrator again when the table is free; "
    "MIGRATOR_LOCK_WAIT sets how long it keeps trying.",
    "55P04": "A new enum value cannot be used in the transaction that adds it. Use it in the next "
    "migration.",
    "57014": "The statement was cancelled.",
    "58P01": "A file is missing on the server: the extension is not installed there.",
    "P0001": "The file, or a function or trigger that it runs, raised this error on purpose (RAISE "
    "EXCEPTION); the message says why.",
    "P0002": "A SELECT INTO STRICT found no row.",
    "P0003": "A SELECT INTO STRICT found more than one row.",
}
# The codes whose advice is as good when no file is to blame.
_ABOUT_THE_SERVER = ("25006", "53100", "53200", "54000")

_QUERY_SYNTAX = (
    "The statement ran code that cannot be parsed: look at the second caret. If EXECUTE was given "
    "this code, repair what builds it; format() writes a name with %I and a value with %L. If that "
    "is in a function of an earlier migration, replace the function before the statement."
)


@dataclass(frozen=True, slots=True)
class Clues:
    """The facts that the advice on a failure depends on.

    Attributes:
        sqlstate: the five-character code of the error.
        message: the message of the error.
        source: the lines of the file around the place, as they are shown.
        statement: the text of the statement; empty if the error came after the last one.
        shows_query: whether the SQL that a function or block ran is shown below the file.
        at_end: whether the error came after the last statement.
        blockers: the sessions that hold the lock that was not available.
        changed_history: whether the file has changed the history itself.
        refuses_record: whether the history refuses the record of the file.
        version: the version of the migration.
        is_first: whether no migration is known to be applied.
        resumable: whether the statements before the failed one stay done.
        half_done: whether statements of the file stay done, as the progress table records.
        rows_done: whether earlier rows of a backfill stay done.
    """

    sqlstate: str
    message: str
    source: tuple[str, ...] = ()
    statement: str = ""
    shows_query: bool = False
    at_end: bool = False
    blockers: tuple[Blocker, ...] = ()
    changed_history: bool = False
    refuses_record: bool = False
    version: int = 0
    is_first: bool = True
    resumable: bool = False
    half_done: bool = False
    rows_done: bool = False


def for_failure(clues: Clues, table: Table) -> str:
    """Return one or two sentences on what to do about a failure.

    Args:
        clues: the facts of the failure.
        table: the history table.
    """
    if certain := _about_history(clues, table) or _about_invisible(clues):
        return certain
    if clues.shows_query and clues.sqlstate == sqlstate.SYNTAX_ERROR:
        return _QUERY_SYNTAX
    if clues.sqlstate == sqlstate.LOCK_NOT_AVAILABLE and clues.blockers:
        return (
            f"Let that transaction end, or end it ({clues.blockers[0].ending_sql}), and run the "
            f"migrator again. {given_as('MIGRATOR_LOCK_WAIT')} sets how long the migrator keeps "
            "trying."
        )
    if clues.sqlstate in _EXISTING and not clues.is_first:  # `baseline` is refused then
        record = (
            f"INSERT INTO {table.shortest} (version, description) "
            f"VALUES ({clues.version}, 'was there already')"
        )
        if clues.half_done:  # such a file is not applied, whatever the history says
            progress = table._replace(name=with_suffix(table.name, "_progress"))
            forget = f"DELETE FROM {progress.shortest} WHERE version = {clues.version}"
            record = f"BEGIN; {record}; {forget}; COMMIT"
        return f"{_EXISTS} If all changes of the file exist already, record it: {record}."
    if clues.at_end and (about_end := _about_end(clues, table)):
        return about_end
    if clues.sqlstate == sqlstate.NOT_NULL_VIOLATION and _adds_column(clues):
        return _ADDED_NOT_NULL
    if clues.rows_done:
        return _of_rows(clues)
    advice = by_code(clues.sqlstate, clues.message, _otherwise(clues))
    if clues.at_end and clues.sqlstate.startswith("23"):
        return f"The constraint is deferred, so it is checked at the end of the file. {advice}"
    return advice


def _about_invisible(clues: Clues) -> str:
    """Return the advice on an invisible character that the server took for a name."""
    invisible = re.search(r"<U\+(?!00(?:23|3A)>)\w+>", "\n".join(clues.source))
    if invisible is None or not clues.sqlstate.startswith("42"):
        return ""
    return (
        f"The file has an invisible character here, {invisible[0]}. Such characters often come "
        "from a web page or a document. Replace it with a space, or remove it."
    )


def _of_rows(clues: Clues) -> str:
    """Return the advice on a backfill of which some rows stay done."""
    advice = by_code(clues.sqlstate, clues.message, _REST_OF_THE_ROWS)
    return advice if advice == _REST_OF_THE_ROWS else f"{advice} {_EDITED_ROWS}"


def _otherwise(clues: Clues) -> str:
    """Return the advice for an error that is not known."""
    return _REST_OF_THE_FILE if clues.resumable else _ANYTHING


def _about_end(clues: Clues, table: Table) -> str:
    """Return the advice on what only the end of a file can fail with; empty for anything else."""
    if clues.sqlstate == sqlstate.INSUFFICIENT_PRIVILEGE:
        return _OF_ANOTHER_ROLE  # the statement that records the file
    if clues.sqlstate == sqlstate.RAISE_EXCEPTION:
        return (
            f"A deferred trigger of a table that the file has changed, or a trigger on {table}, "
            "raised this error on purpose; the message says why."
        )
    return ""


def _adds_column(clues: Clues) -> bool:
    """Return whether the statement adds the column that the message says has NULL."""
    named = re.match(r'column "(.+)" of relation .*contains null values', clues.message)
    if not named:
        return False
    added = rf'\bADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?"?{re.escape(named[1])}\b'
    return re.search(added, clues.statement, re.IGNORECASE) is not None


def _about_history(clues: Clues, table: Table) -> str:
    """Return the advice on a file that gets in the way of the history; empty when none does."""
    if clues.changed_history or clues.sqlstate == sqlstate.CHANGED_HISTORY:
        return (
            f"A migration may record only itself. Remove the statements that change {table}; if "
            f"the file is a dump, make it with --exclude-table='{table.name}*'."
        )
    if clues.sqlstate == sqlstate.NOT_KEPT:
        return (
            f"A trigger on {table} changes or drops what is written to it. Drop the trigger, and "
            "run the migrator again."
        )
    if clues.refuses_record:
        return for_refused_record(table)
    if clues.sqlstate == sqlstate.DUPLICATE_TABLE and f'"{table.name}"' in clues.message:
        return (
            f"It is the migrator's own history table, which exists before the first file runs. "
            f"Remove it from the file; if the file is a dump, make it with "
            f"--exclude-table='{table.name}*'."
        )
    return ""


def for_refused_record(table: Table) -> str:
    """Return the advice when one of the migrator's tables does not take what is written to it.

    Args:
        table: that table.
    """
    return (
        f"{table} has a column or a constraint that the migrator has not made, and the record of "
        "the file does not fit it. Drop it, or give the column a default, and run the migrator "
        "again."
    )


def for_refusal(code: str, message: str) -> str:
    """Return advice for an error of the server that belongs to no file.

    Args:
        code: the SQLSTATE of the error; may be empty.
        message: the message of the error.
    """
    if code == sqlstate.INSUFFICIENT_PRIVILEGE and "schema public" in message:
        return by_code(code, message)
    if code == sqlstate.INSUFFICIENT_PRIVILEGE:
        return _OF_ANOTHER_ROLE
    if code == sqlstate.RAISE_EXCEPTION:
        return (
            "No file is to blame: a trigger on a table of the migrator, or an event trigger, "
            "raised this error on purpose; the message says why."
        )
    return _BY_SQLSTATE[code] if code in _ABOUT_THE_SERVER else _NO_FILE


def by_code(code: str, message: str, otherwise: str = _ANYTHING) -> str:
    """Return advice for an error of the server.

    Args:
        code: the SQLSTATE of the error; may be empty.
        message: the message of the error.
        otherwise: the advice for an error that is not known.
    """
    for pattern, advice in _BY_MESSAGE.items():
        if re.match(pattern, f"{code} {message}"):
            return advice
    advice = _BY_SQLSTATE.get(code, otherwise)
    return advice.replace("MIGRATOR_LOCK_WAIT", given_as("MIGRATOR_LOCK_WAIT"))
