"""A connection for tests: what a test does over it is rolled back when the test ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from migrator.process.errors import UsageError
from migrator.process.url import normalise_url
from migrator.server.driver import extensions, psycopg2

if TYPE_CHECKING:
    from migrator.testing.database import Template

# A deferred constraint is checked by a COMMIT. Here it is checked between two savepoints, so that
# it is deferred again afterwards (PostgreSQL documentation, "SET CONSTRAINTS").
_COMMIT = """
SAVEPOINT migrator_check; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO SAVEPOINT migrator_check;
RELEASE SAVEPOINT migrator_test; SAVEPOINT migrator_test"""
_ROLLBACK = "ROLLBACK TO SAVEPOINT migrator_test"
_FAILED = extensions.TRANSACTION_STATUS_INERROR


class RolledBackConnection(extensions.connection):
    """A connection of psycopg2 in one transaction, which is rolled back at the end of each test.

    `commit` and `rollback` end what the test has done since the one before, as usual, but inside
    that transaction: they set a savepoint and go back to it.
    """

    def commit(self) -> None:
        """Keep what was done until the end of the test, and check the deferred constraints."""
        if self.info.transaction_status == _FAILED:  # the server would roll back, too
            self.rollback()
            return
        try:
            self._send(_COMMIT)
        except psycopg2.Error:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Undo what was done since the last `commit`, or since the test began."""
        self._send(_ROLLBACK)

    def begin_test(self) -> None:
        """Begin the transaction of a test."""
        self._send("SAVEPOINT migrator_test")

    def end_test(self) -> None:
        """Roll back what the test has done, and give the session back its settings.

        Raises:
            UsageError: the test has ended the transaction with SQL, so its changes may stay.
        """
        try:
            self._send(_ROLLBACK)
        except psycopg2.OperationalError:  # the connection is lost
            raise
        except psycopg2.Error:
            raise UsageError(
                "the test has ended the transaction of migrated_connection with SQL, such as "
                "COMMIT, so its changes cannot be rolled back",
                "Call commit() or rollback() of the connection; or use the fixture "
                "migrated_database, where everything is allowed.",
            ) from None
        super().rollback()
        self.autocommit = True
        self._send("DISCARD ALL")
        self.autocommit = False

    def _send(self, sql: str) -> None:
        with self.cursor() as cursor:
            cursor.execute(sql)


class SharedDatabase:
    """A copy of a template for many tests, and the one connection that they use in turn.

    Args:
        template: what to copy.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._held = ExitStack()
        self._connection: RolledBackConnection | None = None
        self._url = ""

    def begin_test(self) -> RolledBackConnection:
        """Return the connection, in the transaction of a test."""
        if not self._url:
            database = self._held.enter_context(self._template.clone())
            self._url = normalise_url(database.url, "the URL of the database")
        if self._connection is None or self._connection.closed:
            self._connection = psycopg2.connect(self._url, connection_factory=RolledBackConnection)
        self._connection.begin_test()
        return self._connection

    def end_test(self) -> None:
        """Roll back what the test has done.

        Raises:
            UsageError: the test has ended the transaction with SQL. The next test gets a new copy.
        """
        connection = self._connection
        if connection is None or connection.closed:  # the server has rolled back
            return
        try:
            connection.end_test()
        except UsageError:
            self.close()
            raise
        except psycopg2.Error:
            if not connection.closed:
                raise

    def close(self) -> None:
        """Hang up, and drop the copy."""
        if self._connection:
            self._connection.close()
        self._connection, self._url = None, ""
        self._held.close()
