"""One file a command: its manual page, its options, its body, its answer as text and as JSON.

The list of the commands is made from the files of this package. Nothing else lists them, so a
command is added by adding its file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import migrator.process.log  # noqa: F401 - it imports structlog without asyncio, so it is the first

if TYPE_CHECKING:
    from migrator.commands.command import Command


DEFAULT = "apply"  # what the program does when no command is given
_SHARED = ("command", "comparing", "context", "many")  # the files that are no commands


def names() -> list[str]:
    """Return the names of the commands, in the order of the alphabet, and import none of them."""
    import pkgutil  # noqa: PLC0415 - a run without arguments does not ask for the names

    files = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(name for name in files if name not in _SHARED)


def load(name: str) -> Command:
    """Import the file of one command.

    Args:
        name: one of `names()`.
    """
    # `python -X importtime`, which the tests read, does not show what importlib imports.
    command: Command = __import__(f"{__name__}.{name}", fromlist=["COMMAND"]).COMMAND
    return command


def load_all() -> list[Command]:
    """Import the files of all commands, and return the commands in the order of `--help`."""
    return sorted(map(load, names()), key=lambda command: command.order)
