"""The message of an error with the words of the server in it, and without passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.log import redact
from migrator.server.session import ConnectionLost, ServerError

if TYPE_CHECKING:
    from migrator.process.errors import MigratorError


def without_passwords(error: MigratorError) -> str:
    """Return the message of an error; passwords are replaced in the server's words alone."""
    if isinstance(error, ServerError):
        words = error.diagnosis.message
    elif isinstance(error, ConnectionLost):
        words = error.words
    else:
        return error.message
    return error.message.replace(words, redact(words)) if words else error.message
