"""The log on stderr: JSON for programs, readable lines for a terminal, no passwords in either.

`docs/logging.md` lists the events and their keys.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO, cast

from migrator.process import lazy
from migrator.process.redaction import Redactor
from migrator.process.terminal import (
    Terminal,
    cells,
    columns,
    has_colours,
    json_text,
    lines,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migrator.process.settings import LogSettings

# structlog imports asyncio for methods that are never called here, and asyncio imports ssl and
# subprocess. These imports are half of the time that structlog takes, and a fifth of the time of a
# run with nothing to do. The others are for tracebacks, for copies of dataclasses, and for the
# docstrings of dataclasses that have none.
with lazy.without("asyncio", "copy", "inspect", "textwrap", "tokenize", "uuid"):
    from dataclasses import asdict, is_dataclass

    import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST_END = 2.0  # seconds at the end of the process until the log is written
# Events about changes to a database. If they were logged about a scratch database, a reader would
# think that the target database was changed.
_DEEDS = frozenset(
    {
        "applied",
        "connected",
        "locks were held long",
        "row security applies",
        "server notice",
        "statement done",
        "up to date",
    }
)


# The keys whose text is the server's, and has not been redacted where it came from.
_OF_OTHERS = {"server notice": ("message",)}

# Events that say of one target among many what the table at the terminal shows, too.
_SHOWN = frozenset({"applied", "connected", "up to date"})

_redactor = Redactor()
_terminal = Terminal()
_row: ContextVar[Callable[[str], None] | None] = ContextVar("row", default=None)


class _Logger:
    """Logs to where the process wants the log at that moment: see `get_logger`."""

    __slots__ = ()

    def __getattr__(self, level: str) -> Any:  # noqa: ANN401 - a method of a logger
        log = structlog.get_logger("migrator") if structlog.is_configured() else _standard_logger()
        return getattr(log, level)


def get_logger() -> Any:  # noqa: ANN401 - as structlog.get_logger
    """Return the logger of this package, to which every module logs its events.

    The command line configures structlog with `configure_log`. In an application, which imports
    `migrator.testing`, an event goes to structlog if the application has configured structlog;
    otherwise it goes to the logger `migrator` of the standard library, which is silent until the
    application configures logging. structlog without a configuration would print to stdout.
    """
    return _Logger()


def _standard_logger() -> Any:  # noqa: ANN401 - as structlog.get_logger
    """Return a logger that hands each event as one line to the standard library."""
    import logging  # noqa: PLC0415 - the command line does without

    logger = logging.getLogger("migrator")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # otherwise warnings would go to stderr
    return structlog.wrap_logger(
        logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _quiet(debug=logger.isEnabledFor(logging.DEBUG)),
            _in_words,
            _without_passwords,
            _in_one_line,
        ],
    )


def say(text: str) -> None:
    """Write a text for a person to stderr; what others wrote in it is harmless already."""
    _terminal.write(text)


def finish() -> None:
    """Wait until everything logged is written, though not long for a reader that does not read."""
    _terminal.writer.finish(_LONGEST_END)


def hide(secret: str | None, *, is_name: bool = False) -> None:
    """Hide a password in everything that is written from now on, as `redaction` says.

    Args:
        secret: the password; may be missing or empty.
        is_name: whether it is also the name of the login, the database or the host.
    """
    if secret:
        _redactor.hide(secret, is_name=is_name)


def redact(text: str) -> str:
    """Return a text of others with every hidden password replaced.

    Such texts are the messages of the server and of libpq, statements, and queries of other
    sessions. A text has to be redacted before it is cut or put into a sentence of ours.
    """
    return _redactor.of_others(text)


def redact_at(text: str, offset: int) -> tuple[str, int]:
    """Return a text as `redact` does, and where the character of an offset is then."""
    return _redactor.of_others_at(text, offset)


def redact_definition(text: str) -> str:
    """Return the SQL that defines an object with its passwords replaced; its names stay."""
    return _redactor.definition(text)


def redact_answer(text: str) -> str:
    """Return a text of ours, with names and redacted words of others in it, without passwords.

    Nothing but a password is replaced: file names and our own words stay.
    """
    return _redactor.ours(text)


def redacted(data: object) -> Any:  # noqa: ANN401 - as the data
    """Return data with `redact_answer` applied to its texts."""
    if isinstance(data, str):
        return redact_answer(data)
    if isinstance(data, list | tuple):
        return [redacted(item) for item in data]
    if isinstance(data, dict):
        return {key: redacted(item) for key, item in data.items()}
    return data


def is_console(settings: LogSettings) -> bool:
    """Return whether the log is written for a person: by the settings, or to a terminal."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


