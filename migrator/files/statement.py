"""Recognises statements that control a transaction, and statements that cannot run in one."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

# The first words of most statements. One match finds them faster than reading token by token.
_PLAIN_WORDS = re.compile(rf"(?>(?:{scanner.WORD}){scanner.SPACE}*+){{1,4}}+")
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
_ALREADY = "the file is one transaction already"
_SPLIT = "What has to be committed before the rest belongs in a file of its own."
_LEVEL = (
    "For an isolation level, put `-- migrator: isolation=repeatable-read` or "
    "`isolation=serializable` at the top of the file."
)
_MODES = (
    "{} asks for transaction modes",
    f"Remove them: the migrator begins the transaction. {_LEVEL}",
)
_CHAIN = ("{} AND CHAIN begins another transaction", "Write COMMIT without AND CHAIN.")
_SAVEPOINT = (
    "{} names a savepoint that is not set at this place in the file",
    "Remove it, or put the SAVEPOINT of that name before it.",
)
_TWO_PHASE = ("{} is part of a two-phase commit", "Remove it: a migration commits in one phase.")
_OBJECTIONS = {
    "BEGIN": (
        "{} does not fit into the transaction that the file runs in",
        f"Remove it: {_ALREADY}.",
    ),
    "COMMIT": (
        "{} ends the transaction that the file runs in",
        f"Remove it: {_ALREADY}. {_SPLIT}",
    ),
    "ROLLBACK": (
        "{} throws away the transaction that the file runs in",
        "Remove it, and the statements that it would undo.",
    ),
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

    A BEGIN that is the first statement and the COMMIT that is the last one are left out. The
    commands for the savepoints that the file itself sets are run as they are. Every other
    transaction command is a problem, and is also left out; a BEGIN and its COMMIT are one problem.
    """
    statements, source = script.statements, script.source
    if not any(
        _CONTROL_VERB.match(source, statement.start, statement.end) for statement in script.others
    ):
        return statements, ()
    commands = [
        _start(_CONTROL_VERB, source, statement.start, statement.end) for statement in statements
    ]
    names = [_CONTROLS.get(_prefix(_CONTROLS, command)) for command in commands]
    last = len(commands) - 1
    pairs = _pairs(names)
    edges: dict[int, Collection[tuple[str, ...]]] = {}
    if pairs.get(0) == last:
        edges = {0: _PLAIN_BEGIN, last: _PLAIN_COMMIT}
        pairs = {}
    kept, problems = [], []
    savepoints: list[str] = []  # those that are set, the outermost first
    for index, (statement, name) in enumerate(zip(statements, names, strict=True)):
        if not name or _keeps(savepoints, name, commands[index][-1]):
            kept.append(statement)
        elif commit := pairs.get(index):
            line, _ = scanner.place(source, statements[commit].start)
            problems.append(_pair(statement.start, commands[index], commands[commit], line))
        elif index not in pairs.values() and commands[index] not in edges.get(index, ()):
            problems.append(_objection(statement.start, commands[index], name))
    return tuple(kept), tuple(problems)


def begins_and_commits(script: scanner.Script) -> tuple[scanner.Statement, ...]:
    """Return every BEGIN and COMMIT of a script that could be left out.

    Returns:
        Nothing when there is another command that ends or begins a transaction, such as ROLLBACK
        or a BEGIN with an isolation level, or when the two do not take turns.
    """
    found: list[tuple[str, scanner.Statement]] = []
    for statement in script.statements:
        command = _start(_CONTROL_VERB, script.source, statement.start, statement.end)
        name = _CONTROLS.get(_prefix(_CONTROLS, command))
        if name in (None, "SAVEPOINT", "RELEASE", "ROLLBACK TO", "SET TRANSACTION"):
            continue
        plain = _PLAIN_BEGIN if name == "BEGIN" else _PLAIN_COMMIT
        if command not in plain or (found and found[-1][0] == name):
            return ()
        found.append((name, statement))
    return tuple(statement for _, statement in found)


def isolation_set(statement: str) -> str:
    """Return the level that a SET TRANSACTION asks for, if it asks for nothing else; or nothing.

    Returns:
        `repeatable-read` or `serializable`, as the directive `isolation` has it.
    """
    start = scanner.words(statement)
    if start[:4] != ("SET", "TRANSACTION", "ISOLATION", "LEVEL"):
        return ""
    level = "-".join(start[4:]).lower()
    return level if level in ("repeatable-read", "serializable") else ""


def _pairs(names: Sequence[str | None]) -> dict[int, int]:
    """Return the COMMIT of each BEGIN that has one; both as numbers of statements."""
    pairs: dict[int, int] = {}
    begin = None
    for index, name in enumerate(names):
        if name == "BEGIN" and begin is None:  # the server ignores a BEGIN in a transaction
            begin = index
        elif name == "COMMIT" and begin is not None:
            pairs[begin] = index
            begin = None
    return pairs


