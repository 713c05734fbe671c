"""How far the standbys of the server are behind what this session has written.

The age of the last transaction that a standby has replayed says nothing on a quiet server. So this
remembers when the session was at which position of the log, and the lag is the age of the oldest of
these positions that a standby has not replayed.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.log import get_logger, redact
from migrator.server.session import ServerError

if TYPE_CHECKING:
    from migrator.server.session import Session

log = get_logger()

_MOST = 10_000  # positions that are remembered; of more, every second one is forgotten
_NEXT_LOOK = 5.0  # seconds until it is asked again whether there are standbys, where there are none
# A process that sends the log to a logical subscriber confirms a position when it likes. One that
# only stores the log, or takes a base backup, replays nothing. The server hides the position, and
# the state, from a role that is not a member of pg_read_all_stats.
_LOOK = """
SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::float8,
  (SELECT count(*) FROM pg_catalog.pg_stat_replication r WHERE r.replay_lsn IS NOT NULL
    AND NOT {logical}),
  (SELECT count(*) FROM pg_catalog.pg_stat_replication r WHERE r.state IS NULL AND NOT {logical}),
  (SELECT min(pg_catalog.pg_wal_lsn_diff(r.replay_lsn, '0/0'))::float8
    FROM pg_catalog.pg_stat_replication r WHERE NOT {logical})""".format(
    logical="EXISTS (SELECT FROM pg_catalog.pg_replication_slots s"
    " WHERE s.active_pid = r.pid AND s.slot_type = 'logical')"
)


class Lag(NamedTuple):
    """How far the standbys are behind.

    Attributes:
        seconds: the age of the oldest position that one of them has not replayed; 0 for none.
        standbys: how many there are whose position can be seen.
    """

    seconds: float
    standbys: int


class Standbys:
    """The standbys of a server, seen by a session that writes."""

    def __init__(self) -> None:
        self._written: deque[tuple[float, float]] = deque()  # a position, and when it was reached
        self._not_before = 0.0
        self._told = False

    def look(self, session: Session) -> Lag:
        """Note what was written until now, and ask how much of it the standbys have replayed.

        Args:
            session: outside a transaction, directly after a commit.
        """
        now = time.monotonic()
        if now < self._not_before:
            return Lag(0.0, 0)
        try:
            [(position, seen, hidden, replayed)] = session.query(_LOOK, as_login=True)
        except ServerError as error:
            # Some services that speak for PostgreSQL have no log of this kind.
            self._not_before = float("inf")
            log.warning("the lag of standbys is hidden", reason=redact(error.diagnosis.message))
            return Lag(0.0, 0)
        if hidden:
            self._tell(hidden)
        if not seen:
            self._written.clear()
            self._not_before = now + _NEXT_LOOK
            return Lag(0.0, 0)
        self._written.append((position, now))
        if len(self._written) > _MOST:
            self._written = deque(list(self._written)[::2])
        while self._written and self._written[0][0] <= replayed:
            self._written.popleft()
        oldest = self._written[0][1] if self._written else now
        return Lag(now - oldest, seen)

    def _tell(self, hidden: int) -> None:
        """Warn once that the position of some standbys is hidden from our role."""
        if self._told:
            return
        self._told = True
        log.warning(
            "the lag of standbys is hidden",
            standbys=hidden,
            hint="Let a superuser run GRANT pg_read_all_stats to the role that logs in. Until then "
            "a backfill does not wait for these standbys.",
        )
