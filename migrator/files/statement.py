"""Recognises statements that control a transaction, and statements that cannot run in one."""

from __future__ import annotations

import re
from itertools import islice
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING

from migrator.files import scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The first words of most statements. One match finds them faster than reading token by token.
_PLAIN_WORDS = re.compile(rf"(?>(?:{scanner.WORD}){scanner.SPACE}*+){{1,4}}+")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_UPPER_SPACED = scanner.UPPER | str.maketrans(scanner.SPACES, " " * len(scanner.SPACES))

_CONTROLS: dict[tuple[str, ...], str | None] = {
    ("BEGIN",): "BEGIN",
    ("START", "TRANSACTION"): "BEGIN",
    ("COMMIT",): "COMMIT",
    ("END",): "COMMIT",
    ("ROLLBACK",): "ROLLBACK",
    ("ABORT",): "ROLLBACK",
    ("ROLLBACK", "TO"): "ROLLBACK TO",
    ("ROLLBACK", "WORK", "TO"): "ROLLBACK TO",
    ("ROLLBACK", "TRANSACTION", "TO"): "ROLLBACK TO",
    ("SAVEPOINT",): "SAVEPOINT",
    ("RELEASE",): "RELEASE",
    ("PREPARE", "TRANSACTION"): "PREPARE TRANSACTION",
    ("PREPARE", "TRANSACTION", "AS"): None,  # a prepared statement whose name is "transaction"
    ("PREPARE", "TRANSACTION", "("): None,
    ("COMMIT", "PREPARED"): "COMMIT PREPARED",
    ("ROLLBACK", "PREPARED"): "ROLLBACK PREPARED",
    ("SET", "TRANSACTION"): "SET TRANSACTION",
    ("SET", "LOCAL", "TRANSACTION"): "SET TRANSACTION",
    ("SET", "SESSION", "TRANSACTION"): "SET TRANSACTION",
}
_CONTROL_VERB = re.compile(rf"(?i:{'|'.join({key[0] for key in _CONTROLS})}){scanner.WORD_END}")
_PLAIN_BEGIN = {("BEGIN",), ("BEGIN", "WORK"), ("BEGIN", "TRANSACTION"), ("START", "TRANSACTION")}
_PLAIN_COMMIT = {
    (verb, *work, *chain)
    for verb in ("COMMIT", "END")
    for work in ((), ("WORK",), ("TRANSACTION",))
    for chain in ((), ("AND", "NO", "CHAIN"))
}
_SPLIT = (
    "Split the file into one migration for each transaction, or put "
    "`-- migrator: no-transaction` at its top."
)
_ISOLATION = (
    "Remove them: the migrator begins the transaction. For an isolation level, put "
    "`-- migrator: isolation=repeatable-read` or `isolation=serializable` at the top of the file."
)
_MODES = ("{} asks for transaction modes", _ISOLATION)
_CHAIN = ("{} AND CHAIN begins another transaction", "Write COMMIT without AND CHAIN.")
_SAVEPOINT = (
    "{} names a savepoint that is not set at this place in the file",
    "Remove it, or put the SAVEPOINT of that name before it.",
)
_TWO_PHASE = ("{} is part of a two-phase commit", "Remove it: a migration commits in one phase.")
_OBJECTIONS = {
    "BEGIN": ("{} does not fit into the transaction that the file runs in", "Remove it."),
    "COMMIT": ("{} ends the transaction that the file runs in", _SPLIT),
    "ROLLBACK": ("{} throws away the transaction that the file runs in", "Remove it."),
    "ROLLBACK TO": _SAVEPOINT,
    "RELEASE": _SAVEPOINT,
    "PREPARE TRANSACTION": _TWO_PHASE,
    "COMMIT PREPARED": _TWO_PHASE,
    "ROLLBACK PREPARED": _TWO_PHASE,
    "SET TRANSACTION": _MODES,
}


