"""The advice for a repeatable that failed because of what another repeatable makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.failure.place import StatementFailed
    from migrator.server.session import Session


def advice(session: Session, failed: StatementFailed) -> dict[str, str]:
    return {}
