"""Makes the text of a migration of another tool one that a run here accepts."""

from __future__ import annotations

import re
from typing import NamedTuple

from migrator.adoption import marks
from migrator.files import scanner
from migrator.files.statement import begins_and_commits, isolation_set, not_in_transaction

TRANSACTION = "BEGIN and COMMIT are left out"
TRANSLATED = "the tool's mark for no transaction becomes `-- migrator: no-transaction`"
ISOLATION = "SET TRANSACTION becomes `-- migrator: isolation=…`"
ADDED = "`-- migrator: no-transaction` is added, because a statement needs it"
EMPTY = "an empty file becomes a comment"
MARK = "the byte-order mark is left out"

# Commands for the whole server. They are run, but seldom belong to the schema of a database.
_FOR_SERVER = frozenset(("DATABASE", "TABLESPACE", "SYSTEM"))
_LONGEST = 10_000  # characters of a statement that are looked at
_DOUBTFUL_DOWN = re.compile(
    r"(?im)^[ \t]*--[ \t=*#-]*(?:down|rollback|undo|revert)(?: (?:migration|script|sql))?"
    r"[ \t:=*#-]*$"
)
_HISTORIES = (
    *("schema_migrations", "_sqlx_migrations", "_prisma_migrations", "__diesel_schema_migrations"),
    *("flyway_schema_history", "goose_db_version", "gorp_migrations", "refinery_schema_history"),
    *("pgmigrations", "atlas_schema_revisions", "__drizzle_migrations", "alembic_version"),
    "graphile_migrate",
)
_HISTORY = re.compile(rf"\b(?:{'|'.join(_HISTORIES)})\b")
# Outside of quotes, these are no SQL.
_TEMPLATE = re.compile(r"\$\{[^}\n]*\}|\{\{.*?\}\}")


class Note(NamedTuple):
    """What a person has to look at in the new text; the offset is in characters."""

    offset: int
    message: str
    hint: str


class Rewritten(NamedTuple):
    """The new text of a migration.

    Attributes:
        text: it.
        changes: what was changed, in words, each once.
        notes: what a person has to look at.
        tool: the tool whose comments divided the old text; empty when there were none.
    """

    text: str
    changes: tuple[str, ...]
    notes: tuple[Note, ...]
    tool: str = ""


def rewrite(text: str, name: str, *, alone: bool, placeholder: str | None) -> Rewritten:
    """Return the text that a run here accepts.

    Args:
        text: the old text.
        name: the old file, for the comment that an empty one gets.
        alone: whether an option beside the file says that it runs outside a transaction.
        placeholder: a pattern of what the tool replaces in the file, inside of quotes too.
    """
    plain = text.removeprefix("\ufeff")
    way = marks.way_up(plain)
    joined = _without_transactions(way.text)
    isolation, new = _without_isolation(joined) if joined.whole else ("", joined.text)
    script = scanner.read(new)
    needing = _needing(script)
    marked = alone or way.alone
    directives = ["no-transaction"] if marked or needing else []
    directives += [f"isolation={isolation}"] if isolation else []
    changes = [
        *([MARK] if plain != text else []),
        *way.changes,
        *([TRANSACTION] if joined.text != way.text else []),
        *([TRANSLATED] if marked else [ADDED] if needing else []),
        *([ISOLATION] if isolation else []),
        *([] if new.strip() else [EMPTY]),
    ]
    line_break = "\r\n" if "\r\n" in plain else "\n"
    prefix = "".join(f"-- migrator: {directive}{line_break}" for directive in directives)
    new = new if new.strip() else f"-- {_one_line(name)} has no statement.{line_break}"
    notes = [
        *joined.notes(alone=bool(marked or needing)),
        *(() if marked or joined.seam is not None else _of_mixture(script, needing)),
        *_of_commands(script),
        *_of_histories(script),
        *_of_ways_down(script),
        *_of_templates(script, r"\$\{?\w+\}?" if way.variables else placeholder),
    ]
    moved = tuple(note._replace(offset=note.offset + len(prefix)) for note in sorted(notes))
    return Rewritten(prefix + new, tuple(changes), moved, way.tool)


class _Joined(NamedTuple):
    """A text without its BEGIN and COMMIT.

    Attributes:
        text: it.
        seam: where the last transaction of several begins in it, or the statements behind the
            only one; None when the whole file was one transaction.
        whole: whether there was a BEGIN and a COMMIT around the whole file.
    """

    text: str
    seam: int | None = None
    whole: bool = False

    def notes(self, *, alone: bool) -> list[Note]:
        """Return what a person has to look at.

        Args:
            alone: whether the file runs outside a transaction.
        """
        if self.seam is None:
            return []
        if alone:
            message = "the tool ran a transaction around here, and here each statement is one"
            hint = (
                "Put what has to be done together into a file of its own, without the directive "
                "no-transaction."
            )
        else:
            message = "the tool began or ended a transaction here, and here the file is one"
            hint = (
                "Nothing is to be done if all statements can be one transaction; else put them "
                "into two files."
            )
        return [Note(self.seam, message, hint)]