def transaction_control(statement: str) -> str | None:
    """Return the name of a transaction command, None for any other statement.

    A command with two spellings has one name: COMMIT for END, ROLLBACK for ABORT, BEGIN for START
    TRANSACTION. ROLLBACK TO (a savepoint) has a name of its own. SET SESSION CHARACTERISTICS does
    not count as a transaction command.
    """
    return _CONTROLS.get(_prefix(_CONTROLS, _start(_CONTROL_VERB, statement, 0, len(statement))))


def unwrap(
    script: scanner.Script,
) -> tuple[tuple[scanner.Statement, ...], tuple[scanner.Fault, ...]]:
    """Return the statements to run of a file that runs in the migrator's transaction, and problems.

    A BEGIN that is the first statement and a COMMIT that is the last one are left out. The commands
    for the savepoints that the file itself sets are run as they are. Every other transaction
    command is a problem, and is also left out.
    """
    statements, source = script.statements, script.source
    if not any(
        _CONTROL_VERB.match(source, statement.start, statement.end) for statement in statements
    ):
        return statements, ()
    commands = [
        _start(_CONTROL_VERB, source, statement.start, statement.end) for statement in statements
    ]
    names = [_CONTROLS.get(_prefix(_CONTROLS, command)) for command in commands]
    wrapped = names[:1] == ["BEGIN"] and names[1:][-1:] == ["COMMIT"]
    edges = {0: _PLAIN_BEGIN, len(commands) - 1: _PLAIN_COMMIT} if wrapped else {}
    several = names.count("BEGIN") > 1
    kept, problems = [], []
    savepoints: list[str] = []  # those that are set, the outermost first
    for index, (statement, name) in enumerate(zip(statements, names, strict=True)):
        if not name or _keeps(savepoints, name, commands[index][-1]):
            kept.append(statement)
        elif commands[index] not in edges.get(index, ()):
            problems.append(_objection(statement.start, commands[index], name, several=several))
    return tuple(kept), tuple(problems)


def _keeps(savepoints: list[str], name: str, savepoint: str) -> bool:
    """Follow a command for a savepoint; return whether it is one, and its savepoint is set.

    Args:
        savepoints: those that are set, the outermost first; it is changed as the command does.
        name: the command, as `transaction_control` names it.
        savepoint: the last word of the command.
    """
    if name not in ("SAVEPOINT", "RELEASE", "ROLLBACK TO"):
        return False
    quoted = savepoint.startswith('"')
    savepoint = savepoint[1:-1].replace('""', '"') if quoted else savepoint.translate(_LOWER)
    if name == "SAVEPOINT":
        savepoints.append(savepoint)
    elif savepoint not in savepoints:
        return False
    else:
        while savepoints[-1] != savepoint:
            savepoints.pop()
        if name == "RELEASE":
            savepoints.pop()
    return True


def _start(verbs: re.Pattern[str], source: str, pos: int, end: int) -> tuple[str, ...]:
    """Return the first words of a statement, () when the statement begins with no such verb."""
    pos = scanner.gap(source, pos, end)
    return (
        tuple(islice(scanner.words_between(source, pos, end), 6))
        if verbs.match(source, pos, end)
        else ()
    )


def _prefix(table: Mapping[tuple[str, ...], object], start: tuple[str, ...]) -> tuple[str, ...]:
    """Return as many of a statement's first words as are a key of the table, () when none are."""
    return next((start[:length] for length in (4, 3, 2, 1) if start[:length] in table), ())


def _objection(offset: int, command: tuple[str, ...], name: str, *, several: bool) -> scanner.Fault:
    message, hint = _OBJECTIONS[name]
    if name == "COMMIT" and command[-2:] == ("AND", "CHAIN"):
        message, hint = _CHAIN
    elif name == "BEGIN" and command not in _PLAIN_BEGIN:
        message, hint = _MODES
    elif several and name == "BEGIN":
        hint = _SPLIT
    return scanner.Fault(offset, message.format(" ".join(_prefix(_CONTROLS, command))), hint)


_SETS = re.compile(rf"(?i:SET|RESET|SELECT){scanner.WORD_END}")


