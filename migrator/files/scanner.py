"""Splits SQL text into statements and tokens, as psql does; does not know what a statement does.

The rules are those of psql's scanner (`psqlscan.l`) and of the manual, section "Lexical Structure",
with `standard_conforming_strings` on. In three cases this module differs from psql on purpose:

- `:name` is left as it is, because a migration has no variables.
- An `E'…'` that continues after a line break keeps its backslash escapes, as in the server. psql
  reads line by line and forgets the `E`.
- A statement cannot begin on the line of a COPY … FROM STDIN and continue after the rows.
"""

from __future__ import annotations

import re
from itertools import islice
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


class Fault(NamedTuple):
    """A place in a source that cannot be run, found without the server."""

    offset: int
    """Characters from the start of the source."""
    message: str
    """What is wrong: one sentence without a capital and a full stop."""
    hint: str
    """What to do instead: one sentence, or empty."""


class Statement(NamedTuple):
    """The place of a statement in its source; offsets are in characters."""

    start: int
    """Offset of the first token. White space and comments before it are not part of a statement."""
    end: int
    """Offset after the last token. The semicolon is not part of a statement."""
    copy_data: tuple[int, int] | None = None
    r"""Start and end of the rows below COPY … FROM STDIN, without the line `\.`."""


class Script(NamedTuple):
    """A source, split into statements."""

    source: str
    statements: tuple[Statement, ...]
    """In the order of the source, which is the order of execution."""
    problems: tuple[Fault, ...]
    """In the order of the source."""
    header: tuple[tuple[int, str], ...]
    """For each line comment before the first statement: the offset of `--`, the text after it."""
    others: tuple[Statement, ...]
    """All statements but those that begin with `INSERT`, of which a file can have thousands."""

    def text(self, statement: Statement) -> str:
        """Return a statement's text."""
        return self.source[statement.start : statement.end]

    def is_ascii(self, statement: Statement) -> bool:
        """Return whether a statement and its rows have ASCII characters only."""
        start, end = statement.copy_data or (0, 0)
        return self.text(statement).isascii() and self.source[start:end].isascii()


# The character classes are those of psql's scanner: every character outside ASCII is a letter. Each
# class lists the characters that it excludes, because the regular expression engine tests this form
# fastest. All quantifiers are possessive, so that no text can make a pattern go back and try again.
# Each quantifier repeats an atomic group, because Python before 3.11.5 loses its place when another
# group fails halfway (https://github.com/python/cpython/issues/106052).
SPACES = " \t\n\r\f\v"
SPACE = rf"[{SPACES}]"
_NOT_E = r"[^\x00-@E\[-^`e{-\x7f]"  # a letter or underscore, but not E or e
_TAG_PART = r"[^\x00-/:-@\[-^`{-\x7f]"  # a letter, underscore or digit
_WORD_PART = r"[^\x00-#%-/:-@\[-^`{-\x7f]"  # a letter, underscore, digit or $
_NO_WORD_PART = r"[\x00-#%-/:-@\[-^`{-\x7f]"
WORD = rf"{_NOT_E}{_WORD_PART}*+|[eE](?!'){_WORD_PART}*+"
WORD_END = rf"(?!{_WORD_PART})"
_BODY_WORD = rf"(?i:BEGIN|END){WORD_END}"
_NUMBER = rf"[0-9]++(?>(?!\$){_WORD_PART}++)?+"  # digits, and what the server calls trailing junk
_SYMBOL = r"[\x00-\x08\x0e-\x1f!#%&*+,.:<=>?@\[\]^`{|}~\x7f]++|-(?!-)|/(?!\*)"
_TAG = rf"\$(?>(?![0-9]){_TAG_PART}++)?+\$"
_LINE_COMMENT = r"--[^\n\r]*+"
_COMMENT = rf"{_LINE_COMMENT}|/\*(?>[^*/]++|\*(?!/)|/(?!\*))*+\*/"  # no comment inside a comment
_GAP = rf"{SPACE}*+(?>(?:{_COMMENT}){SPACE}*+)*+"
_LINE_BREAK = rf"[ \t\f\v]*+(?>{_LINE_COMMENT})?+[\n\r](?>{SPACE}++|{_LINE_COMMENT}[\n\r])*+"
_STRING = r"'(?>[^']++|'')*+'"
_ESCAPES = rf"'(?>[^'\\]++|\\[\s\S]|''|'{_LINE_BREAK}')*+'"  # the quoted part of E'…'
_IDENTIFIER = r'"(?>[^"]++|"")*+"'

