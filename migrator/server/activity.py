"""What the server does for us right now, and which sessions are in the way: plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that holds what another one waits for, or waits for it in front of the other one.

    The server shows only a part of other roles' sessions.

    Attributes:
        pid: its process; None for a prepared transaction.
        prepared: the prepared transaction's identifier; None for a session.
        application: its application_name, or what kind of process it is.
        role: the role that it logged in as.
        client: its address; `local` for a socket.
        state: its state: active, idle in transaction …
        transaction_s: for how many seconds its transaction is open.
        lock: the lock, such as `ACCESS SHARE`; None: only its transaction is known.
        granted: False: it waits for that lock, and we have to wait behind it.
        relation: the table that the lock is on; None for a lock that is not on a table.
        query: the first line of its last statement.
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
            who = f"prepared transaction {self.prepared!r}"
        else:
            who = f"pid {self.pid} ({self.application or 'unnamed'}, role {self.role}"
            who += f", client {self.client})"
        lock = " on ".join(filter(None, (self.lock, self.relation)))
        has = f"{'holds' if self.granted else 'waits for'} {lock}"
        facts = [
            f"{who} {has if lock else 'has a transaction open'}",
            self.state or "",
            "" if self.transaction_s is None else f"in a transaction for {self.transaction_s} s",
        ]
        text = ", ".join(fact for fact in facts if fact)
        return f"{text}: {self.query}" if self.query else text


@dataclass(slots=True)
class Activity:
    """A statement of a migration while it runs.

    Attributes:
        version: the migration's version.
        file: the migration's file.
        source: the migration's text.
        statement: the statement's number, from 1; None: our own SQL after the last one.
        start: the character of the text where the statement begins, from 0.
        copy_size: how many characters the rows of a COPY have; None for other statements.
        pid: the server's process.
        started: when it began, by the monotonic clock.
        blockers: the sessions that were last seen in its way; the observer notes them.
    """

    version: int
    file: str
    source: str
    statement: int | None
    start: int
    copy_size: int | None
    pid: int
    started: float
    blockers: tuple[Blocker, ...] = ()

    @property
    def line(self) -> int | None:
        """The line where the statement begins, from 1; it is counted only when it is shown."""
        return None if self.statement is None else self.source.count("\n", 0, self.start) + 1