def sets_encoding(statement: str) -> str | None:
    """Return the encoding that a statement says the rest of the text is in.

    Recognised are SET and RESET of client_encoding, SET NAMES, RESET ALL and a SELECT of nothing
    but set_config.

    Returns:
        The encoding as it is written; empty for UTF-8 and for the default, which is UTF-8 in the
        migrator's sessions; None when the statement sets no encoding.
    """
    if not _SETS.match(statement):
        return None
    verb, *tokens = islice(scanner.words_between(statement, 0, len(statement)), 8)
    if verb == "RESET":
        return "" if tokens in (["ALL"], ["CLIENT_ENCODING"]) else None
    if verb == "SELECT":
        tokens = tokens[2:] if tokens[:2] == ["PG_CATALOG", "."] else tokens
        name, value = tokens[2:3], tokens[4:5]
        if tokens[:2] != ["SET_CONFIG", "("] or not value or not value[0].endswith("'"):
            return None
    else:
        tokens = tokens[1:] if tokens[:1] in (["SESSION"], ["LOCAL"]) else tokens
        name, value = tokens[:1], tokens[1:2] if tokens[:1] == ["NAMES"] else tokens[2:3]
    if name != ["NAMES"] and "".join(name).strip("\"'").upper() != "CLIENT_ENCODING":
        return None
    encoding = "".join(value).removeprefix("E'").removeprefix("e'").strip("\"'")
    # The server looks at nothing but the letters and digits (its source, encnames.c).
    plain = "".join(filter(str.isalnum, encoding)).upper()
    return "" if plain in ("", "DEFAULT", "UTF8", "UNICODE") else encoding


def not_in_transaction(statement: str) -> str | None:
    """Return the name of a command that PostgreSQL refuses in a transaction block, otherwise None.

    The names are those of the server's message "… cannot run inside a transaction block". The list
    is that of the server's calls of `PreventInTransactionBlock`, up to PostgreSQL 18; the manual
    says the same on the page of each command. Commands that the server refuses only in some
    databases are not in the list: DROP SUBSCRIPTION (refused when the subscription has a slot),
    REINDEX and CLUSTER of a partitioned table.
    """
    if not _REFUSED_VERB.match(statement) and not statement.startswith(
        ("--", "/*", *scanner.SPACES)
    ):
        return None
    plain = _PLAIN_WORDS.match(statement)
    if plain and not statement.startswith(("--", "/*"), plain.end()):
        start = tuple(filter(None, plain[0].translate(_UPPER_SPACED).split(" ")))
    else:
        start = _start(_REFUSED_VERB, statement, 0, len(statement))
    name = _REFUSED.get(_prefix(_REFUSED, start))
    if callable(name):
        return name(tuple(scanner.words_between(statement, 0, len(statement))))
    return name


def concurrent_index(statement: str) -> tuple[str, str] | None:
    """Return the names of the index and the table of a CREATE INDEX CONCURRENTLY, as written.

    Returns:
        None for any other statement, and when the statement does not name the index.
    """
    if not_in_transaction(statement) != "CREATE INDEX CONCURRENTLY":
        return None
    tokens = [*scanner.tokens_between(statement, 0, len(statement)), *[""] * 8]
    folded = [*scanner.words_between(statement, 0, len(statement)), *[""] * 8]
    at = folded.index("CONCURRENTLY") + 1
    at += 3 if folded[at : at + 3] == ["IF", "NOT", "EXISTS"] else 0
    first = at + 2 + (folded[at + 2] == "ONLY")
    last = first = first + (folded[first] == "(")
    while folded[last + 1] == ".":
        last += 2
    return (tokens[at], "".join(tokens[first : last + 1])) if folded[at + 1] == "ON" else None