# The fast way: this pattern matches most statements as a whole, without a look at every token. It
# does not match a statement in which it cannot be sure where the end is: one with a dollar quote
# that has a tag, a comment in a comment, a string directly after a word that ends in E, parentheses
# nested more than three times, or a command of psql.
_CERTAIN = (
    rf"'(?<![eE]'){_STRING[1:]}|'(?<={_NO_WORD_PART}[eE]'){_ESCAPES[1:]}|{_IDENTIFIER}|-(?!-)"
    rf"|/(?!\*)|\$(?<!{_WORD_PART}\$)\$(?>[^$]++|\$(?!\$))*+\$\$"
)
_INSIDE = rf"[^'\"$\-/()\\]++|{_CERTAIN}|{_COMMENT}"
_PARENTHESES = "(?!)"
for _ in range(3):
    _PARENTHESES = rf"\((?>{_INSIDE}|{_PARENTHESES})*+\)"
_REPLACE = rf"(?>(?i:OR){SPACE}++(?i:REPLACE){SPACE}++)?+"
_ROUTINE = rf"{SPACE}++{_REPLACE}(?!(?i:OR|FUNCTION|PROCEDURE){WORD_END}){_TAG_PART}"
_WHOLE = re.compile(
    rf"{_GAP}((?!(?i:COPY|SET){WORD_END}|(?i:CREATE)(?!{_ROUTINE}))"
    rf"(?>[^'\"$\-/();\\]++|{_PARENTHESES}|{_CERTAIN}|(?:{_COMMENT}){_GAP}(?!;))*+){_GAP};"
)

# The slow way: all other statements are read in steps. A step jumps over tokens (group 1) and stops
# at the next mark (group 2). A mark is a parenthesis, a semicolon, a backslash, a dollar quote, and
# in a routine also BEGIN and END. The mark is empty at the end of the text, at a comment in a
# comment, and at a quote that is never closed.
_TOKENS = rf"{_NUMBER}|{_SYMBOL}|\$(?!{_TAG[2:]})|{_STRING}|{_IDENTIFIER}|[eE]{_ESCAPES}"
_MARK = rf"[();\\]|{_TAG}|"
_STEP = rf"((?>{_GAP}(?:{WORD}|{_TOKENS}|{_PARENTHESES}))*+){_GAP}({_MARK})"
_ROUTINE_STEP = (
    rf"((?>{_GAP}(?:(?!{_BODY_WORD})(?:{WORD})|{_TOKENS}|{_PARENTHESES}))*+){_GAP}"
    rf"({_BODY_WORD}|{_MARK})"
)
_ROUTINE_START = (
    rf"(?i:CREATE{WORD_END}{_GAP}(?>OR{WORD_END}{_GAP}(?>REPLACE{WORD_END}{_GAP})?+)?+"
    rf"(?:FUNCTION{WORD_END}|PROCEDURE{WORD_END}|(/\*)))"
)
_VERB = re.compile(rf"(?i:COPY|SET){WORD_END}")
_SKIP = re.compile(_GAP)
_COMMENT_LINE = re.compile(rf"(?!--)(?:{_COMMENT})|--([^\n\r]*+)")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_TOKEN = (
    rf"[eE]{_ESCAPES}|(?>[uU]&|[bBnNxX])?+{_STRING}|(?>[uU]&)?+{_IDENTIFIER}|{WORD}"
    rf"|{_NUMBER}(?>\.{_NUMBER})?+|{_TAG}|[\s\S]"
)
_ROWS_END = re.compile(r"\n\\\.\r?+(?=\n|\Z)")
_RESTRICT = r"\\(?:un)?restrict[ \t]++[A-Za-z0-9]++[ \t\r]*+(?=\n|\Z)"
_COMMAND = r"\\([;:]|[^\s\\]*+)"
_COPY_COMMAND = r"(?i)\\copy\s[^\n]*\sfrom\s+stdin\b"
UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_OPERATOR = frozenset("+-*/<>=~!@#%^&|`?:.")  # what the server may read as one token
_LOOK = 100_000  # how many characters `mentions` searches at a time
INSERT = "INSERT INTO "  # how nearly all statements of a large file begin
FALSE = frozenset({"FALSE", "OFF", "NO", "0"})  # the words that mean false to the server

