"""Writes to stderr in a thread of its own, so that whoever logs never waits for a slow reader.

A pipe that nobody reads is full after some lines, and a write to a full pipe waits for ever. A
migrator that waits so holds its locks for as long. The pipe is not made non-blocking instead: other
processes may share it, and their writes would fail.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1_000_000  # bytes that wait for the reader; after that the oldest lines are dropped
_WHOLE = 4096  # bytes; other writers to a pipe do not come between them (pipe(7), PIPE_BUF)
# When so many bytes wait although the reader reads, the thread does not get to run often enough.
_BACKLOG = 64_000
_PAUSE = 0.0005  # seconds
_AGAIN = 0.05  # seconds, when others have made stderr non-blocking and it is full


class _Piece(NamedTuple):
    """A text that waits to be written.

    Attributes:
        data: the text, encoded.
        passing: whether the next text of this kind takes its place.
    """

    data: bytes
    passing: bool


class Writer:
    """Writes texts to stderr, in their order.

    An error while writing is ignored, because a log that cannot be written, for example to a full
    disk, is no reason to stop between two migrations.

    Attributes:
        about_dropped: returns the text that tells how many texts were dropped.
    """

    def __init__(self) -> None:
        self.about_dropped: Callable[[int], str] = lambda _: ""
        self._changed = threading.Condition()
        self._waiting: deque[_Piece] = deque()
        self._size = 0  # bytes that wait
        self._dropped = 0  # texts, since that was last told
        self._busy = False  # whether the thread is writing
        self._progress = 0  # how often the thread has written
        self._seen = 0  # the same, when a caller last made way for the thread
        self._thread: threading.Thread | None = None

    def put(self, text: str, *, passing: bool = False) -> None:
        """Have a text written, and do not wait until it is.

        A stream without a descriptor, which only tests have, is written to at once.

        Args:
            text: the text.
            passing: whether it is out of date when the next text of this kind comes.
        """
        try:
            sys.stderr.fileno()
        except (OSError, ValueError):
            with self._changed, suppress(OSError, ValueError):
                sys.stderr.write(text)
                sys.stderr.flush()
            return
        piece = _Piece(text.encode(sys.stderr.encoding, "backslashreplace"), passing)
        with self._changed:
            self._append(piece)
            self._changed.notify_all()
            make_way = self._size > _BACKLOG and self._progress != self._seen
            self._seen = self._progress
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, daemon=True)
                self._thread.start()
        if make_way:  # the interpreter runs one thread at a time
            time.sleep(_PAUSE)

    def finish(self, seconds: float) -> None:
        """Wait until everything is written, though no longer than some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._busy), seconds)

    def _append(self, piece: _Piece) -> None:
        if piece.passing and self._waiting and self._waiting[-1].passing:
            self._size -= len(self._waiting.pop().data)
        self._waiting.append(piece)
        self._size += len(piece.data)
        # The newest are kept, because the last line says why a run has failed.
        while self._size > _MOST and len(self._waiting) > 1:
            self._size -= len(self._waiting.popleft().data)
            self._dropped += 1

    def _take(self) -> bytes:
        """Take what is to be written next: whole texts, as many as a pipe takes in one piece."""
        taken = [self._waiting.popleft().data]
        size = len(taken[0])
        while self._waiting and size + len(self._waiting[0].data) <= _WHOLE:
            taken.append(self._waiting.popleft().data)
            size += len(taken[-1])
        self._size -= size
        return b"".join(taken)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                dropped, self._dropped = self._dropped, 0
                data = self._take()
                self._busy = True
            if dropped:
                _write(self.about_dropped(dropped).encode())
            _write(data)
            with self._changed:
                self._busy = False
                self._progress += 1
                self._changed.notify_all()


def _write(data: bytes) -> None:
    """Write to stderr, and wait for its reader."""
    with suppress(OSError, ValueError):
        while data:
            try:
                data = data[os.write(sys.stderr.fileno(), data) :]
            except BlockingIOError:
                time.sleep(_AGAIN)
