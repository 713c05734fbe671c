"""Whether a database that disagrees with its files could be built again from them, and how."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from migrator.files import rules
from migrator.history.progress import own_tables
from migrator.process.names import identifier, literal
from migrator.server.session import sendable

if TYPE_CHECKING:
    from migrator.history.plan import Plan
    from migrator.server.session import Session

_US = "(SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)"
_HERE = "(SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())"


def advice(session: Session, plan: Plan) -> str:
    """Return how to build the database again, for a developer's own database.

    `migrator reset` refuses some databases, and for these nothing is advised. Nothing is advised
    either where the plan has no disagreement that a reset would mend.

    Args:
        session: outside a transaction.
        plan: the comparison of the files with the history.

    Returns:
        One sentence; empty for no advice.
    """
    if plan.lagging or plan.foreign or not _disagrees(plan) or not _can_be_applied(session, plan):
        return ""
    owners = ", ".join(
        f"to_regclass({literal(table.quoted)})" for table in own_tables(session.settings.table)
    )
    [(database, is_possible)] = session.query(
        f"SELECT {sendable('current_database()::text')},"
        f" NOT EXISTS (SELECT FROM pg_catalog.pg_class c"
        f" WHERE c.oid IN ({owners}) AND c.relowner <> {_US})"
        " AND NOT EXISTS (SELECT FROM pg_catalog.pg_subscription s"
        f" WHERE s.subdbid = {_HERE} AND s.subowner = {_US} AND s.subslotname IS NOT NULL)"
    )
    if not is_possible:
        return ""
    if schema := session.settings.schema:
        what, again = f"all data of the schema {identifier(schema)}", "it"
    else:
        what, again = "all data", "the database"
    return (
        f"Only on your own machine: `migrator reset --confirm {quote(database)}` deletes {what} "
        f"and builds {again} again from the files."
    )


def _disagrees(plan: Plan) -> bool:
    """Return whether files and history disagree in a way that a reset ends."""
    edited_half_way = any(half_done.edited for half_done in plan.half_done.values())
    return bool(
        plan.edited
        or plan.missing
        or plan.replaced
        or plan.renumbered
        or plan.out_of_order
        or (plan.checkpoints and plan.checkpoints.lacking)
        or edited_half_way
    )


def _can_be_applied(session: Session, plan: Plan) -> bool:
    """Return whether the files can be applied to an empty database through this connection."""
    with_row = (*plan.applied, *plan.edited, *plan.renumbered, *plan.replaced)
    files = [*plan.pending, *(migration for migration, _ in with_row)]
    if any(rules.obstacles(migration) for migration in files):
        return False
    needs_session = any(migration.directives.needs_session for migration in files)
    return not (needs_session and session.through_pooler)
