"""The folders of other tools: how each names its files, and which files are no migrations."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from migrator.files.migration import REPEATABLE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


_LONGEST = 200  # bytes of words; the name of a file can have 255
WAY_DOWN = "files with the way down"
# Files of these kinds are migrations that are programs, if they are named like migrations.
LANGUAGES = {
    "cs": "C#",
    "ex": "Elixir",
    "exs": "Elixir",
    "go": "Go",
    "groovy": "Groovy",
    "java": "Java",
    "js": "JavaScript",
    "cjs": "JavaScript",
    "mjs": "JavaScript",
    "kt": "Kotlin",
    "php": "PHP",
    "pl": "Perl",
    "py": "Python",
    "rb": "Ruby",
    "rs": "Rust",
    "sh": "shell",
    "ts": "TypeScript",
}
_PROGRAM = re.compile(rf"(?P<name>[VR]?\d[^/]*?)\.(?P<end>{'|'.join(LANGUAGES)})")
_NO_PROGRAM = re.compile(r".*(?:_test\.go|\.d\.ts|\.test\.[jt]s)")
# A version is a number, a date or a date and a time; the words follow behind a separator.
_NAME = re.compile(
    r"(\d{4}[-_]\d\d[-_]\d\d[-_T]?\d{6}(?:-\d{4})?(?![\d])|\d+)?[-_. ]*(.*)", re.DOTALL
)


class Unit(NamedTuple):
    """A migration of another tool.

    Attributes:
        path: the file, from the folder on, with `/` between its parts.
        name: what the history of the tool has of it, as far as its number is in that.
        version: the version as the tool writes it; empty when the name has none.
        words: the rest of the name.
        language: what it is written in; empty for SQL.
    """

    path: str
    name: str
    version: str
    words: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tool names the files of a folder.

    All patterns are for the whole path of a file, from the folder on.

    Attributes:
        tool: the name of the tool.
        file: the files that are migrations; the group `name` has the version and the words, or the
            groups `version` and `words` have them.
        sign: the files that only a folder of this tool has; None when only the marks in the files
            tell.
        dropped: the files that are left out without a question, by what they are.
        by_name: whether the tool applies the files in the alphabetical order of their names, and
            not in the order of their versions.
        width: the lowest number of digits of a number in a file's name; 0: as usual.
        placeholder: what the tool replaces in a file, inside of quotes too; None for nothing.
        option: returns the file in which an option of a migration stands, by the path of that.
        alone: what stands in such a file when the migration runs outside a transaction.
    """

    tool: str
    file: str
    sign: str | None = None
    dropped: Mapping[str, str] = field(default_factory=dict)
    by_name: bool = False
    width: int = 0
    placeholder: str | None = None
    option: Callable[[str], str] | None = None
    alone: str = ""

    def unit(self, path: str) -> Unit | None:
        """Return the migration that a file is; None for another file."""
        match = re.fullmatch(self.file, path)
        if match is None:
            return None
        groups = match.groupdict()
        if "version" in groups:
            return Unit(path, groups["version"], groups["version"], groups["words"])
        return Unit(path, groups["name"], *split(groups["name"]))

    def program(self, path: str) -> Unit | None:
        """Return the migration that a program is; None for another file."""
        match = _PROGRAM.fullmatch(path)
        if match is None or _NO_PROGRAM.fullmatch(path):
            return None
        as_sql = self.unit(f"{match['name']}.sql") or self.unit(f"{match['name']}.up.sql")
        return as_sql and as_sql._replace(path=path, language=LANGUAGES[match["end"]])

    def dropped_as(self, path: str) -> str:
        """Return as what a file is left out; empty for a file that is not."""
        kinds = (kind for kind, pattern in self.dropped.items() if re.fullmatch(pattern, path))
        return next(kinds, "")