def _without_transactions(text: str) -> _Joined:
    """Return a text without its BEGIN and COMMIT, if these can be left out."""
    script = scanner.read(text)
    commands = begins_and_commits(script)
    if not commands:
        return _Joined(text)
    kept, pos, length, seam = [], 0, 0, 0
    for command in commands:
        start, end = _whole_line(text, command)
        kept.append(text[pos:start])
        length += start - pos
        seam = length if command is not script.statements[-1] else seam
        pos = end
    whole = commands == (script.statements[0], script.statements[-1])
    return _Joined("".join((*kept, text[pos:])), None if whole else seam, whole)


def _without_isolation(joined: _Joined) -> tuple[str, str]:
    """Return the isolation level that the first statement asks for, and the text without it."""
    script = scanner.read(joined.text)
    first = script.statements[0] if script.statements else None
    level = isolation_set(script.text(first)) if first else ""
    if first is None or not level:
        return "", joined.text
    start, end = _whole_line(joined.text, first)
    return level, joined.text[:start] + joined.text[end:]


def _whole_line(text: str, statement: scanner.Statement) -> tuple[int, int]:
    """Return the start and the end of a statement with its semicolon, and of an emptied line."""
    start, end = statement.start, scanner.gap(text, statement.end, len(text))
    end = end + 1 if text.startswith(";", end) else statement.end
    line = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    rest = re.compile(r"[ \t]*(?:\r\n|\r|\n|\Z)").match(text, end)
    if rest and not text[line:start].strip():
        return line, rest.end()
    return start, end


def _needing(script: scanner.Script) -> list[tuple[scanner.Statement, str]]:
    """Return the statements that PostgreSQL refuses in a transaction, each with its command."""
    found = []
    for statement in script.statements:
        end = min(statement.end, statement.start + _LONGEST)
        command = not_in_transaction(script.source[statement.start : end])
        if command and command not in ("COMMIT PREPARED", "ROLLBACK PREPARED", "DISCARD ALL"):
            found.append((statement, command))
    return found


def _of_mixture(script: scanner.Script, needing: list[tuple[scanner.Statement, str]]) -> list[Note]:
    settings = sum(
        scanner.words(script.text(statement), 1) in (("SET",), ("RESET",))
        for statement in script.statements
        if statement.end - statement.start < _LONGEST
    )
    if not needing or len(needing) + settings >= len(script.statements):
        return []
    statement, command = needing[0]
    return [
        Note(
            statement.start,
            f"{command} cannot run in a transaction, and there are other statements in the file",
            "Nothing is to be done if each statement can be a transaction of its own; else put "
            "this one into a file of its own.",
        )
    ]


def _of_commands(script: scanner.Script) -> list[Note]:
    return [
        Note(
            statement.start,
            f"{command} is for the whole server, and a migration is for one database",
            "Remove it, unless every database that the files are applied to needs it.",
        )
        for statement, command in _needing(script)
        if not _FOR_SERVER.isdisjoint(command.split())
    ]


def _of_histories(script: scanner.Script) -> list[Note]:
    """Return a note for each statement about the history of the other tool, or about ours."""
    names = [name.upper() for name in _HISTORIES]
    if not scanner.mentions(script.source, 0, len(script.source), names):
        return []
    matches = (
        _HISTORY.search(script.source, start, min(end, start + _LONGEST))
        for start, end, _ in script.statements
    )
    return [
        Note(
            match.start(),
            f"{match[0]} is the history of a migration tool",
            "Remove the statement, unless the table is there wherever the files are applied, and "
            "is not the history of migrator.",
        )
        for match in matches
        if match
    ]


def _of_ways_down(script: scanner.Script) -> list[Note]:
    """Return a note for a comment that may be above undoing statements, but is no tool's mark."""
    if not script.statements:
        return []
    first, last = script.statements[0].end, script.statements[-1].start
    within = [(statement.start, statement.end) for statement in script.statements]
    for match in _DOUBTFUL_DOWN.finditer(script.source, first, max(first, last)):
        if not any(start <= match.start() < end for start, end in within):
            return [
                Note(
                    match.start(),
                    "the statements below this comment may undo the migration, and are run",
                    "If they do, remove them.",
                )
            ]
    return []


def _of_templates(script: scanner.Script, placeholder: str | None) -> list[Note]:
    """Return a note for what a tool or a script replaces before the file is run."""
    source = script.source
    of_tool = re.compile(placeholder) if placeholder else None
    if not (_TEMPLATE.search(source) or (of_tool and of_tool.search(source))):
        return []
    found: dict[str, int] = {}  # the first place of each
    for statement in script.statements:
        start, end = statement.start, statement.end
        patterns = [of_tool] if of_tool else []
        if "\0{" in scanner.bare(source, start, end):  # then one is in no quote
            patterns.append(_TEMPLATE)
        for pattern in patterns:
            for match in pattern.finditer(source, start, end):
                found.setdefault(_one_line(match[0]), match.start())
    return [
        Note(
            offset,
            f"{template} is not SQL, but replaced by the tool",
            "Write the value in its place.",
        )
        for template, offset in found.items()
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())