_NEVER_CLOSED = {
    "/": ("this comment is never closed", "Close it with */ as often as /* occurs in it."),
    '"': ("this quoted name is never closed", 'Close it with ", and double each " inside it.'),
    "'": ("this quoted string is never closed", "Close it with ', and double each ' inside it."),
    "$": ("this dollar-quoted string is never closed", "Close it with {}."),
    "(": ("this parenthesis is never closed", "Close it with )."),
    "B": (
        "this BEGIN has no END",
        "End the body of the function with END, after a semicolon.",
    ),
}
_OPEN_SOMEWHERE = {
    '"': "in this statement, a quoted name is never closed",
    "'": "in this statement, a quoted string is never closed",
}
_ENDS_EARLY = {
    '"': (
        'a word follows this " directly, and the last quoted name of the statement is never closed',
        'If the " belongs to the name, write ""; else close the last name.',
    ),
    "'": (
        "a word follows this ' directly, and the last string of the statement is never closed",
        "If the ' belongs to the text, write ''; else close the last string.",
    ),
}
_COMMAND_HINTS = {
    name: hint
    for names, hint in {
        "i ir include include_relative": "Put the SQL of that file here or into its own migration.",
        "set unset gset prompt getenv setenv bind bind_named": "Write the value into the SQL.",
        "c connect": "Remove it: a migration runs in the one database that it is applied to.",
        "copy": r"Use COPY … FROM STDIN; with the rows on the lines below it and then a line \.",
        "if elif else endif": "Write the condition in SQL, for example with IF in a DO block.",
        "echo qecho warn": "Remove it, or use RAISE NOTICE in a DO block.",
        "encoding": "Remove it and save the file as UTF-8.",
        "g gx gdesc crosstabview watch": "End the statement with a semicolon.",
        "gexec": "Run the generated statements with EXECUTE in a DO block.",
        "!": "Remove it: a migration cannot start programs.",
        "q quit": "Remove it and everything after it: a migration is run to its end.",
        ".": "Remove it: no rows of a COPY … FROM STDIN end here.",
        ";": "Write a plain semicolon.",
        ":": "Write a plain colon.",
    }.items()
    for name in names.split()
}
# Variables that control psql itself (PostgreSQL documentation, "psql", "Variables").
_PSQL_VARIABLES = {
    "ON_ERROR_STOP": "Remove it: the migrator stops at the first error.",
    **dict.fromkeys(
        (
            *("AUTOCOMMIT", "ECHO", "ECHO_HIDDEN", "FETCH_COUNT", "ON_ERROR_ROLLBACK", "QUIET"),
            *("SHOW_ALL_RESULTS", "SHOW_CONTEXT", "SINGLELINE", "SINGLESTEP", "VERBOSITY"),
        ),
        "Remove it: it changes only how psql itself works.",
    ),
}
_COMMAND_HINT = "Remove it: a migration is SQL only, without the commands of psql."


def read(source: str) -> Script:
    """Split the text of a SQL file into statements, as `psql -f` does.

    This takes time linear in the length of the source, and never raises an error. Text that cannot
    be run (a quote that is never closed, a command of psql, a NUL character …) is reported as a
    problem; the statements are then only a guess.

    Args:
        source: the file's text; a byte-order mark at its start is skipped.
    """
    statements: list[Statement] = []
    problems = [*_nul(source)]
    pos = begin = int(source.startswith("\ufeff"))
    end = len(source)
    # While the rest of the line of a COPY is read: the offset after its rows. Otherwise 0.
    resume = 0
    while pos < end:
        if whole := _WHOLE.match(source, pos, end):
            pos, (start, last) = whole.end(), whole.span(1)
            if start < last:
                if source[last - 1] in SPACES:
                    last = start + len(source[start:last].rstrip(SPACES))
                statements.append(Statement(start, last))
        else:
            piece = _piece(source, pos, end)
            verb = match[0].upper() if (match := _VERB.match(source, piece.start, end)) else ""
            problems += _continued(piece) if resume and piece.stop == end else piece.problem
            rows, pos = None, piece.stop + 1
            if source.startswith("\\", piece.stop, end):
                pos, problem = _psql_command(source, piece, end)
                problems += problem
            elif verb == "COPY" and copies_through_client(
                words_between(source, piece.start, piece.end), "FROM"
            ):
                end = end if resume else _line_end(source, piece.stop, end)
                rows = _rows(source, resume or end + 1)
                resume = _line_end(source, rows[1], len(source)) + 1
            elif verb == "SET":
                problems += _strings_setting(source, piece)
            if piece.start < piece.end:
                statements.append(Statement(piece.start, piece.end, rows))
        if pos >= end and resume:
            pos, end, resume = resume, len(source), 0
    header = comments(source, begin, statements[0].start if statements else len(source))
    others = [one for one in statements if not source.startswith(INSERT, one.start)]
    faults = tuple(sorted(problems))
    return Script(source, tuple(statements), faults, tuple(header), tuple(others))


