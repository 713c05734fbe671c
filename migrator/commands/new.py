"""The next migration file, from a template."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrator.files.migration import parse_name
from migrator.files.rules import UNWRITTEN
from migrator.process.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


_FIRST_TIMESTAMP = 10**13  # YYYYMMDDHHMMSS has fourteen digits

_TEMPLATE = f"""-- {{description}}
--
-- {UNWRITTEN}, where the SQL does not say it, and write the SQL below.
-- The file runs once, in one transaction that also records it. Keep table locks short. What cannot
-- run in a transaction goes into a file of its own, below the line `-- migrator: no-transaction`.

"""


def next_name(names: Sequence[str], description: str, now: datetime) -> str:
    """Return the name of the next migration.

    Its version has the width of the newest one's and is one higher; where that is a timestamp, it
    is the time now.

    Args:
        names: the file names in the folder.
        description: a few words.
        now: the time, UTC.

    Raises:
        UsageError: the description has no ASCII letter or digit.
    """
    words = re.sub(r"\W+", "_", description.lower(), flags=re.ASCII).strip("_")
    if not words:
        raise UsageError(
            f"{description!r} has no ASCII letter or digit to name a file after",
            "Describe it in such letters; the first line of the file may then say it in any.",
        )
    parsed = [(name[0], file) for file in names if (name := parse_name(file))]
    if not parsed:
        return f"001_{words}.sql"
    newest, file = max(parsed)
    width = len(file.partition("_")[0])
    version = newest + 1
    if newest >= _FIRST_TIMESTAMP:
        version = max(version, int(now.strftime("%Y%m%d%H%M%S")))
    return f"{version:0{width}}_{words}.sql"


def template(description: str) -> str:
    """Return the text of a new migration."""
    line = " ".join(description.split())  # a second line would be SQL
    return _TEMPLATE.format(description=line[:1].upper() + line[1:])
