"""Plain values: the statement that runs right now, a session in its way, and a try that failed."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.process.settings import given_as


def session_name(pid: int, application: object, role: object, client: object) -> str:
    """Return how a session is named in messages; what is None is left out."""
    who = [
        application or "unnamed",
        f"role {role}" if role else "",
        f"client {client}" if client else "",
    ]
    return f"pid {pid} ({', '.join(str(fact) for fact in who if fact)})"


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session, or a prepared transaction, that another session has to wait for.

    It holds a lock, or it waits for the lock in front of the other session. The server hides some
    of the fields when the session belongs to another role; they are None then.

    Attributes:
        pid: the process of the session; None for a prepared transaction.
        prepared: the identifier of the prepared transaction; None for a session.
        application: the application_name of the session, or the kind of its process.
        role: the role that the session logged in as.
        client: the address of the client; `local` for a socket.
        state: the state of the session: active, idle in transaction …
        transaction_s: for how many seconds the transaction is open.
        lock: the lock, such as `ACCESS SHARE`; None when only the transaction is known.
        granted: whether the session has the lock; if not, it waits for it in front of us.
        relation: the table that the lock is on; None for a lock that is not on a table.
        query: the first line of the last statement of the session.
    """

    pid: int | None
    prepared: str | None
    application: str | None
    role: str | None
    client: str | None
    state: str | None
    transaction_s: int | None
    lock: str | None
    granted: bool
    relation: str | None
    query: str | None

    def __str__(self) -> str:
        if self.pid is None:
            name = f"prepared transaction {self.prepared!r}"
        else:
            name = session_name(self.pid, self.application, self.role, self.client)
        lock = " on ".join(filter(None, (self.lock, self.relation)))
        action = f"{'holds' if self.granted else 'waits for'} {lock}"
        since = "" if self.transaction_s is None else f" for {self.transaction_s} s"
        if lock:
            open_since = f"transaction open{since}" if since else ""
            facts = [f"{name} {action}", self.state, open_since]
        else:
            facts = [f"{name} has a transaction open{since}", self.state]
        description = ", ".join(fact for fact in facts if fact)
        return f"{description}: {self.query}" if self.query else description

    @property
    def ending_sql(self) -> str:
        """The SQL that ends the transaction."""
        if self.prepared:
            quoted = self.prepared.replace("'", "''")
            return f"ROLLBACK PREPARED '{quoted}'"
        return f"SELECT pg_terminate_backend({self.pid})"


@dataclass(frozen=True, slots=True)
class Try:
    """A try that ended with a lock timeout, a deadlock or a serialization failure.

    Attributes:
        number: which try it was, from 1.
        after_s: how long after the beginning of the first try it ended, in seconds.
        blockers: the sessions that held the lock that was not available.
    """

    number: int
    after_s: float
    blockers: tuple[Blocker, ...]


def wait_hint(blocker: Blocker | None) -> str:
    """Return the advice when a lock that the migrator needs was not free in time.

    Args:
        blocker: who has it; None when that is not known.
    """
    end = f", or end it with {blocker.ending_sql}" if blocker else ""
    return f"Let it finish{end}; or raise {given_as('MIGRATOR_LOCK_WAIT')} to wait longer."


@dataclass(slots=True)
class Activity:
    """A statement of a migration while it runs.

    Attributes:
        version: the version of the migration.
        file: the name of the migration's file.
        source: the text of that file.
        statement: the number of the statement in the file, from 1; None for the migrator's own SQL
            after the last statement. When a message has several statements, it is the first one.
        last_statement: the number of the last statement of such a message; otherwise None.
        start: the character of the file where the statement begins, from 0.
        end: the character after its last one.
        copy_rows: the characters where the rows of a COPY begin and end; None for other statements.
        pid: the server's process that runs the statement.
        started: when the statement began, by the monotonic clock.
        in_ranges: whether this is one range of a backfill.
        blockers: the sessions that the observer last saw in the way of the statement.
    """

    version: int
    file: str
    source: str
    statement: int | None
    last_statement: int | None
    start: int
    end: int
    copy_rows: tuple[int, int] | None
    pid: int
    started: float
    in_ranges: bool = False
    blockers: tuple[Blocker, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether the message has no other statement of the file."""
        return self.last_statement is None

    @property
    def line(self) -> int | None:
        """The line where the statement begins, from 1; counted on demand, since few are shown."""
        return None if self.statement is None else self.source.count("\n", 0, self.start) + 1