def comments(source: str, pos: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the line comments between two statements: the offset of `--`, and the text after it.

    There can also be block comments, semicolons and commands of psql between the two statements.

    Args:
        source: the text.
        pos: where to begin: the start of the file, or the end of a statement or of its rows.
        end: where to stop: the start of the next statement, or the end of the file.
    """
    while pos < end:
        after = _after(_SKIP, source, pos, end)
        for match in _COMMENT_LINE.finditer(source, pos, after):
            if match[1] is not None:
                yield match.start(), match[1].strip()
        if source.startswith("/*", after, end):
            pos = _comment_end(source, after, end) or end
        elif source.startswith("\\", after, end):
            pos = _line_end(source, after, end)
        else:
            pos = after + 1


def folded(identifier: str) -> str:
    """Return an identifier, quoted or not, as the server knows it, but of any length."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.translate(_LOWER)


def place(source: str, offset: int) -> tuple[int, int]:
    r"""Return the line and the column of an offset, both from 1, the column in characters.

    A line ends at "\n". This takes time linear in the offset.
    """
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)


def mentions(source: str, start: int, end: int, words: Collection[str]) -> bool:
    """Return whether one of the words occurs in a part of a source, alone or inside another word.

    This is many times faster than a regular expression that ignores case.

    Args:
        source: the text.
        start: where the part begins, in characters.
        end: where it ends.
        words: in upper case.
    """
    overlap = max(map(len, words)) - 1
    for at in range(start, end, _LOOK):
        piece = source[at : min(at + _LOOK + overlap, end)].upper()
        if any(word in piece for word in words):
            return True
    return False


def words(text: str, limit: int = 8) -> tuple[str, ...]:
    """Return the first tokens of a statement, at most `limit` of them, without its comments.

    Unquoted words are in upper case; only ASCII letters are folded, as in the server. Quoted
    identifiers and literals are as written. Any other character is a token of its own.
    """
    return tuple(islice(words_between(text, 0, len(text)), limit))


class _Piece(NamedTuple):
    """A statement, which can be empty, and where it stops: at a `;`, a backslash or the end."""

    start: int
    end: int
    stop: int
    problem: tuple[Fault, ...] = ()


_BODY = "BEGIN ATOMIC"  # the mark that begins the body of a function


class _Nesting:
    """The parentheses, and the body of a function, that a place in a statement is in.

    Attributes:
        previous: the mark directly before the place; empty when another token is there.
    """

    def __init__(self) -> None:
        self.previous = ""
        self._depth = 0  # of the parentheses
        self._opened = 0  # the offset of the outermost parenthesis
        self._body: int | None = None  # the offset of BEGIN

    @property
    def is_outside(self) -> bool:
        """Whether a semicolon here ends the statement."""
        return not self._depth and self._body is None

    def count(self, mark: str, offset: int) -> None:
        """Take account of a mark at an offset of the source."""
        if mark == "(":
            self._opened = self._opened if self._depth else offset
            self._depth += 1
        elif mark == ")":
            self._depth = max(self._depth - 1, 0)
        elif mark == _BODY and self.is_outside:
            self._body = offset
        elif mark == "END" and not self._depth and self.previous in (";", _BODY):
            self._body = None
        self.previous = mark

    def unclosed(self) -> tuple[Fault, ...]:
        """Return the fault of the parenthesis or the body that is open at the end of the source."""
        if self._depth:
            return _never_closed("(", self._opened)
        return () if self._body is None else _never_closed("BEGIN", self._body)


