"""`migrator new`: the next migration file, from a template."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrator.commands.command import FILES, Command, Page
from migrator.files.migration import FIRST_TIMESTAMP, REPEATABLE_PREFIX, parse_name
from migrator.files.rules import UNWRITTEN
from migrator.process.errors import OK, UsageError
from migrator.process.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.commands.context import Context


_TIMESTAMP = 14  # the digits of YYYYMMDDHHMMSS

_TEMPLATE = f"""-- {{description}}
--
-- {UNWRITTEN}, if the SQL does not show it, and write the SQL below.
-- The file runs once, in one transaction that also records it. Keep table locks short. A statement
-- that cannot run in a transaction goes into a file of its own, below the line
-- `-- migrator: no-transaction`.

"""
_REPEATABLE_TEMPLATE = f"""-- {{description}}
--
-- {UNWRITTEN}, if the SQL does not show it, and write the SQL below.
-- The file is run after all migrations, in one transaction, and again whenever its text changes. So
-- it has to replace what is there. Begin with the lines that fit, without their dashes:
--
-- CREATE OR REPLACE VIEW name AS
-- SELECT ...;
--
-- CREATE OR REPLACE FUNCTION name(argument integer) RETURNS integer
-- LANGUAGE sql STABLE
-- RETURN argument + 1;
--
-- GRANT SELECT ON name TO role;

"""
PAGE = Page(
    """
    Create the next file, NNN_description.sql, from a template and print its path. Its version
    is one above the newest file's, with as many digits; if the versions are timestamps, or with
    --timestamp, it is the time now (UTC, 14 digits). The folder is created if it is missing. The
    file is refused until you have written it. No database is needed.

    With --repeatable, create R__description.sql, which has no version: it is run after all
    migrations, and again whenever its text changes.
    """,
    "created",
    (),
    (
        ("migrator new add user locale", "the next file"),
        ('$EDITOR "$(migrator new add user locale)"', "and write it"),
        ("migrator new --timestamp add user locale", "its number is the time now"),
        ("migrator new --repeatable user progress", "a view, a function or grants"),
    ),
)


class _Description(argparse.Action):
    """Take several words for one description."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401 - as in argparse
        _option: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, " ".join(values))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument(
        "description",
        metavar="WORD",
        nargs="+",
        action=_Description,
        help="the description, such as add user locale",
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--timestamp",
        action="store_true",
        help="let the version be the time now (UTC, YYYYMMDDHHMMSS)",
    )
    either.add_argument(
        "--repeatable",
        action="store_true",
        help="create a repeatable, which has no version",
    )


def execute(context: Context) -> int:
    """Create the next file and print its path.

    Raises:
        UsageError: the file cannot be named or created.
    """
    directory = Path(context.settings.directory)
    options = context.options
    description = options.description
    text = repeatable_template if options.repeatable else template
    try:
        names = [entry.name for entry in directory.iterdir()] if directory.exists() else []
        if options.repeatable:
            name = f"{REPEATABLE_PREFIX}{_words(description)}.sql"
        else:
            name = next_name(names, description, datetime.now(UTC), timestamp=options.timestamp)
        directory.mkdir(parents=True, exist_ok=True)  # after the words were found to be right
        path = directory / name
        with path.open("x", encoding="utf-8") as file:
            file.write(text(description))
    except OSError as error:
        raise UsageError(
            f"cannot create a file in {directory.resolve()}: {error.strerror}"
        ) from None
    context.say(f"{visible(str(path))}\n")
    return OK


def next_name(
    names: Sequence[str], description: str, now: datetime, *, timestamp: bool = False
) -> str:
    """Return the name of the next migration.

    Its version has the width of the newest one's and is one higher; where that is a timestamp, it
    is the time now. It is always higher than the newest one.

    Args:
        names: the file names in the folder.
        description: a few words.
        now: the time, UTC.
        timestamp: whether the version is the time now in any case.

    Raises:
        UsageError: the description has no ASCII letter or digit.
    """
    words = _words(description)
    parsed = [(name[0], file) for file in names if (name := parse_name(file))]
    newest, file = max(parsed, default=(0, "000_"))
    width = len(file.partition("_")[0])
    version = newest + 1
    if timestamp or newest >= FIRST_TIMESTAMP:
        further = max(len(str(newest)) - _TIMESTAMP, 0)  # digits behind the seconds
        version = max(version, int(now.strftime("%Y%m%d%H%M%S")) * 10**further)
    return f"{version:0{width}}_{words}.sql"


def _words(description: str) -> str:
    """Return the words of a description for the name of a file.

    Raises:
        UsageError: the description has no ASCII letter or digit.
    """
    words = re.sub(r"\W+", "_", description.lower(), flags=re.ASCII).strip("_")
    if not words:
        raise UsageError(
            f"{description!r} has no ASCII letter or digit for the file's name",
            "Use ASCII letters here; the first line of the file may then use any letters.",
        )
    return words


def template(description: str) -> str:
    """Return the text of a new migration."""
    return _TEMPLATE.format(description=_line(description))


def repeatable_template(description: str) -> str:
    """Return the text of a new repeatable."""
    return _REPEATABLE_TEMPLATE.format(description=_line(description))


def _line(description: str) -> str:
    line = " ".join(description.split())  # a second line would be SQL
    return line[:1].upper() + line[1:]


COMMAND = Command(
    name="new",
    order=80,
    summary="create the next migration file and print its path",
    page=PAGE,
    run=execute,
    add_options=add_options,
    settings=("--dir",),
    meaningful=FILES,
)
