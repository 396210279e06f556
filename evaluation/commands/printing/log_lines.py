"""How far a command is, as lines of a log: one now and then, and one every 30 seconds at least."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread

import typer

from ravel.common.progress import Counted, Event, Finished, Note

_SECONDS_BETWEEN_LINES = 15.0
_SECONDS_BETWEEN_BEATS = 5.0
_SILENT_BEATS = 5
"""After so many without a line one is written, lest a log look like that of a process which hangs."""


class CellPace:
    """Counts the cells that this process finished, for an estimate that knows nothing of earlier ones."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._finished = 0

    def line(self, event: Finished) -> str:
        """Return the line of a finished cell, with what is left at the pace since the first one."""
        now = time.monotonic()
        left = ""
        if self._began is None:
            self._began = now
        else:
            self._finished += 1
            pace = (now - self._began) / self._finished
            rest = event.total - event.done
            left = f", about {pace * rest / 60:.0f} min left" if rest > 0 else ""
        return f"[{event.done}/{event.total}] {event.what} in {event.seconds:.1f} s{left}"


class LogLines:
    """A line of text at most every few seconds, and at least after some beats."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._counted: dict[str, int] = {}
        self._spoken = time.monotonic()
        self._cells = CellPace()
        self._last = ""
        self._silent = 0

    def report(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Counted):
            self._last = f"{event.stage}: {event.done} of {event.total}, "
            self._count(event)
        else:
            self._say(event.text if isinstance(event, Note) else self._cells.line(event))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat while the block runs, in a thread of its own: a pass of a large model takes its time."""
        ended = Flag()

        def beat() -> None:
            while not ended.wait(_SECONDS_BETWEEN_BEATS):
                self.beat()

        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def beat(self) -> None:
        """Write a line if there was none for some beats."""
        self._silent += 1
        if self._silent >= _SILENT_BEATS:
            self._say(f"{self._last}still at it")

    def _say(self, line: str) -> None:
        self._silent = 0
        typer.echo(line, err=True)

    def _count(self, event: Counted) -> None:
        now = time.monotonic()
        if event.done < self._counted.get(event.stage, event.done):
            # The same stage again, such as a cell's judging on its next split.
            del self._started[event.stage]
        self._counted[event.stage] = event.done
        began = self._started.setdefault(event.stage, now)
        if now - self._spoken < _SECONDS_BETWEEN_LINES:
            return
        self._spoken = now
        rest = event.total - event.done
        left = f", about {(now - began) / event.done * rest:.0f} s left" if event.done else ""
        self._say(f"{event.stage}: {event.done} of {event.total}{left}")
