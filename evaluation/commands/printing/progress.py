"""How far a command is, on standard error: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from evaluation.commands.printing.log_lines import CellPace, LogLines
from evaluation.commands.printing.loudness import is_quiet, is_verbose
from ravel.common.progress import Counted, Event, Note, silent
from ravel.common.progress import Progress as Report

_PART = " "
"""Names the bar of parts; no stage is called so."""


@contextmanager
def shown_progress() -> Iterator[Report]:
    """Show progress on standard error: bars with an estimate on a terminal; elsewhere now and then a line,
    and at least one every 30 seconds, whatever the command is at. With -q nothing, with -v lines always."""
    if is_quiet():
        yield silent
        return
    if is_verbose() or not sys.stderr.isatty():
        lines = LogLines()
        with lines.beating():
            yield lines.report
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress).report


class _Bars:
    """A bar per stage; the parts of other stages share one bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._part = ""
        self._cells = CellPace()

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