def is_for_people() -> bool:
    """Return whether the log of this process is written for a person."""
    return _terminal.for_people


def is_live() -> bool:
    """Return whether a person sees the log at once, and a line can replace the one before."""
    return _terminal.live


def show_live(text: str) -> None:
    """Show one line at the end of the terminal, until the next line replaces it.

    Args:
        text: the line, which is cut to the terminal's width; an empty text removes the line.
    """
    if (row := _row.get()) is not None:
        row(text)
    else:
        _terminal.show(_cut(text))


@contextmanager
def live_row(row: Callable[[str], None]) -> Iterator[None]:
    """In the block, hand what `show_live` would show to a table of several lines.

    Args:
        row: is called with the line.
    """
    token = _row.set(row)
    try:
        yield
    finally:
        _row.reset(token)


def show_table(table: list[str]) -> None:
    """Show lines at the end of the terminal, until the next ones replace them.

    Args:
        table: the lines, each of which is cut to the terminal's width; none removes them.
    """
    _terminal.show("\n".join(map(_cut, table)))


def _cut(text: str) -> str:
    """Return a line that is harmless and no wider than the terminal."""
    text, width = visible(redact_answer(text)), columns() - 1
    if cells(text) <= width:
        return text
    # A line that is wider than the terminal takes two rows, and only one can be erased.
    text = text[:width]
    while cells(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def configure_log(settings: LogSettings) -> None:
    """Set structlog up for this process. Every log line is written to stderr."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _quiet(debug=settings.level == "debug"),
    ]
    _terminal.live = (
        is_console(settings) and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    )
    _terminal.for_people = is_console(settings)
    if is_console(settings):
        processors += [
            _in_words,
            _without_passwords,
            _harmless,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _ConsoleRenderer(colors=has_colours(), pad_event_to=0, sort_keys=False),
        ]
    else:
        processors += [
            _as_data,
            _without_passwords,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _common_keys_first,
            _JSONRenderer(default=str, ensure_ascii=False),
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


def _quiet(*, debug: bool) -> structlog.typing.Processor:
    """Return a processor that gives events the level debug that would tell too much.

    These are the deeds in a scratch database, and of one target among many that it was connected
    to; at a terminal, also what the table of the targets shows.

    Args:
        debug: whether lines of the level debug are shown.
    """

    def process(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        name = event["event"]
        of_many = "target" in event and name in (_SHOWN if _terminal.live else {"connected"})
        if of_many or ("scratch" in event and name in _DEEDS):
            if not debug:
                raise structlog.DropEvent
            event["level"] = "debug"
        return event

    return process


def _without_passwords(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace the passwords in all values, except in the words that are always our own."""
    of_others = _OF_OTHERS.get(event["event"], ())
    return {
        key: value
        if key in ("event", "level")
        else redact(value)
        if key in of_others
        else redacted(value)
        for key, value in event.items()
    }


def _harmless(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Make the values harmless for a terminal; the renderer shows a line break as an escape."""
    return {
        key: value if value is None or isinstance(value, int | float) else lines(str(value))
        for key, value in event.items()
    }


def _in_one_line(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> tuple[tuple[str, str], dict[str, object]]:
    """Return the arguments of a method of the standard library's logger."""
    name = event.pop("event")
    return ("%s", " ".join([name, *(f"{key}={value!r}" for key, value in event.items())])), {}


class _ConsoleRenderer(structlog.dev.ConsoleRenderer):
    """Writes the commands of the key `steps` below the line, so that they can be copied."""

    def __call__(self, logger: object, method: str, event: structlog.typing.EventDict) -> str:
        steps = event.pop("steps", "")
        line = super().__call__(logger, method, event)
        return "\n    ".join([line, *steps.splitlines()])


class _JSONRenderer(structlog.processors.JSONRenderer):
    """Writes lines that are harmless for a terminal, and for a program that looks for commands."""

    def __call__(
        self, logger: object, method: str, event: structlog.typing.EventDict
    ) -> str | bytes:
        return json_text(str(super().__call__(logger, method, event)))


def _in_words(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Leave out empty lists, and join the items of all others with semicolons, or as lines."""
    return {
        key: ("\n" if key == "steps" else "; ").join(map(str, value))
        if isinstance(value, list | tuple)
        else value
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