def _piece(source: str, pos: int, end: int) -> _Piece:
    """Read up to the semicolon that ends a statement.

    A semicolon inside parentheses, or in the body of a function from BEGIN ATOMIC to END, does not
    end the statement. The END of a body follows a semicolon or ATOMIC; every other END belongs to a
    CASE or is a name, and so is every other BEGIN. psql counts these words instead, so it sends
    such a file to the server in one piece.
    """
    start = last = pos = gap(source, pos, end)
    if start == end:
        return _Piece(end, end, end)
    # A pattern is compiled only when it is needed, because this takes 2 ms. The module `re` keeps
    # the compiled pattern.
    step = re.compile(_ROUTINE_STEP if _is_routine(source, pos, end) else _STEP)
    nesting = _Nesting()
    while True:
        match = cast("re.Match[str]", step.match(source, pos, end))
        mark, at = match[2].upper(), match.start(2)
        if match.end(1) > pos:
            last, nesting.previous = match.end(1), ""
        if at == end:
            return _Piece(start, last, end, nesting.unclosed())
        if mark == "\\" or (mark == ";" and nesting.is_outside):
            return _Piece(start, last, at)
        if mark and mark[0] != "$":
            last = pos = match.end()
            if mark == "BEGIN" and (atomic := _after_atomic(source, pos, end)):
                mark, last, pos = _BODY, atomic, atomic
            nesting.count(mark, at)
        elif pos := _quote_end(source, at, match.end(), end):
            if mark:
                last, nesting.previous = pos, ""
        else:
            last = last if source.startswith("/*", at, end) else end
            return _Piece(start, last, end, _open(source, start, match[2], at))


def _after_atomic(source: str, pos: int, end: int) -> int:
    """Return the offset after the word ATOMIC; 0 when the next token is another one."""
    start, after = next(token_spans(source, pos, end), (pos, pos))
    return after if source[start:after].upper() == "ATOMIC" else 0


def _is_routine(source: str, pos: int, end: int) -> bool:
    match = re.compile(_ROUTINE_START).match(source, pos, end)
    if not match or not match[1]:
        return match is not None
    start = tuple(islice(words_between(source, pos, end), 4))
    kind = start[3:] if start[1:3] == ("OR", "REPLACE") else start[1:2]
    return kind in (("FUNCTION",), ("PROCEDURE",))


def _quote_end(source: str, start: int, inside: int, end: int) -> int:
    """Return the offset after a dollar quote or block comment, 0 when it is never closed."""
    if source.startswith("/*", start, end):
        return _comment_end(source, start, end)
    tag = source[start:inside]
    close = source.find(tag, inside, end) if tag else -1
    return close + len(tag) if close >= 0 else 0


def _open(source: str, start: int, mark: str, at: int) -> tuple[Fault]:
    """Return the fault of a quote or comment that is never closed.

    A quote too many in a text makes the last quote of the statement look open, far below. So the
    fault is the first quote that ends a string in the middle of a text: a word follows it.

    Args:
        source: the text.
        start: where the statement begins.
        mark: the dollar quote that is open; empty for another quote and for a comment.
        at: where the open quote or comment begins.
    """
    quote = '"' if source[at] == '"' else "'"
    if mark or source[at] not in "eE'\"":
        return _never_closed(mark or source[at], at)
    ends = [after for _, after in token_spans(source, start, at) if source[after - 1] == quote]
    if not ends:
        return _never_closed(quote, at)
    word = re.compile(_WORD_PART)
    for after in ends:
        if word.match(source, after):
            message, hint = _ENDS_EARLY[quote]
            return (Fault(after - 1, message, hint),)
    message, hint = _OPEN_SOMEWHERE[quote], _NEVER_CLOSED[quote][1]
    return (Fault(start, message, hint),)


def _never_closed(mark: str, offset: int) -> tuple[Fault]:
    message, hint = _NEVER_CLOSED[mark[0].upper()]
    return (Fault(offset, message, hint.format(mark)),)


def _after(pattern: re.Pattern[str], source: str, pos: int, end: int) -> int:
    match = pattern.match(source, pos, end)
    return match.end() if match else pos


def gap(source: str, pos: int, end: int) -> int:
    """Return the offset after white space and comments, or the offset of an unclosed comment."""
    pos = _after(_SKIP, source, pos, end)
    while source.startswith("/*", pos, end) and (close := _comment_end(source, pos, end)):
        pos = _after(_SKIP, source, close, end)
    return pos


def _comment_end(source: str, pos: int, end: int) -> int:
    """Return the offset after a block comment, 0 when it is never closed."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(source, pos, end):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return 0


def tokens_between(source: str, pos: int, end: int) -> Iterator[str]:
    """Yield the tokens of a part of a source, as they are written, without the comments."""
    for start, after in token_spans(source, pos, end):
        yield source[start:after]


def bare(source: str, pos: int, end: int) -> str:
    """Return the tokens of a part of a source in one text, each after a NUL character.

    Two parts that differ only in comments, and in the blanks between tokens, have the same text.
    The characters of an operator stay together, because `<-` is one operator and `< -` are two.
    """
    pieces: list[str] = []
    last = pos
    for start, after in token_spans(source, pos, end):
        joined = start == last > pos and {source[last - 1], source[start]} <= _OPERATOR
        pieces.append(source[start:after] if joined else f"\0{source[start:after]}")
        last = after
    return "".join(pieces)


def token_spans(source: str, pos: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the start of each token of a part of a source, and the offset after the token."""
    step = re.compile(rf"{_GAP}({_TOKEN})")
    while (match := step.match(source, pos, end)) is not None:
        start, pos = match.span(1)
        first = source[start]
        if first == "/" and source.startswith("/*", start, end):  # there is a comment inside it
            pos = _comment_end(source, start, end)
            if not pos:
                return
            continue
        if first == "$" and pos > start + 1:
            pos = _quote_end(source, start, pos, end) or end
        yield start, pos


