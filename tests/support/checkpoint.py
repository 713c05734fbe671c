"""Five migrations, and a checkpoint for them as `migrator checkpoint` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.files.checkpoint import header
from migrator.files.folder import load_folder
from migrator.history.checkpoint import entry_of

if TYPE_CHECKING:
    from tests.support.migrator import Folder

NAME = "006_checkpoint.sql"
OLD = {
    "001_pets.sql": "CREATE TABLE pets (id int PRIMARY KEY);",
    "002_names.sql": "-- Names\nALTER TABLE pets ADD COLUMN name text;",
    "003_first.sql": "INSERT INTO pets VALUES (1, 'Ada');",
    "004_index.sql": (
        "-- migrator: no-transaction\nCREATE INDEX CONCURRENTLY pets_name ON pets (name);"
    ),
    "005_second.sql": "INSERT INTO pets VALUES (2, 'Bo');",
}
BODY = (
    "CREATE TABLE pets (id int PRIMARY KEY, name text);\n"
    "INSERT INTO pets VALUES (1, 'Ada'), (2, 'Bo');\n"
    "CREATE INDEX pets_name ON pets (name);\n"
    "CREATE TABLE built_by_checkpoint ();\n"
)


def write_old(folder: Folder) -> None:
    """Write the five files."""
    for name, text in OLD.items():
        folder.write(name, text)


def remove_old(folder: Folder, *kept: str) -> None:
    """Remove the five files, except those named."""
    for name in OLD.keys() - {*kept}:
        if (folder.path / name).exists():
            folder.remove(name)


def write_checkpoint(folder: Folder, name: str = NAME, up_to: int = 5, body: str = BODY) -> None:
    """Write a checkpoint that stands for the files up to a version, and what they stand for."""
    entries = {}
    for migration in load_folder(folder.path).migrations:
        if migration.version <= up_to:
            older = migration.directives.checkpoint
            for entry in (*(older.entries if older else ()), entry_of(migration)):
                entries[entry.version] = entry
    listed = [entries[version] for version in sorted(entries)]
    folder.write(name, f"-- Everything up to {up_to}\n{header(up_to, listed)}\n{body}")
