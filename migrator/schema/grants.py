"""Reads owners and privileges in a database, and compares those of two databases.

What counts as a difference:

- An owner or a privilege counts by the names of the roles. Who granted the privilege does not.
- What PostgreSQL does by itself is no entry: an object without an access list is equal to one whose
  list says what the server would take instead (acldefault; pg_init_privs for what initdb or an
  extension made). A privilege that was taken away is an entry.
- The role that builds the scratch database stands for the role that applies the migrations in the
  target, which is the owner of the history.
- A privilege that an object of the target has because of the target's default privileges (ALTER
  DEFAULT PRIVILEGES) is part of the difference in these, and is none of its own.
- An object that only one side has is a difference without its owner and privileges. The database
  itself is not compared: a file names it, so the file acts on the target again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator.schema.difference import Difference
from migrator.schema.grant_queries import DEFAULT_PRIVILEGES, OWNERS, PRIVILEGES, filled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from migrator.process.names import Table
    from migrator.schema.snapshot import Snapshot
    from migrator.server.session import Session

# The kinds of rights; a pattern of accepted differences that begins with one is about rights.
KINDS = ("owner", "default privileges", "privileges")
States = Mapping[str, str]
# In this order, what was taken away is taken away first.
_STATEMENTS = {
    "REVOKE": "REVOKE {privileges} ON {object} FROM {role}",
    "GRANT": "GRANT {privileges} ON {object} TO {role}",
    "GRANT OPTION": "GRANT {privileges} ON {object} TO {role} WITH GRANT OPTION",
}


class DefaultPrivileges(NamedTuple):
    """Where default privileges are kept: `pg_default_acl` has a row for the first three fields.

    Attributes:
        creator: the role whose objects have them when it makes them.
        schema: the schema that the objects are in; empty for all schemas.
        letter: the kind of the objects, as the column `defaclobjtype` has it.
        role: who has them.
    """

    creator: str
    schema: str
    letter: str
    role: str


@dataclass(frozen=True, slots=True)
class Right:
    """The owner of an object, or what one role may do with it other than PostgreSQL's default.

    Attributes:
        kind: one of `KINDS`.
        name: whose and on what, such as `of app on table users`.
        within: the keys of the items in a snapshot that are the object, and that contain it.
        made_under: the default privileges that the object was made under, or that these are; None
            for a kind of object that has none.
        states: by privilege, `GRANT`, `GRANT OPTION` or `REVOKE`; of an owner, `role` and its name.
        prefix: what the statement begins with, of a default privilege.
        object: the object as SQL names it.
        columns: the column as SQL names it; None for the whole object.
        role: the role as SQL names it.
    """

    kind: str
    name: str
    within: tuple[str, ...]
    made_under: DefaultPrivileges | None
    states: States
    prefix: str
    object: str
    columns: str | None
    role: str

    @property
    def key(self) -> str:
        """The name in a list of differences, such as `privileges of app on table users`."""
        return f"{self.kind} {self.name}"

    def sql(self, states: States) -> str:
        """Return the statements that make these states."""
        if self.kind == "owner":
            return f"ALTER {self.object} OWNER TO {states['role']};"
        return "\n".join(self._statements(states))

    def _statements(self, states: States) -> Iterator[str]:
        for state, statement in _STATEMENTS.items():
            privileges = [privilege for privilege in states if states[privilege] == state]
            column = f" ({self.columns})" if self.columns else ""
            if privileges:
                text = statement.format(
                    privileges=", ".join(f"{privilege}{column}" for privilege in privileges),
                    object=self.object,
                    role=self.role,
                )
                yield f"{self.prefix}{text};"


Rights = dict[str, Right]  # each right under its key


def migrating_role(session: Session) -> str:
    """Return the role that applies the migrations: the owner of the history, or else our own.

    Args:
        session: connected to the target, outside a transaction.
    """
    [(role,)] = session.query(
        "SELECT coalesce((SELECT pg_get_userbyid(c.relowner) FROM pg_class c"
        " WHERE c.oid = to_regclass(%s)), current_user)::text",
        (session.settings.table.quoted,),
    )
    return str(role)


def read_rights(
    session: Session, left_out: Iterable[Table], stands_for: str | None = None
) -> Rights:
    """Read the owners and the privileges of all objects in a database.

    Args:
        session: outside a transaction.
        left_out: tables that are not looked at.
        stands_for: the role that our own role stands for; None when each stands for itself.

    Raises:
        ServerError: the server reported an error.
    """
    rights: Rights = {}
    left_out = tuple(left_out)
    with session.at_length():
        for query in (OWNERS, PRIVILEGES, DEFAULT_PRIVILEGES):
            rows = session.query(filled(query, left_out, stands_for))
            for kind, name, within, made_under, *rest in rows:
                under = DefaultPrivileges(*made_under) if made_under else None
                right = Right(kind, name, tuple(within), under, *rest[:5])
                rights[right.key] = right
    return rights


def compare_rights(
    files: Rights,
    database: Rights,
    schemas: tuple[Snapshot, Snapshot],
    left_out: Collection[str] = (),
) -> tuple[Difference, ...]:
    """Return how the owners and privileges of a database differ from those that the files make.

    Args:
        files: the rights in the scratch database.
        database: the rights in the target.
        schemas: the snapshots of the two.
        left_out: the keys of items whose rights are not compared.
    """
    extra = _extra_defaults(files, database)
    differences: list[Difference] = []
    for key in sorted({**files, **database}, key=_order):
        expected, actual = files.get(key), database.get(key)
        right = expected or actual
        if right and _is_compared(right, schemas, left_out):
            differences += _differences(expected, actual, extra)
    return tuple(differences)


def lasting_rights(session: Session) -> Rights:
    """Return the rights that stay when everything is dropped: default ones, and on `public`.

    Args:
        session: outside a transaction.
    """
    return {
        key: right
        for key, right in read_rights(session, ()).items()
        if right.kind == "default privileges"
        or (right.kind == "privileges" and right.within == ("schema public",))
    }


def undo_sql(now: Rights, before: Rights) -> str:
    """Return the statements after which the rights are as they were; empty when they are."""
    statements = []
    for key, right in now.items():
        known = before[key].states if key in before else {}
        inverse = {
            label: "GRANT" if state == "REVOKE" else "REVOKE"
            for label, state in _without(right.states, known).items()
        }
        statements.append(right.sql(inverse))
    for key, right in before.items():
        known = now[key].states if key in now else {}
        statements.append(right.sql(_without(right.states, known)))
    return "\n".join(filter(None, statements))


def _order(key: str) -> tuple[int, str]:
    """Return a sort key: all rights of one kind together, in the order of `KINDS`."""
    return next(rank for rank, kind in enumerate(KINDS) if key.startswith(f"{kind} ")), key


def _is_compared(
    right: Right, schemas: tuple[Snapshot, Snapshot], left_out: Collection[str]
) -> bool:
    """Return whether the object is there on both sides, as far as the snapshots tell."""
    expected, actual = schemas
    return right.within[:1] not in {(key,) for key in left_out} and all(
        (key in expected) == (key in actual) for key in right.within
    )


def _extra_defaults(files: Rights, database: Rights) -> dict[DefaultPrivileges, States]:
    """Return the default privileges that only the database has."""
    return {
        right.made_under: _without(right.states, files[key].states if key in files else {})
        for key, right in database.items()
        if right.kind == "default privileges" and right.made_under
    }


def _without(states: States, known: States) -> States:
    return {label: state for label, state in states.items() if known.get(label) != state}


def _differences(
    expected: Right | None, actual: Right | None, extra: Mapping[DefaultPrivileges, States]
) -> Iterator[Difference]:
    """Yield the difference between a right as the files make it and as the database has it."""
    right = expected or actual
    if right is None or (right.kind == "owner" and not (expected and actual)):
        return
    wanted = expected.states if expected else {}
    found = actual.states if actual else {}
    if actual and actual.kind == "privileges" and (under := actual.made_under):
        for defaults in (under, under._replace(schema="")):
            explained = extra.get(defaults, {})
            found = {
                label: state
                for label, state in found.items()
                if wanted.get(label) == state or explained.get(label) != state
            }
    labels = tuple(label for label in {**wanted, **found} if wanted.get(label) != found.get(label))
    if labels:
        yield Difference(
            right.kind,
            right.name,
            "different" if wanted and found else "missing" if wanted else "unexpected",
            labels if wanted and found else (),
            right.sql(wanted) if wanted else None,
            right.sql(found) if found else None,
            right.within,
        )