def words_between(source: str, pos: int, end: int) -> Iterator[str]:
    """Yield the tokens of a part of a source as `words` gives them."""
    for token in tokens_between(source, pos, end):
        literal = token[-1] in "'\"" or token[0] in "$0123456789"
        yield token if literal else token.translate(UPPER)


def _nul(source: str) -> Iterator[Fault]:
    offset = source.find("\0")
    if offset >= 0:
        hint = "Remove it; if the file is UTF-16, save it as UTF-8."
        yield Fault(offset, "there is a NUL character in the file", hint)


def _line_end(source: str, pos: int, end: int) -> int:
    newline = source.find("\n", pos, end)
    return end if newline < 0 else newline


def copies_through_client(tokens: Iterable[str], direction: str) -> bool:
    """Return whether a COPY gets its rows from the client, or sends them there.

    The server takes STDIN and STDOUT for the same, whatever the direction is.

    Args:
        tokens: the words and signs of the statement, in upper case.
        direction: FROM or TO.
    """
    depth, previous = 0, ""
    for token in tokens:
        if not depth and previous == direction:
            return token in ("STDIN", "STDOUT")
        depth += {"(": 1, ")": -1}.get(token, 0)
        previous = token
    return False


def _rows(source: str, start: int) -> tuple[int, int]:
    r"""Return the start and the end of rows, which the line `\.` or the end of the file ends."""
    start = min(start, len(source))
    match = _ROWS_END.search(source, start - 1)
    return start, match.start() + 1 if match else len(source)


def _continued(piece: _Piece) -> Iterator[Fault]:
    """Yield a problem if a statement begins on the line of a COPY and continues after its rows."""
    if piece.problem or piece.start < piece.end:
        message = (
            "this statement begins on the line of a COPY … FROM STDIN and continues after its rows"
        )
        hint = r"Begin it on a line of its own, after the line \."
        yield Fault(piece.start, message, hint)


def _psql_command(source: str, piece: _Piece, end: int) -> tuple[int, tuple[Fault, ...]]:
    """Return where the command that begins with a backslash ends, and what is wrong with it."""
    if piece.start == piece.end and re.compile(_RESTRICT).match(source, piece.stop, end):
        return _line_end(source, piece.stop, end) + 1, ()
    match = re.compile(_COMMAND).match(source, piece.stop, end)
    name = match[1] if match else ""
    message = f"\\{name} is a command of psql, not SQL"
    line = source[piece.stop : _line_end(source, piece.stop, end)]
    variable = line.split()[1:2]
    hint = _COMMAND_HINTS.get(name, _COMMAND_HINT)
    if name in ("set", "unset") and variable and variable[0] in _PSQL_VARIABLES:
        hint = _PSQL_VARIABLES[variable[0]]
    problem = Fault(piece.stop, message, hint)
    if name in (";", ":"):
        return piece.stop + 2, (problem,)
    line_end = _line_end(source, piece.stop, end)
    if re.compile(_COPY_COMMAND).match(source, piece.stop, line_end):
        line_end = _line_end(source, _rows(source, line_end + 1)[1], len(source))
    return line_end + 1, (problem,)


def _strings_setting(source: str, piece: _Piece) -> Iterator[Fault]:
    """Yield a problem if a SET switches standard_conforming_strings off."""
    start = list(islice(words_between(source, piece.start, piece.end), 5))
    setting = start[2:] if start[1:2] in (["SESSION"], ["LOCAL"]) else start[1:]
    value = "".join(setting[2:3]).strip("'\"").upper()
    if setting[:1] == ["STANDARD_CONFORMING_STRINGS"] and value in FALSE:
        message = "standard_conforming_strings is switched off"
        hint = "Leave it on, and write a string that has backslash escapes as E'…'."
        yield Fault(piece.start, message, hint)
