"""Which file a row of the history is of: by its version, its checksum and the name of its file.

A number alone does not say which migration a row is of: after a merge of two branches, the file of
that number may be another one. The description does not say it either, because it is a comment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.files.migration import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from migrator.files.migration import Migration
    from migrator.history.table import Row


class Moves(NamedTuple):
    """The rows whose migration is now in a file of another number.

    Attributes:
        to: by the version of the row, the file that has the row's text now.
        blocked: the versions of rows whose text is in a file with the number of another row, and
            that row is not of a file with another number.
    """

    to: Mapping[int, Migration]
    blocked: frozenset[int]


def same_text(migration: Migration, row: Row) -> bool:
    """Return whether a file has the text of a row, whatever blanks either has at its end.

    A row without a checksum has nothing to compare and is trusted.
    """
    return row.checksum in (None, migration.checksum) or row.checksum in migration.checksums


def same_statements(migration: Migration, row: Row) -> bool:
    """Return whether a file has the statements of a row, whatever its comments are."""
    return (
        row.statements_checksum is not None
        and row.statements_checksum == migration.statements_checksum
    )


def same_name(migration: Migration, row: Row) -> bool:
    """Return whether a file has the name of a row apart from the number, or the row has no name."""
    return row.file is None or words_of(row.file) == migration.words


def find_moves(
    migrations: Sequence[Migration],
    rows: Sequence[Row],
    without_file: AbstractSet[int] = frozenset(),
) -> Moves:
    """Return which rows are of a file that has another number now.

    Args:
        migrations: the files, ordered by version.
        rows: the history, ordered by version.
        without_file: the versions of rows that are known to have no file any more.
    """
    recorded = {row.version: row for row in rows}
    at_home = without_file | {
        migration.version
        for migration in migrations
        if (row := recorded.get(migration.version)) and _is_of(migration, row)
    }
    homeless = [row for row in rows if row.version not in at_home]
    strays = [migration for migration in migrations if migration.version not in at_home]
    if not homeless or not strays:
        return Moves({}, frozenset())
    to = dict(_pair(homeless, strays))
    blocked: set[int] = set()
    while stuck := {
        version
        for version, migration in to.items()
        if migration.version in recorded and migration.version not in to
    }:
        blocked |= stuck
        to = {version: migration for version, migration in to.items() if version not in stuck}
    return Moves(to, frozenset(blocked))


def _is_of(migration: Migration, row: Row) -> bool:
    """Return whether a row is of the file of its number, without a look at the other files."""
    if row.checksum is None:
        return same_name(migration, row)
    return same_text(migration, row) or same_statements(migration, row)


def _pair(rows: Sequence[Row], migrations: Sequence[Migration]) -> Iterator[tuple[int, Migration]]:
    """Yield the version of each row whose text a file has, and that file; each file once."""
    by_checksum: dict[str, list[Migration]] = {}
    for migration in migrations:
        for checksum in {*migration.checksums, migration.statements_checksum} - {None}:
            by_checksum.setdefault(str(checksum), []).append(migration)
    taken: set[int] = set()
    for row in rows:
        if row.checksum is not None:
            candidates = by_checksum.get(row.checksum) or by_checksum.get(
                row.statements_checksum or "", []
            )
        else:
            candidates = [file for file in migrations if row.file and same_name(file, row)]
        free = [file for file in candidates if file.version not in taken | {row.version}]
        if free:
            # Of several files with the same text, the one of the same name.
            best = min(free, key=lambda file: (not same_name(file, row), file.version))
            taken.add(best.version)
            yield row.version, best
