"""The log on stderr: JSON for programs, readable lines for a terminal, no passwords in either.

`docs/logging.md` lists the events and their keys.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import TYPE_CHECKING, TextIO, cast

from migrator.process import lazy
from migrator.process.terminal import Terminal, cells, columns, has_colours, visible

if TYPE_CHECKING:
    from migrator.process.settings import LogSettings

# structlog imports asyncio for methods that are never called here, and asyncio imports ssl and
# subprocess. These imports are half of the time that structlog takes, and a fifth of the time of a
# run with nothing to do. The others are for tracebacks and for copies of dataclasses.
with lazy.without("asyncio", "copy", "textwrap", "tokenize", "uuid"):
    from dataclasses import asdict, is_dataclass

    import structlog

# For a module that is imported before this one: importing structlog itself would bring asyncio.
get_logger = structlog.get_logger

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_REDACTED = "[password]"
_LONGEST_END = 2.0  # seconds at the end of the process until the log is written
# Events about changes to a database. If they were logged about a scratch database, a reader would
# think that the target database was changed.
_DEEDS = frozenset(
    {
        "applied",
        "connected",
        "locks were held long",
        "server notice",
        "statement done",
        "up to date",
    }
)


class _Redactor:
    """Replaces every known password by a placeholder, wherever the password is in a log line."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()

    def __call__(
        self, _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        # The event and the level are words of this package, so they contain no password. They are
        # left alone, because a password such as "app" can be a part of such a word.
        return {
            key: value if key in ("event", "level") else self.clean(value)
            for key, value in event.items()
        }

    def clean(self, value: object) -> object:
        if isinstance(value, str):
            # The longest first, because one password can be the beginning of another one.
            longest_first = sorted(self.secrets, key=len, reverse=True)
            pattern = "|".join(map(re.escape, longest_first))
            return re.sub(pattern, _REDACTED, value) if pattern else value
        if isinstance(value, list | tuple):
            return [self.clean(item) for item in value]
        if isinstance(value, dict):
            return {key: self.clean(item) for key, item in value.items()}
        return value


_redactor = _Redactor()
_terminal = Terminal()


def say(text: str) -> None:
    """Write a text for a person to stderr, as it is."""
    _terminal.write(text)


def finish() -> None:
    """Wait until everything logged is written, though not long for a reader that does not read."""
    _terminal.writer.finish(_LONGEST_END)


def hide(secret: str | None) -> None:
    """Replace a password in everything that is logged, or passed to `redact`, from now on."""
    if secret:
        _redactor.secrets.add(secret)


def redact(text: str) -> str:
    """Return the text with every hidden password replaced."""
    return str(_redactor.clean(text))


def redacted(data: dict[str, object]) -> dict[str, object]:
    """Return the data with every hidden password replaced in its texts."""
    return cast("dict[str, object]", _redactor.clean(data))


def is_console(settings: LogSettings) -> bool:
    """Return whether the log is written for a person: by the settings, or to a terminal."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


def is_live() -> bool:
    """Return whether a person sees the log at once, and a line can replace the one before."""
    return _terminal.live


def show_live(text: str) -> None:
    """Show one line at the end of the terminal, until the next line replaces it.

    Args:
        text: the line, which is cut to the terminal's width; an empty text removes the line.
    """
    if text:
        text, width = visible(redact(text)), columns() - 1
        if cells(text) > width:
            # A line that is wider than the terminal takes two rows, and only one can be erased.
            text = text[:width]
            while cells(text) > width - 1:
                text = text[:-1]
            text += "…"
    _terminal.show(text)


def configure_log(settings: LogSettings) -> None:
    """Set structlog up for this process. Every log line is written to stderr."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _quiet_in_scratch(debug=settings.level == "debug"),
    ]
    _terminal.live = (
        is_console(settings) and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    )
    if is_console(settings):
        processors += [
            _in_words,
            _redactor,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=has_colours(), pad_event_to=0, sort_keys=False),
        ]
    else:
        processors += [
            _as_data,
            _redactor,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _common_keys_first,
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _terminal)),
        cache_logger_on_first_use=True,
    )
    _terminal.writer.about_dropped = _about_dropped


def _about_dropped(count: int) -> str:
    """Return the line of the log that says how many lines before it were dropped."""
    line = io.StringIO()
    logger = structlog.wrap_logger(structlog.WriteLogger(line))
    logger.warning("log lines dropped", lines=count)
    return line.getvalue()


def _quiet_in_scratch(*, debug: bool) -> structlog.typing.Processor:
    """Return a processor that gives events about a scratch database the level debug.

    Args:
        debug: whether lines of the level debug are shown.
    """

    def process(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if "scratch" in event and event["event"] in _DEEDS:
            if not debug:
                raise structlog.DropEvent
            event["level"] = "debug"
        return event

    return process


def _in_words(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Leave out empty lists, and join the items of all others with semicolons."""
    return {
        key: "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
        for key, value in event.items()
        if value not in ([], ())
    }


def _as_data(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Turn dataclasses into mappings, which the JSON renderer can write."""
    return {key: _data(value) for key, value in event.items()}


def _data(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _common_keys_first(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {key: event.pop(key) for key in ("timestamp", "level", "event")} | dict(event)