def _options(tokens: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the options of a list in parentheses at the beginning, and the tokens after it."""
    if tokens[:1] != ("(",) or ")" not in tokens:
        return {}, tokens
    close = tokens.index(")")
    entries = " ".join(tokens[1:close]).replace("=", " ").upper().split(",")
    pairs = [entry.strip().partition(" ") for entry in entries]
    return {name: value.strip(" '") or "ON" for name, _, value in pairs}, tokens[close + 1 :]


def _with(tokens: tuple[str, ...]) -> dict[str, str]:
    """Return the options that a statement gives in WITH (…)."""
    return _options(tokens[tokens.index("WITH") + 1 :])[0] if "WITH" in tokens else {}


def _reindex(tokens: tuple[str, ...]) -> str | None:
    options, rest = _options(tokens[1:])
    if rest[1:2] == ("CONCURRENTLY",) or options.get("CONCURRENTLY", "OFF") not in scanner.FALSE:
        return "REINDEX CONCURRENTLY"
    whole = rest[:1] in (("SCHEMA",), ("DATABASE",), ("SYSTEM",))
    return f"REINDEX {rest[0]}" if whole else None


def _cluster(tokens: tuple[str, ...]) -> str | None:
    return "CLUSTER" if _options(tokens[1:])[1] in ((), ("VERBOSE",)) else None


def _alter_database(tokens: tuple[str, ...]) -> str | None:
    return "ALTER DATABASE SET TABLESPACE" if "TABLESPACE" in tokens[3:5] else None


def _alter_table(tokens: tuple[str, ...]) -> str | None:
    detached = "DETACH" in tokens and tokens[-1] == "CONCURRENTLY"
    return "ALTER TABLE ... DETACH CONCURRENTLY" if detached else None


def _create_subscription(tokens: tuple[str, ...]) -> str | None:
    options = _with(tokens)
    slot = scanner.FALSE.isdisjoint({options.get("CREATE_SLOT", ""), options.get("CONNECT", "")})
    return "CREATE SUBSCRIPTION ... WITH (create_slot = true)" if slot else None


def _alter_subscription(tokens: tuple[str, ...]) -> str | None:
    if tokens[3:4] == ("REFRESH",):
        return "ALTER SUBSCRIPTION ... REFRESH"
    if tokens[4:5] == ("PUBLICATION",):
        refresh = _with(tokens).get("REFRESH", "ON") not in scanner.FALSE
        return "ALTER SUBSCRIPTION with refresh" if refresh else None
    options = _options(tokens[4:])[0] if tokens[3:4] == ("SET",) else {}
    if "FAILOVER" in options:
        return "ALTER SUBSCRIPTION ... SET (failover)"
    two_phase = options.get("TWO_PHASE", "ON") in scanner.FALSE
    return "ALTER SUBSCRIPTION ... SET (two_phase)" if two_phase else None


# The first words of each refused command, and its name. If the other words of the statement decide
# whether it is refused, there is a function that reads all words and returns the name or None.
_REFUSED: dict[tuple[str, ...], str | Callable[[tuple[str, ...]], str | None]] = {
    ("ALTER", "DATABASE"): _alter_database,
    ("ALTER", "SUBSCRIPTION"): _alter_subscription,
    ("ALTER", "SYSTEM"): "ALTER SYSTEM",
    ("ALTER", "TABLE"): _alter_table,
    ("CLUSTER",): _cluster,
    ("COMMIT", "PREPARED"): "COMMIT PREPARED",
    ("CREATE", "DATABASE"): "CREATE DATABASE",
    ("CREATE", "INDEX", "CONCURRENTLY"): "CREATE INDEX CONCURRENTLY",
    ("CREATE", "SUBSCRIPTION"): _create_subscription,
    ("CREATE", "TABLESPACE"): "CREATE TABLESPACE",
    ("CREATE", "UNIQUE", "INDEX", "CONCURRENTLY"): "CREATE INDEX CONCURRENTLY",
    ("DISCARD", "ALL"): "DISCARD ALL",
    ("DROP", "DATABASE"): "DROP DATABASE",
    ("DROP", "INDEX", "CONCURRENTLY"): "DROP INDEX CONCURRENTLY",
    ("DROP", "TABLESPACE"): "DROP TABLESPACE",
    ("REINDEX",): _reindex,
    ("ROLLBACK", "PREPARED"): "ROLLBACK PREPARED",
    ("VACUUM",): "VACUUM",
}
_REFUSED_VERB = re.compile(rf"(?i:{'|'.join({key[0] for key in _REFUSED})}){scanner.WORD_END}")
