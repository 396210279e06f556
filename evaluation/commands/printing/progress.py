"""How far a command is, on standard error: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ravel.common.progress import Counted, Event, Finished, Note
from ravel.common.progress import Progress as Report

__all__ = ["shown_progress"]

_SECONDS_BETWEEN_LINES = 15.0
_PART = " "
"""Names the bar of parts; no stage is called so."""


@contextmanager
def shown_progress() -> Iterator[Report]:
    """Show progress on standard error: bars with an estimate on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines().report
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress).report


class _Cells:
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


class _Bars:
    """A bar per stage; the parts of other stages share one bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._part = ""
        self._cells = _Cells()

    def report(self, event: Event) -> None:
        if isinstance(event, Counted):
            self._count(event)
        else:
            line = event.text if isinstance(event, Note) else self._cells.line(event)
            self._progress.console.print(line, markup=False, highlight=False)

    def _count(self, event: Counted) -> None:
        key = _PART if event.part else event.stage
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(event.stage, total=event.total)
        if event.part and event.stage != self._part:
            self._part = event.stage
            self._progress.reset(self._bars[key], description=event.stage, total=event.total)
        self._progress.update(self._bars[key], completed=event.done, total=event.total)


class _Lines:
    """A line of text at most every few seconds."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._spoken = time.monotonic()
        self._cells = _Cells()

    def report(self, event: Event) -> None:
        if isinstance(event, Counted):
            self._count(event)
        else:
            typer.echo(event.text if isinstance(event, Note) else self._cells.line(event), err=True)

    def _count(self, event: Counted) -> None:
        now = time.monotonic()
        began = self._started.setdefault(event.stage, now)
        if now - self._spoken < _SECONDS_BETWEEN_LINES:
            return
        self._spoken = now
        rest = event.total - event.done
        left = f", about {(now - began) / event.done * rest:.0f} s left" if event.done else ""
        typer.echo(f"{event.stage}: {event.done} of {event.total}{left}", err=True)
