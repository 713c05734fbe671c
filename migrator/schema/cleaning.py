"""Makes a migration of what pg_dump writes.

What is removed or changed, and why:

- Settings of a restore, such as `statement_timeout = 0` and `search_path`: the limits of the run
  stay, and what the file needs is set for its transaction alone.
- `OWNER TO` our own role, and our role in grants: the role that applies the file later owns what it
  makes, as with every file.
- Comments on extensions that the extension brings: only the owner of the extension may set them.
- What was there before the files, because the target has it.
- MAINTAIN in the rights on a table: PostgreSQL 16 and older do not know it, and there it is no part
  of ALL. So all rights are given, and those that are missing are taken away.
- What a server notes in the options of a column for itself (`pg_attver`).
- Empty COPY statements, and values of sequences that have not been used.
- Commands of psql, and comments with the names of objects.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.history.checkpoint import EMPTY_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migrator.files.scanner import Statement
    from migrator.server.session import Session

_RESTRICT = re.compile(r"^\\(?:un)?restrict \S+$", re.MULTILINE)
_BODIES = "SET LOCAL check_function_bodies TO off;"
_SETTING = re.compile(r"SET\s+(\w+)\s*=\s*(.*)", re.DOTALL)
_METHOD = "default_table_access_method"
_NOTED = re.compile(r"pg_attver=[^,)]*(?:, )?")
_COLUMN_OPTIONS = re.compile(r"ALTER .* ALTER COLUMN .* SET \(", re.DOTALL)
_SET_PATH = re.compile(r"SELECT\s+pg_catalog\.set_config\('search_path'")
_ROWS = re.compile(r"COPY\s|INSERT\s|SELECT\s+pg_catalog\.setval\(")
_VALUE = re.compile(r"SELECT\s+pg_catalog\.setval\('((?:[^']|'')*)', (-?\d+), false\)\Z")
_NAME = r'("(?:[^"]|"")*"|[^\s"]+)'
_OF_SCHEMA = re.compile(r"(?:CREATE|ALTER|COMMENT ON) SCHEMA ")
_ON_SCHEMA = re.compile(r"(?:GRANT|REVOKE) [A-Z,]+ ON SCHEMA ")
_MAINTAIN = "MAINTAIN"  # since PostgreSQL 17
_OWNER = re.compile(rf"ALTER\s.*\sOWNER TO {_NAME}\Z", re.DOTALL)
_GRANTEE = re.compile(rf"(?<=\s)(TO|FROM) {_NAME}(?= WITH GRANT OPTION\Z|\Z)")
_DEFAULTS = re.compile(rf"ALTER DEFAULT PRIVILEGES FOR ROLE {_NAME} ")
_AUTHORIZATION = re.compile(rf"SET SESSION AUTHORIZATION {_NAME}\Z")
# The same with the rights, the object and the grantee as groups; pg_dump writes them so.
_GRANT = re.compile(
    r"((?:ALTER DEFAULT PRIVILEGES .*)?GRANT )([A-Z,]+)( ON TABLES? .*TO .+?)"
    r"( WITH GRANT OPTION)?\Z",
    re.DOTALL,
)
_TABLE_RIGHTS = (
    *("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"),
    _MAINTAIN,
)
_USER_MAPPING = re.compile(rf"CREATE USER MAPPING FOR {_NAME}(?= SERVER )")
_EXTENSION_COMMENT = re.compile(rf"COMMENT ON EXTENSION {_NAME} IS")
_EXTENSION = re.compile(rf"CREATE EXTENSION IF NOT EXISTS {_NAME}")
_SCHEMA = re.compile(rf"CREATE SCHEMA {_NAME}\Z")


class Surroundings(NamedTuple):
    """What a dump is read against.

    Attributes:
        role: our role, as SQL names it.
        usual_comments: the extensions whose comment is the one that they bring.
        starts: by sequence, the value with which it starts.
        ground: what was there before the files, by the keys of a snapshot, such as `schema app`.
        home: the schema of the history, as SQL names it, which the migrator makes itself.
        method: the access method of tables that name none.
        usual_path: the statement that gives the path of the files back.
    """

    role: str
    usual_comments: frozenset[str]
    starts: Mapping[str, int]
    ground: frozenset[str]
    home: str
    method: str
    usual_path: str = "RESET search_path;"


def surroundings(session: Session, ground: tuple[str, ...]) -> Surroundings:
    """Look at the database that a dump is of.

    Args:
        session: connected to it, outside a transaction.
        ground: what was there before the files.
    """
    [(role, home, comments, sequences, method)] = session.query(
        """
        SELECT pg_catalog.quote_ident(current_user::text), pg_catalog.quote_ident(%s),
          ARRAY(SELECT pg_catalog.quote_ident(x.extname) FROM pg_catalog.pg_extension x
            JOIN pg_catalog.pg_available_extensions a ON a.name = x.extname
            WHERE a.comment = pg_catalog.obj_description(x.oid, 'pg_extension')),
          (SELECT json_object_agg(format('%%I.%%I', n.nspname, c.relname), s.seqstart)
            FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace),
          pg_catalog.current_setting('default_table_access_method')
        """,
        (session.settings.table.schema,),
    )
    found = Surroundings(
        role, frozenset(comments), sequences or {}, frozenset(ground), home, method
    )
    if session.settings.schema:  # RESET goes to the path without it
        path = f'SET LOCAL search_path TO {home}, "$user", public;'
        found = found._replace(usual_path=path)
    return found


def clean(dump: str, around: Surroundings) -> str:
    """Return the statements of a dump that belong into a migration.

    Args:
        dump: what pg_dump has written.
        around: the database that it is of.
    """
    script = scanner.read(_without_restrict(dump))
    pieces = [EMPTY_PATH, _BODIES]
    if dump.count("xml") > 1:  # one is in the settings
        pieces.append("SET LOCAL xmloption TO content;")
    in_rows = False
    texts = [_cleaned(script.text(statement), around) for statement in script.statements]
    grants = Counter(match[1] + match[3] for text in texts if (match := _GRANT.match(text)))
    for statement, text in _schemas_first([*zip(script.statements, texts, strict=True)]):
        if not text or (statement.copy_data and statement.copy_data[0] == statement.copy_data[1]):
            continue
        if text.startswith("RESET default") and not any(_METHOD in piece for piece in pieces):
            continue
        if in_rows != bool(_ROWS.match(text)):
            in_rows = not in_rows
            # A constraint may call a function that finds its tables by the path of the files.
            pieces += [around.usual_path] if in_rows else [EMPTY_PATH]
        if statement.copy_data:
            start, end = statement.copy_data
            rows = script.source[start:end]
            pieces.append(f"{text};\n{rows}\\.")
        else:
            pieces += [f"{text};" for text in _known_before(text, grants)]
    if pieces[-1] == EMPTY_PATH:
        del pieces[-1]
    return "".join(_spaced(pieces))


def _schemas_first(pairs: list[tuple[Statement, str]]) -> list[tuple[Statement, str]]:
    """Return statements with the rights on schemas before what is given to other roles.

    To own a table, a role needs CREATE on its schema, unless a superuser gives it the table. What
    one role grants in the place of another (`SET LOCAL ROLE`) stays where it is.

    Args:
        pairs: each statement of a dump with its text here, empty for one that is left out.
    """
    if not any(_OWNER.match(text) for _, text in pairs):
        return pairs
    first: list[tuple[Statement, str]] = []
    rest: list[tuple[Statement, str]] = []
    rights: list[tuple[Statement, str]] = []
    as_other = False
    for pair in pairs:
        text = pair[1]
        as_other = text.startswith("SET LOCAL ROLE") or (as_other and text != "RESET ROLE")
        if not as_other and _ON_SCHEMA.match(text):
            rights.append(pair)
        elif not rest and (not text or _OF_SCHEMA.match(text)):
            first.append(pair)
        else:
            rest.append(pair)
    return [*first, *rights, *rest]


def _without_restrict(dump: str) -> str:
    r"""Return a dump without `\restrict`, which newer versions write, and which only psql reads.

    The rows of a COPY can have the same words: so only what is at both ends is looked at.
    """
    first = _RESTRICT.search(dump, 0, 1000)
    if first:
        dump = dump[: first.start()] + dump[first.end() :]
        last = dump.rstrip().rpartition("\n")[2]
        if _RESTRICT.fullmatch(last):
            dump = dump.rstrip()[: -len(last)]
    return dump


def _spaced(pieces: list[str]) -> Iterator[str]:
    """Yield the pieces with an empty line around each that has several lines."""
    for number, piece in enumerate(pieces):
        if number and ("\n" in piece or "\n" in pieces[number - 1]):
            yield "\n"
        yield f"{piece}\n"


def _cleaned(text: str, around: Surroundings) -> str:
    """Return a statement as a migration has it; empty for one that is left out."""
    if text.startswith(("SET ", "RESET ")):
        return _setting(text, around)
    if _is_left_out(text, around):
        return ""
    if match := _DEFAULTS.match(text):
        if match[1] == around.role:
            text = f"ALTER DEFAULT PRIVILEGES {text[match.end() :]}"
        return _with_ourselves(text, around.role)
    if text.startswith(("GRANT ", "REVOKE ")):
        return _with_ourselves(text, around.role)
    if (match := _SCHEMA.match(text)) and match[1] == around.home:
        return f"CREATE SCHEMA IF NOT EXISTS {match[1]}"
    if (match := _USER_MAPPING.match(text)) and match[1] == around.role:
        return f"CREATE USER MAPPING FOR CURRENT_USER{text[match.end() :]}"
    if _COLUMN_OPTIONS.match(text):
        text = _NOTED.sub("", text).replace(", )", ")")
        return "" if text.endswith("SET ()") else text
    return text


def _setting(text: str, around: Surroundings) -> str:
    """Return a statement that sets something; empty for one that a migration must not have."""
    if match := _AUTHORIZATION.match(text):
        return "RESET ROLE" if match[1] == "DEFAULT" else f"SET LOCAL ROLE {match[1]}"
    if text == "RESET SESSION AUTHORIZATION":
        return "RESET ROLE"
    match = _SETTING.match(text)
    if match is None or match[1] != _METHOD:
        return ""
    is_usual = match[2] == around.method
    return f"RESET {_METHOD}" if is_usual else f"SET LOCAL {_METHOD} TO {match[2]}"


def _is_left_out(text: str, around: Surroundings) -> bool:
    if _SET_PATH.match(text):
        return True
    if match := _OWNER.match(text):
        return match[1] == around.role
    if match := _EXTENSION_COMMENT.match(text):
        return match[1] in around.usual_comments
    if match := _EXTENSION.match(text):
        return f"extension {match[1]}" in around.ground
    if match := _SCHEMA.match(text):
        return f"schema {match[1]}" in around.ground
    if match := _VALUE.match(text):
        return around.starts.get(match[1].replace("''", "'")) == int(match[2])
    return False


def _known_before(text: str, grants: Mapping[str, int]) -> tuple[str, ...]:
    """Return a grant as servers take it that do not know MAINTAIN; any other statement as it is.

    Args:
        text: the statement.
        grants: how many grants there are, by object and grantee. What one gives with the grant
            option and another without it must not be taken away.
    """
    match = _GRANT.match(text)
    rights = match[2].split(",") if match else []
    missing = [right for right in _TABLE_RIGHTS if right not in rights]
    if not match or _MAINTAIN not in rights or grants[match[1] + match[3]] > 1:
        return (text,)
    if len(missing) >= len(rights):  # it was not GRANT ALL, but a file names the right
        return (text,)
    before, where = match[1].removesuffix("GRANT "), match[3]
    revoked = f"{before}REVOKE {', '.join(missing)}{' FROM '.join(where.rsplit(' TO ', 1))}"
    return (f"{match[1]}ALL{where}{match[4] or ''}", revoked)


def _with_ourselves(text: str, role: str) -> str:
    """Return a grant in which whoever runs it stands in the place of our role."""
    return _GRANTEE.sub(
        lambda match: f"{match[1]} CURRENT_USER" if match[2] == role else match[0], text
    )