_TOP = r"(?P<name>[^/]+)\.(?i:sql)"  # any SQL file in the folder itself
_DOWN_FILE = {WAY_DOWN: r"[^/]+[._-](?:down|rollback|undo|revert)\.(?i:sql)"}
_FLYWAY_NAME = r"(?P<version>\d[\d._]*?)__(?P<words>[^/]*)\.sql"
_PREPARED = r"(?:[^/]+/)*"  # Flyway reads the folders in the folder too
LAYOUTS = (
    Layout(
        "flyway",
        rf"{_PREPARED}V{_FLYWAY_NAME}",
        sign=r"(?:[^/]+/)*[VRUB][^/]*__[^/]*\.sql",
        dropped={"undo files": rf"{_PREPARED}U{_FLYWAY_NAME}"},
        width=12,
        placeholder=r"\$\{[^}\s]+\}",
        option=lambda path: f"{path}.conf",
        alone=r"(?m)^\s*executeInTransaction\s*=\s*false",
    ),
    Layout("refinery", r"(?:[^/]+/)*[VU](?P<version>\d+)__(?P<words>[^/]*)\.sql"),
    Layout(
        "prisma",
        r"(?P<name>[^/]+)/migration\.sql",
        sign=r"[^/]+/migration\.sql",
        dropped={WAY_DOWN: r"[^/]+/down\.sql"},
        by_name=True,
    ),
    Layout(
        "diesel",
        r"(?P<name>[^/]+)/up\.sql",
        sign=r"[^/]+/up\.sql",
        dropped={WAY_DOWN: r"[^/]+/down\.sql"},
        by_name=True,
        option=lambda path: f"{path.removesuffix('up.sql')}metadata.toml",
        alone=r"(?m)^\s*run_in_transaction\s*=\s*false",
    ),
    Layout("drizzle", _TOP, sign=r"meta/_journal\.json"),
    Layout(
        "graphile-migrate",
        r"(?:committed/)?(?P<name>\d[^/]*)\.sql",
        sign=r"committed/\d[^/]*\.sql",
        placeholder=r"(?<![:\w]):[A-Z][A-Z0-9_]+\b",
    ),
    Layout(
        "golang-migrate",
        r"(?P<name>\d[^/]*)\.up\.(?:pg)?sql",
        sign=r"\d[^/]*\.up\.(?:pg)?sql",
        dropped={WAY_DOWN: r"[^/]+\.down\.(?:pg)?sql"},
    ),
    Layout("dbmate", _TOP, by_name=True),
    Layout("goose", _TOP),
    Layout("sql-migrate", _TOP),
    Layout("micrate", _TOP),
    Layout("rambler", _TOP),
    Layout("node-pg-migrate", _TOP, dropped=_DOWN_FILE),
    Layout("tern", _TOP, placeholder=r"\{\{.*?\}\}"),
    Layout("mybatis", _TOP),
    Layout("sqlx", _TOP, dropped=_DOWN_FILE),
    Layout("supabase", _TOP, by_name=True),
    Layout("atlas", _TOP, dropped=_DOWN_FILE, by_name=True),
    Layout("plain", _TOP, dropped=_DOWN_FILE),
)
TOOLS = tuple(sorted(layout.tool for layout in LAYOUTS))


def layout_of(tool: str) -> Layout:
    """Return the layout of a tool.

    Args:
        tool: one of `TOOLS`.
    """
    return next(layout for layout in LAYOUTS if layout.tool == tool)


def by_names(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the tools of which a folder has a sign in the names of its files.

    Args:
        paths: the files, from the folder on.
    """
    paths = tuple(paths)
    return tuple(
        layout.tool
        for layout in LAYOUTS
        if layout.sign and any(re.fullmatch(layout.sign, path) for path in paths)
    )


def repeatable_name(path: str) -> str:
    """Return the name that a repeatable migration of another tool gets here.

    Args:
        path: the old file, with or without its folders.
    """
    words = path.rpartition("/")[2].removeprefix(REPEATABLE_PREFIX).rpartition(".")[0]
    return f"{REPEATABLE_PREFIX}{words_of(words)}.sql"


def split(name: str) -> tuple[str, str]:
    """Return the version that a name begins with, and the words behind it; either can be empty."""
    match = _NAME.match(name)
    return (match[1] or "", match[2]) if match else ("", name)


def words_of(words: str) -> str:
    """Return words as they can stand in the name of a migration."""
    plain = re.sub(r"[^\w-]+", "_", words).strip("_-")
    return plain.encode()[:_LONGEST].decode(errors="ignore") or "migration"