def _pair(offset: int, begin: tuple[str, ...], commit: tuple[str, ...], line: int) -> scanner.Fault:
    """Return the problem of a BEGIN and a COMMIT around a part of a file.

    Args:
        offset: where the BEGIN is.
        begin: the first words of the BEGIN.
        commit: the first words of the COMMIT.
        line: the line of the COMMIT, from 1.
    """
    opens, closes = (" ".join(_prefix(_CONTROLS, command)) for command in (begin, commit))
    hint = f"Remove both: {_ALREADY}. {_SPLIT}"
    if begin not in _PLAIN_BEGIN:
        hint += f" {_LEVEL}"
    return scanner.Fault(
        offset, f"{opens}, and {closes} in line {line}, are around a part of the file only", hint
    )


def _keeps(savepoints: list[str], name: str, savepoint: str) -> bool:
    """Follow a command for a savepoint; return whether it is one, and its savepoint is set.

    Args:
        savepoints: those that are set, the outermost first; it is changed as the command does.
        name: the command, as `transaction_control` names it.
        savepoint: the last word of the command.
    """
    if name not in ("SAVEPOINT", "RELEASE", "ROLLBACK TO"):
        return False
    savepoint = scanner.folded(savepoint)
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


def _objection(offset: int, command: tuple[str, ...], name: str) -> scanner.Fault:
    message, hint = _OBJECTIONS[name]
    if name == "COMMIT" and command[-2:] == ("AND", "CHAIN"):
        message, hint = _CHAIN
    elif name == "BEGIN" and command not in _PLAIN_BEGIN:
        message, hint = _MODES
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
    if name is _alter_table and "CONCURRENTLY" not in statement.upper():
        return None  # to read every word takes long
    if callable(name):
        return name(tuple(scanner.words_between(statement, 0, len(statement))))
    return name


# Commands that the server refuses in a transaction only when the object is of a certain kind: the
# index, the table is partitioned, the subscription has a slot.
_SOMETIMES_REFUSED = {
    ("REINDEX",): "REINDEX",
    ("CLUSTER",): "CLUSTER",
    ("DROP", "SUBSCRIPTION"): "DROP SUBSCRIPTION",
}


def sometimes_not_in_transaction(statement: str) -> str | None:
    """Return the name of a command that the server refuses in a transaction for some objects."""
    words = scanner.words(statement, 2)
    return _SOMETIMES_REFUSED.get(words) or _SOMETIMES_REFUSED.get(words[:1])


class Target(NamedTuple):
    """The object that a command makes, changes or drops, by its names in the statement.

    Each name is written as the server's `parse_ident` and `to_regclass` read it: quoted as in the
    statement, and without Unicode escapes. The server shortens and folds it.

    Attributes:
        name: the name, with its schema if the statement has that.
        table: the table of a new index, or the table that a partition is detached from.
    """

    name: str
    table: str = ""


def target(statement: str, command: str) -> Target | None:
    """Return the object of a command; None when the statement does not name it, or not one.

    Args:
        statement: the text of the statement.
        command: its name, as `not_in_transaction` or `sometimes_not_in_transaction` returns it.
    """
    if command not in _TARGETS:
        return None
    try:
        return _TARGETS[command](_Reader(statement))
    except ValueError:
        return None


_LONGEST_START = 100  # tokens in which all names of a command are


