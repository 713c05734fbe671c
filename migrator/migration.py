"""A folder of SQL files becomes ordered migrations, and a list of what is wrong with them."""

from __future__ import annotations

import hashlib
import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from migrator import sql
from migrator.errors import Problem, UsageError
from migrator.settings import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from migrator.settings import Settings

    _Rule = Callable[[sql.Script, sql.Statement], tuple[str, str] | None]

_NAME = re.compile(r"(\d+)_(\w[\w-]*)\.sql")
_MAX_VERSION = 2**63 - 1  # the largest bigint
_DIRECTIVE = re.compile(r"migrator\s*:\s*(.*)", re.IGNORECASE)
_DIRECTIVE_LINE = re.compile(r"^[ \t]*(--[ \t]*migrator[ \t]*:)", re.IGNORECASE | re.MULTILINE)
# No rule has words for these, and a file may have a hundred thousand of them.
_ALWAYS_FINE = re.compile(r"(?:INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_FRAME = "-=*# \t"  # what may stand around the words of a comment
_LONGEST_COMMAND = 10_000  # characters; what is longer is rows or a function's body
# What stands above the statements that undo a migration where a tool keeps them in its file. These
# are dbmate, goose, sql-migrate, micrate, rambler, node-pg-migrate, tern and MyBatis.
_WAY_DOWN = frozenset(
    {
        "migrate:down",
        "+goose down",
        "+migrate down",
        "+micrate down",
        "rambler down",
        "down migration",
        "create above / drop below",
        "//@undo",
    }
)
_WAY_DOWN_OPTIONS = ("migrate:down ", "+migrate down ")  # options may follow
_WAY_DOWN_WORDS = ("DOWN", "DROP BELOW", "@UNDO")  # each of these comments has one
# How the comments begin that another tool or a linter reads, and what some of them are as a whole.
_FOR_TOOLS = (
    *("migrate:up", "migrate:down", "+goose ", "+migrate ", "+micrate ", "atlas:"),
    *("squawk-ignore", "sqlfluff:", "noqa", "eugene:", "pgt-ignore", "pgls-ignore"),
)
_FOR_TOOLS_WHOLE = _WAY_DOWN | {"rambler up", "up migration"}
# The template of `new` has it; with it and without a statement, a file is not written yet.
UNWRITTEN = "Replace this paragraph with the reason"
_NAMING = "Name it NNN_description.sql, for example 002_add_user_locale.sql."


class Directives(NamedTuple):
    """How one file wants to be run.

    Attributes:
        transaction: whether it runs in a transaction.
        lock_timeout: seconds; None: as set for the run.
        statement_timeout: seconds; None: as set for the run.
    """

    transaction: bool = True
    lock_timeout: float | None = None
    statement_timeout: float | None = None


class Migration(NamedTuple):
    """One SQL file.

    Attributes:
        version: the number its name begins with.
        file: its name.
        path: where it is.
        description: its first comment line that no tool reads, or the words of its name.
        checksum: SHA-256 of its text, line endings normalised to LF, without a byte-order mark.
        directives: how it wants to be run.
        script: its text, split into statements.
        statements: what is run: those of the script without a BEGIN and COMMIT around the file.
    """

    version: int
    file: str
    path: Path
    description: str
    checksum: str
    directives: Directives
    script: sql.Script
    statements: tuple[sql.Statement, ...]

    def limits(self, settings: Settings) -> tuple[float, float]:
        """Return lock_timeout and statement_timeout in seconds: its directives', else the run's.

        With a limit on how long locks are held, the run's lock_timeout ends a wait before that
        limit does: a lock that is not to be had is tried for again, an exceeded limit is final.
        """
        lock, statement = self.directives.lock_timeout, self.directives.statement_timeout
        usual, most = settings.lock_timeout, settings.lock_hold_max / 2
        if most and not 0 < usual <= most:
            usual = most
        return (
            usual if lock is None else lock,
            settings.statement_timeout if statement is None else statement,
        )

    def place(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and column of a character of the text."""
        return sql.place(self.script.source, offset)

    def obstacles(self) -> list[Problem]:
        """Return what keeps it from being applied, and is of no matter once it is applied."""
        found = (*_ways_down(self.script), *_unwritten(self.script))
        return [_located(self, problem) for problem in found]


class Folder(NamedTuple):
    """What a folder holds: its migrations, ordered by version, and everything wrong with them."""

    migrations: tuple[Migration, ...]
    problems: tuple[Problem, ...]


def load(directory: Path, *, pending: bool = False) -> Folder:
    """Read and check every migration in a folder.

    Files whose name does not end in `.sql` and hidden files are not looked at.

    Args:
        directory: the folder.
        pending: whether each of them is yet to be applied somewhere, so that its obstacles are
            problems; otherwise the history tells of which they are.

    Raises:
        UsageError: the folder does not exist, cannot be read, or has no migration in it.
    """
    names = [name for name in _list(directory) if name.lower().endswith(".sql")]
    if not names:
        raise UsageError(
            f"no migrations in {directory.resolve()}: it has no file named *.sql",
            "Check MIGRATIONS_DIR or the mount; `migrator new DESCRIPTION` creates the first one.",
        )
    migrations: list[Migration] = []
    problems: list[Problem] = []
    for name in names:
        loaded = _load_file(directory / name)
        if isinstance(loaded, Migration):
            migrations.append(loaded)
            problems += check(loaded)
            problems += loaded.obstacles() if pending else ()
        else:
            problems.append(loaded)
    migrations.sort(key=lambda migration: migration.version)
    problems += _duplicates(migrations)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    return Folder(tuple(migrations), tuple(problems))


def parse_name(name: str) -> tuple[int, str] | None:
    """Split a file name into its version and its description's words.

    Returns:
        None when it is not the name of a migration.
    """
    match = _NAME.fullmatch(name)
    if match is None or not 0 < int(match[1]) <= _MAX_VERSION:
        return None
    return int(match[1]), match[2].replace("_", " ")


def checksum(data: bytes) -> str:
    """Return the SHA-256 of a file's text in hexadecimal.

    It is the same for a copy with other line endings or a byte-order mark, which version control
    and editors change without anyone meaning it.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return hashlib.sha256(data).hexdigest()


def check(migration: Migration) -> list[Problem]:
    """Return what is wrong with a file's text, as far as the text alone can tell."""
    script = migration.script
    found = list(script.problems)
    _, directive_problems = _directives(script.header)
    found += directive_problems
    found += _misplaced_directives(script)
    if migration.directives.transaction:
        if len(migration.statements) < len(script.statements):
            found += sql.unwrap(script)[1]
        found += _refusals(migration, _outside_transaction)
    else:
        found += _refusals(migration, _transactions)
        found += _refusals(migration, _nameless_indexes)
    found += _refusals(migration, _copies_out)
    if not script.source or script.source.isspace():
        empty = Problem(
            migration.file,
            "the file is empty",
            "Write the migration, or a comment that says why there is nothing to do.",
        )
        return [empty]
    return [_located(migration, problem) for problem in sorted(found)]


def _located(migration: Migration, problem: sql.Problem) -> Problem:
    from migrator.excerpt import excerpt  # noqa: PLC0415 - only a problem needs it

    line, column = migration.place(problem.offset)
    source = excerpt(migration.script.source, problem.offset, around=0)
    return Problem(migration.file, problem.message, problem.hint, line, column, source)


def _list(directory: Path) -> list[str]:
    try:
        entries = sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        reason = "it does not exist"
    except NotADirectoryError:
        reason = "it is not a folder"
    except OSError as error:
        reason = str(error.strerror)
    else:
        return [name for name in entries if not name.startswith(".")]
    raise UsageError(
        f"cannot read the migrations in {directory.resolve()}: {reason}",
        "Set MIGRATIONS_DIR or --dir to the folder with the migrations.",
    )


def _load_file(path: Path) -> Migration | Problem:
    name = parse_name(path.name)
    if name is None:
        return _bad_name(path.name)
    try:
        data = path.read_bytes()
    except OSError as error:
        return Problem(path.name, f"cannot be read: {error.strerror}")
    try:
        source = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        column = len(data[start : error.start].decode("utf-8")) + 1
        message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        return Problem(path.name, message, "Save the file as UTF-8.", line, column)
    version, words = name
    digest = checksum(data)
    del data  # both forms of a large file need not be there while it is read
    script = sql.read(source)
    directives = _directives(script.header)[0]
    return Migration(
        version=version,
        file=path.name,
        path=path,
        description=_description(script.header) or words,
        checksum=digest,
        directives=directives,
        script=script,
        statements=sql.unwrap(script)[0] if directives.transaction else script.statements,
    )


def _bad_name(name: str) -> Problem:
    match = _NAME.fullmatch(name)
    if match is None:
        if name.endswith((".up.sql", ".down.sql")):
            hint = "There are no down files; undo with a new migration. " + _NAMING
        else:
            hint = _NAMING
        return Problem(name, "is not named like a migration", hint)
    if int(match[1]) == 0:
        return Problem(name, "has version 0", "The first version is 1; 0 means an empty database.")
    return Problem(name, f"has a version above {_MAX_VERSION}", "Use a smaller number.")


def _duplicates(migrations: Sequence[Migration]) -> list[Problem]:
    return [
        Problem(
            later.file,
            f"has version {later.version}, and so has {earlier.file}",
            "Give the one that is not applied anywhere yet the next free number.",
        )
        for earlier, later in pairwise(migrations)
        if earlier.version == later.version
    ]


def _description(header: Iterable[tuple[int, str]]) -> str:
    for _, text in header:
        words = text.strip(_FRAME)
        if words and not _DIRECTIVE.match(text) and not _is_for_tools(words):
            return words
    return ""


def _is_for_tools(comment: str) -> bool:
    plain = comment.lower()
    return plain.startswith(_FOR_TOOLS) or plain in _FOR_TOOLS_WHOLE


def _directives(header: Iterable[tuple[int, str]]) -> tuple[Directives, list[sql.Problem]]:
    transaction = True
    timeouts: dict[str, float] = {}
    problems: list[sql.Problem] = []
    for offset, text in header:
        match = _DIRECTIVE.fullmatch(text.strip())
        if match is None:
            continue
        name, separator, value = (part.strip() for part in match[1].partition("="))
        if name == "no-transaction" and not separator:
            transaction = False
        elif name in ("lock-timeout", "statement-timeout"):
            try:
                timeouts[name] = duration(value)
            except ValueError as error:
                problems.append(sql.Problem(offset, f"directive {name}: {error}", ""))
        else:
            problems.append(
                sql.Problem(
                    offset,
                    f"unknown directive {match[1].strip()!r}",
                    "Known are no-transaction, lock-timeout=3s and statement-timeout=10min.",
                )
            )
    directives = Directives(
        transaction, timeouts.get("lock-timeout"), timeouts.get("statement-timeout")
    )
    return directives, problems


def _misplaced_directives(script: sql.Script) -> list[sql.Problem]:
    return [
        sql.Problem(
            match.start(1),
            "a directive below the first statement has no effect",
            "Move it into the comments at the top of the file.",
        )
        for start, end in _gaps(script)
        if end - start > len("--migrator:")
        for match in _DIRECTIVE_LINE.finditer(script.source, start, end)
    ]


def _ways_down(script: sql.Script) -> Iterator[sql.Problem]:
    """Yield each line with a statement below it that begins another tool's way down."""
    source, statements = script.source, script.statements
    if not statements or not sql.mentions(source, 0, len(source), _WAY_DOWN_WORDS):
        return
    *gaps, _ = [(0, statements[0].start), *_gaps(script)]
    for start, end in gaps:
        if end - start < len("--//@undo"):
            continue
        for offset, text in sql.comments(source, start, end):
            if _is_way_down(text) and _begins_line(source, offset):
                yield sql.Problem(
                    offset,
                    "what stands below this line undoes the migration, and would be run as well",
                    "Delete this line and the undoing statements below it; to undo a migration "
                    "that is applied, write a new one.",
                )


def _is_way_down(comment: str) -> bool:
    plain = " ".join(comment.strip(_FRAME).lower().split())
    return plain in _WAY_DOWN or plain.startswith(_WAY_DOWN_OPTIONS)


def _begins_line(source: str, offset: int) -> bool:
    line = max(source.rfind("\n", 0, offset), source.rfind("\r", 0, offset)) + 1
    return not source[line:offset].strip()


def _unwritten(script: sql.Script) -> Iterator[sql.Problem]:
    """Yield the place where the template of `new` asks for the migration, while there is none."""
    if script.statements:
        return
    for offset, text in script.header:
        if text.startswith(UNWRITTEN):
            yield sql.Problem(
                offset,
                "the file is still the template of `migrator new`: it has no statement",
                "Write the migration; or, if there is nothing to do, a comment that says why in "
                "place of this one.",
            )


def _gaps(script: sql.Script) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of what is between the statements and after them.

    A comment can be part of a statement, such as a function's body, or be a row of a COPY.
    """
    ends = accumulate(
        (each.copy_data[1] if each.copy_data else each.end for each in script.statements), max
    )
    starts = [each.start for each in script.statements[1:]]
    return zip(ends, [*starts, len(script.source)], strict=False)


def _refusals(migration: Migration, rule: _Rule) -> list[sql.Problem]:
    """Return a problem for each statement that a rule has words for: what is wrong, and a hint."""
    script = migration.script
    return [
        sql.Problem(statement.start, *found)
        for statement in migration.statements
        if not _ALWAYS_FINE.match(script.source, statement.start, statement.end)
        if (found := rule(script, statement))
    ]


def _outside_transaction(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    end = min(statement.end, statement.start + _LONGEST_COMMAND)
    command = sql.not_in_transaction(script.source[statement.start : end])
    if command is None:
        return None
    return (
        f"{command} cannot run in a transaction",
        "Put it in a file of its own that begins with the line `-- migrator: no-transaction`.",
    )


def _transactions(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    text = script.text(statement)
    command = sql.transaction_control(text)
    if command:
        return (
            f"{command} in a no-transaction file",
            "Remove it: every statement of such a file is a transaction of its own.",
        )
    if sql.not_in_transaction(text) == "DISCARD ALL":
        return (
            "DISCARD ALL gives away the lock that keeps other migrators out",
            "Remove it: the next file has a fresh session anyway; or name what to discard.",
        )
    return None


def _nameless_indexes(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    words = [word for word in sql.words(script.text(statement)) if word != "UNIQUE"]
    if words[:4] != ["CREATE", "INDEX", "CONCURRENTLY", "ON"]:
        return None
    return (
        "CREATE INDEX CONCURRENTLY without a name for the index",
        "Give the index a name, so that a failed build can be found again.",
    )


def _copies_out(script: sql.Script, statement: sql.Statement) -> tuple[str, str] | None:
    if script.source[statement.start : statement.start + 4].upper() != "COPY":
        return None
    text = script.text(statement)
    if not _writes_rows(sql.words(text, len(text))):
        return None
    return (
        "COPY … TO STDOUT: nobody reads the rows",
        "Remove it, or copy into a table or to a file on the server.",
    )


def _writes_rows(words: Sequence[str]) -> bool:
    """Tell COPY … TO STDOUT, which may be spelled TO STDIN, from every other COPY."""
    depth, previous = 0, ""
    for word in words:
        if not depth and previous == "TO":
            return word in ("STDIN", "STDOUT")
        depth += {"(": 1, ")": -1}.get(word, 0)
        previous = word
    return False
