"""Writes the table of docs/verify.md on where `verify` and pg_dump do not agree.

tests/integration/schema/test_pg_dump.py changes a schema in more than 500 ways, and demands of each
change that `verify` sees it if and only if pg_dump shows it, or that one of these policies says why
not. `make docs` runs this script, and tests/unit/documents/test_policies.py checks that the script
has nothing to change.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).parents[1] / "docs" / "verify.md"
_TABLE = re.compile(
    r"(?s)(?<=\| what \| seen by \| reason \|\n\| --- \| --- \| --- \|\n).*?(?=\n\n)"
)


class Policy(NamedTuple):
    """A kind of change that only one of `verify` and pg_dump sees.

    Attributes:
        name: the name by which the changes of the test refer to it.
        what: what changes.
        seen_by: `verify` or `pg_dump`.
        reason: why that is right.
    """

    name: str
    what: str
    seen_by: str
    reason: str


POLICIES = (
    Policy(
        "order of columns",
        "the order of a table's columns",
        "pg_dump",
        "It depends on when each column was added, it cannot be changed, and SQL that names its "
        "columns does not see it.",
    ),
    Policy(
        "order of options",
        "the order of storage options",
        "pg_dump",
        "It depends on which option was set first, and means nothing.",
    ),
    Policy(
        "order of lists",
        "the order of the tags of an event trigger",
        "pg_dump",
        "It means nothing.",
    ),
    Policy(
        "names of identity sequences",
        "the name of the sequence of an identity column",
        "pg_dump",
        "It is part of its column, and the column's own commands change it. It keeps its name when "
        "the table is renamed.",
    ),
    Policy(
        "names of NOT NULL",
        "the names of NOT NULL constraints",
        "pg_dump",
        "Only PostgreSQL 18 has them, and `ALTER COLUMN ... DROP NOT NULL` needs none.",
    ),
    Policy(
        "the comment of public",
        "whether the schema `public` has the comment that the server gave it",
        "pg_dump",
        "It is lost when the schema is dropped and created again. Any other comment counts.",
    ),
    Policy(
        "IN on varchar",
        "whether `IN` on a varchar was read back from a dump",
        "pg_dump",
        "The server then casts each value of the list instead of the list, which is the same "
        "condition.",
    ),
    Policy(
        "owners and grants",
        "owners, privileges and default privileges",
        "pg_dump",
        "They often differ from one environment to the next on purpose. `--grants` compares them.",
    ),
    Policy(
        "tablespaces",
        "the tablespace of a table or an index",
        "pg_dump",
        "It is about the disks of one server, and not about the schema.",
    ),
    Policy(
        "type of identity sequences",
        "the type of an identity column's sequence, where it is not that of the column",
        "verify",
        "A later value may not fit the column, or the numbers may end too early.",
    ),
    Policy(
        "triggers of foreign keys",
        "whether the triggers that enforce a foreign key are enabled, on either side",
        "verify",
        "Without them the foreign key is not enforced.",
    ),
)


def documentation(text: str) -> str:
    """Return docs/verify.md with a row for each policy."""
    rows = (f"| {policy.what} | {policy.seen_by} | {policy.reason} |" for policy in POLICIES)
    return _TABLE.sub(lambda _: "\n".join(rows), text, count=1)


if __name__ == "__main__":
    DOCUMENT.write_text(documentation(DOCUMENT.read_text("utf-8")), "utf-8")
