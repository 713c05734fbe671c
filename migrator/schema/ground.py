"""Builds the schema of the files in a scratch database, on the ground that the target has.

Somebody else may have made what the files build on: the schemas of the search path, where an
unqualified CREATE TABLE goes, a schema that they name, an extension that they use. What the files
make themselves must not be there before. No text tells the two apart, because a block can make a
schema too. So the files are built without anything first; if something of the target is missing
then, it is made in a new scratch database, and the files are built again.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from migrator.apply.outcome import MigrationFailed
from migrator.apply.run import apply_pending
from migrator.process.log import get_logger, redact
from migrator.process.names import identifier
from migrator.schema import scratch
from migrator.server import sqlstate
from migrator.server.connect import url_with
from migrator.server.session import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = get_logger()


# Names that are of an extension come and go with the extension.
_SCHEMAS = r"""
SELECT n.nspname::text FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_namespace'::regclass
    AND e.objid = n.oid AND e.deptype = 'e')
ORDER BY 1
"""
_EXTENSIONS = """
SELECT x.extname::text, n.nspname::text
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace ORDER BY x.oid
"""
# What a statement fails with that needs a type, a function, an operator or an access method of an
# extension.
_UNDEFINED = (sqlstate.UNDEFINED_OBJECT, sqlstate.UNDEFINED_FUNCTION, sqlstate.UNDEFINED_TABLE)


class _Target(NamedTuple):
    """What the target has that the files may build on.

    Attributes:
        path: the schemas of the search path of the session.
        schemas: all schemas.
        extensions: the extensions, each with its schema.
    """

    path: frozenset[str]
    schemas: frozenset[str]
    extensions: dict[str, str]


class Built(NamedTuple):
    """A scratch database in which all files are applied.

    Attributes:
        session: a connection to it.
        ground: what was made before the files, by the keys of a snapshot, such as `schema app`.
    """

    session: Session
    ground: tuple[str, ...]


@dataclass(slots=True)
class _Ground:
    """What is made before the files.

    Attributes:
        schemas: the names of schemas.
        extensions: extensions, each with its schema.
        refused: what the files have turned out to make themselves.
    """

    schemas: set[str] = field(default_factory=set)
    extensions: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def keys(self, session: Session) -> tuple[str, ...]:
        """Return what there is, by the keys of a snapshot."""
        rows = session.query(
            "SET LOCAL quote_all_identifiers TO off;"
            " SELECT 'schema ' || quote_ident(name) FROM unnest(%s::text[]) name"
            " UNION ALL SELECT 'extension ' || quote_ident(name) FROM unnest(%s::text[]) name",
            (sorted(self.schemas), sorted(self.extensions)),
        )
        return tuple(key for (key,) in rows)

    def lay(self, session: Session) -> None:
        """Make everything in an empty database.

        Raises:
            ServerError: the server reported an error.
        """
        for schema in sorted(self.schemas):
            session.query(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
        for extension, schema in self.extensions.items():
            name = identifier(extension)
            where = f"SCHEMA {identifier(schema)}"
            try:
                session.query(f"CREATE EXTENSION IF NOT EXISTS {name} {where} CASCADE")
            except ServerError as error:
                reason = redact(error.diagnosis.message)
                log.warning("extension not created", extension=extension, reason=reason)

    def grow(self, target: _Target, session: Session, failed: MigrationFailed | None) -> bool:
        """Learn from a try what has to be there before, and what must not.

        Args:
            target: what the target has.
            session: connected to the scratch database, after the try.
            failed: how the try failed; None when it did not.

        Returns:
            Whether another try can come to another end.
        """
        before = (set(self.schemas), dict(self.extensions))
        schemas = {name for (name,) in session.query(_SCHEMAS)}
        wanted = set(target.path)
        if failed:
            failure = failed.failure
            if failure.sqlstate in (sqlstate.DUPLICATE_SCHEMA, sqlstate.DUPLICATE_OBJECT):
                made = {*_named(failure.message, self.schemas)}
                made |= {*_named(failure.message, self.extensions)}
                self.refused |= made
                self.schemas -= made
                for name in made & self.extensions.keys():
                    del self.extensions[name]
            if failure.sqlstate == sqlstate.INVALID_SCHEMA_NAME:
                wanted |= {*_named(failure.message, target.schemas)}
            if failure.sqlstate in _UNDEFINED:
                present = {name for name, _ in session.query(_EXTENSIONS)}
                for name, schema in target.extensions.items():
                    if name not in present and name not in self.refused:
                        self.extensions[name] = schema
                        wanted |= {schema} & target.schemas
        self.schemas |= wanted - schemas - self.refused
        return before != (self.schemas, self.extensions)


@contextmanager
def built(
    session: Session, files: Sequence[Migration], path: Sequence[str] = ()
) -> Iterator[Built]:
    """Provide a scratch database in which files are applied, for the block.

    Args:
        session: connected to the target, outside a transaction.
        files: the migrations, ordered by version, and perhaps repeatables after them.
        path: the search path, as words of SQL, that the files are built with; empty for the one
            that the target has.

    Raises:
        MigrationFailed: a migration failed in the scratch database.
        UsageError: there is no database to build in.
        DatabaseUnavailable: the scratch database cannot be reached.
        LockUnavailable: another run uses the database of MIGRATOR_SCRATCH_URL.
    """
    target = _look(session)
    if path:
        target = target._replace(path=frozenset())
    ground = _Ground()
    while True:
        with scratch.empty(session) as empty:
            ground.lay(empty.session)
            failed = None
            settings = empty.settings
            if path:
                url = url_with(settings.url, f"-c search_path={','.join(path)}")
                settings = settings._replace(url=url)
            try:
                migrations = [file for file in files if not file.is_repeatable]
                apply_pending(
                    settings,
                    migrations,
                    empty.session.stop,
                    repeatables=files[len(migrations) :],
                    scratch=True,
                )
            except MigrationFailed as error:
                failed = error
            if ground.grow(target, empty.session, failed):
                continue
            if failed:
                raise failed
            yield Built(empty.session, ground.keys(empty.session))
            return


def _look(session: Session) -> _Target:
    schemas = frozenset(name for (name,) in session.query(_SCHEMAS))
    return _Target(
        path=frozenset(session.path) & schemas,
        schemas=schemas,
        extensions=dict(session.query(_EXTENSIONS)),
    )


def _named(message: str, names: Iterable[str]) -> list[str]:
    """Return the names that are in a message of the server, in whichever language it is."""
    return [name for name in names if re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", message)]