class _Reader:
    """Reads the beginning of a statement, token by token.

    Each method that needs a name raises ValueError when there is none.
    """

    def __init__(self, statement: str) -> None:
        tokens = scanner.tokens_between(statement, 0, len(statement))
        self._tokens = [*islice(tokens, _LONGEST_START), *[""] * 8]
        self._words = [*scanner.words(statement, _LONGEST_START), *[""] * 8]
        self._at = 0

    def skip(self, *words: str) -> bool:
        """Skip these words if they come next."""
        found = self._words[self._at : self._at + len(words)] == [*words]
        self._at += len(words) if found else 0
        return found

    def skip_past(self, word: str) -> None:
        """Skip everything up to a word, and the word."""
        self._at = self._words.index(word, self._at) + 1

    def name(self) -> str:
        """Read a name, with its schema if there is one."""
        parts = [self._identifier()]
        while self.skip("."):
            parts.append(self._identifier())
        return ".".join(parts)

    def _identifier(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        if token[:2].upper() == "U&" and token.endswith('"'):
            escape = "\\"
            if self.skip("UESCAPE"):
                escape = self._tokens[self._at][1:-1]
                self._at += 1
            return _without_escapes(token[3:-1], escape)
        if not re.match(rf"{scanner.WORD}|\"", token):
            raise ValueError(token)
        return token


def _without_escapes(quoted: str, escape: str) -> str:
    """Return U&"…" as an ordinary quoted name (PostgreSQL documentation, "Lexical Structure")."""
    code = re.escape(escape)
    pattern = rf"{code}(?:({code})|\+([0-9A-Fa-f]{{6}})|([0-9A-Fa-f]{{4}}))"

    def character(match: re.Match[str]) -> str:
        text = match[1] or chr(int(match[2] or match[3], 16))
        return text.replace('"', '""')

    text = re.sub(pattern, character, quoted)
    # A character beyond U+FFFF may be written as two surrogates.
    return f'"{text.encode("utf-16", "surrogatepass").decode("utf-16")}"'


def _new_index(reader: _Reader) -> Target:
    reader.skip_past("CONCURRENTLY")
    reader.skip("IF", "NOT", "EXISTS")
    if reader.skip("ON"):
        raise ValueError
    name = reader.name()
    reader.skip_past("ON")
    reader.skip("ONLY")
    reader.skip("(")
    return Target(name, reader.name())


def _dropped_index(reader: _Reader) -> Target:
    reader.skip_past("CONCURRENTLY")
    reader.skip("IF", "EXISTS")
    return Target(reader.name())


def _rebuilt_index(reader: _Reader) -> Target:
    reader.skip("REINDEX")
    if reader.skip("("):
        reader.skip_past(")")
    if not reader.skip("INDEX") and not reader.skip("TABLE"):
        raise ValueError
    reader.skip("CONCURRENTLY")
    return Target(reader.name())


def _detached(reader: _Reader) -> Target:
    reader.skip("ALTER", "TABLE")
    reader.skip("IF", "EXISTS")
    reader.skip("ONLY")
    table = reader.name()
    reader.skip("*")
    reader.skip("DETACH")
    reader.skip("PARTITION")
    return Target(reader.name(), table)


def _global(reader: _Reader) -> Target:
    """Read the name of an object that has no schema, behind CREATE or DROP and its kind."""
    reader.skip("CREATE")
    reader.skip("DROP")
    for kind in ("DATABASE", "TABLESPACE", "SUBSCRIPTION"):
        if reader.skip(kind):
            break
    reader.skip("IF", "EXISTS")
    return Target(reader.name())


_TARGETS: dict[str, Callable[[_Reader], Target]] = {
    "ALTER TABLE ... DETACH CONCURRENTLY": _detached,
    "CREATE DATABASE": _global,
    "CREATE INDEX CONCURRENTLY": _new_index,
    "CREATE SUBSCRIPTION ... WITH (create_slot = true)": _global,
    "CREATE TABLESPACE": _global,
    "DROP DATABASE": _global,
    "DROP INDEX CONCURRENTLY": _dropped_index,
    "DROP SUBSCRIPTION": _global,
    "DROP TABLESPACE": _global,
    "REINDEX CONCURRENTLY": _rebuilt_index,
}
# What may stand before a COMMIT of PL/pgSQL, and after it.
_BEFORE_COMMIT = frozenset((";", "BEGIN", "THEN", "ELSE", "LOOP", ">"))
_AFTER_COMMIT = frozenset((";", "AND", "WORK", "TRANSACTION", ""))


def block(statement: str) -> str | None:
    """Return the text of a DO block; None for any other statement."""
    tokens = list(islice(scanner.tokens_between(statement, 0, len(statement)), 6))
    if not tokens or tokens[0].upper() != "DO":
        return None
    quoted = next((token for token in tokens if token[0] in "$'"), "")
    if quoted.startswith("'"):
        return quoted[1:-1].replace("''", "'")
    tag = quoted.find("$", 1) + 1
    return quoted[tag:-tag] if tag else None


def called(statement: str) -> str | None:
    """Return the name of the procedure of a CALL, as in `Target`; None for any other statement."""
    if scanner.words(statement, 1) != ("CALL",):
        return None
    reader = _Reader(statement)
    reader.skip("CALL")
    try:
        return reader.name()
    except ValueError:
        return None


def shows_commit(body: str) -> bool:
    """Return whether the text of a PL/pgSQL block has a COMMIT or ROLLBACK."""
    if not scanner.mentions(body, 0, len(body), ("COMMIT", "ROLLBACK")):
        return False
    words = ["", *scanner.words_between(body, 0, len(body)), ""]
    return any(
        word in ("COMMIT", "ROLLBACK") and before in _BEFORE_COMMIT and after in _AFTER_COMMIT
        for before, word, after in zip(words, words[1:], words[2:], strict=False)
    )


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
# The most usual commands that begin with one of these verbs and are not refused are left out here.
_REFUSED_VERB = re.compile(
    rf"(?!(?i:CREATE){scanner.SPACE}++(?i:TABLE|OR|TYPE|FUNCTION|VIEW|TRIGGER){scanner.WORD_END})"
    rf"(?i:{'|'.join({key[0] for key in _REFUSED})}){scanner.WORD_END}"
)
