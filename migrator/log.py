"""Logging: JSON, one object a line, for programs; a readable line for a person at a terminal.

`docs/logging.md` lists the events and their keys.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from migrator.settings import LogSettings

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_REDACTED = "[password]"


class _Redactor:
    """Replaces every password that is known by a placeholder, wherever it turns up."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()

    def __call__(
        self, _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        # The name of an event and its level are ours: a password such as "app" is not in them.
        return {
            key: value if key in ("event", "level") else self.clean(value)
            for key, value in event.items()
        }

    def clean(self, value: object) -> object:
        if isinstance(value, str):
            longest_first = sorted(self.secrets, key=len, reverse=True)  # one may begin another
            pattern = "|".join(map(re.escape, longest_first))
            return re.sub(pattern, _REDACTED, value) if pattern else value
        if isinstance(value, list | tuple):
            return [self.clean(item) for item in value]
        if isinstance(value, dict):
            return {key: self.clean(item) for key, item in value.items()}
        return value


_redactor = _Redactor()


def hide(secret: str | None) -> None:
    """Keep a password out of everything that is logged or passed through `redact` from now on."""
    if secret:
        _redactor.secrets.add(secret)


def redact(text: str) -> str:
    """Return the text with every hidden password replaced."""
    return str(_redactor.clean(text))


def is_console(settings: LogSettings) -> bool:
    """Tell whether a person reads the log: asked for, or stderr is a terminal."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


def configure(settings: LogSettings) -> None:
    """Set structlog up for this process; everything is written to stderr."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _redactor,
    ]
    if is_console(settings):
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=_colours(), pad_event_to=0),
        ]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _common_keys_first,
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _common_keys_first(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {key: event.pop(key) for key in ("timestamp", "level", "event")} | dict(event)


def _colours() -> bool:
    import os  # noqa: PLC0415 - only a person's terminal needs it

    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
