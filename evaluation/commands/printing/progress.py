"""How far a command is, on standard error: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ravel.common.progress import Progress as Report

__all__ = ["shown_progress"]

_SECONDS_BETWEEN_LINES = 15.0


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


def _is_detail(stage: str) -> bool:
    """Tell whether a stage is a part of another one: such a stage names its cell."""
    return " " in stage and stage.split(" ", 1)[0] in ("fit", "judge")


def _is_finished(stage: str) -> bool:
    """Tell whether a report says that a cell was just finished: each gets a line of its own."""
    return stage.startswith("finished ")


def _note_in(stage: str) -> str | None:
    """Return the line that a report brings for the user, if it brings one."""
    return stage.removeprefix("note ") if stage.startswith("note ") else None


class _Cells:
    """Counts the cells that this process finished, for an estimate that knows nothing of earlier ones."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._finished = 0

    def line(self, stage: str, done: int, total: int) -> str:
        """Return the line of a finished cell, with what is left at the pace since the first one."""
        now = time.monotonic()
        left = ""
        if self._began is None:
            self._began = now
        else:
            self._finished += 1
            pace = (now - self._began) / self._finished
            left = f", about {pace * (total - done) / 60:.0f} min left" if done < total else ""
        return f"[{done}/{total}] {stage.removeprefix('finished ')}{left}"


class _Bars:
    """A bar per stage; the fits and judgements inside cells share one bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._detail = ""
        self._cells = _Cells()

    def report(self, stage: str, done: int, total: int) -> None:
        note = _note_in(stage)
        if note is not None:
            self._progress.console.print(note, markup=False, highlight=False)
            return
        if _is_finished(stage):
            self._progress.console.print(self._cells.line(stage, done, total), markup=False, highlight=False)
            return
        key = "detail" if _is_detail(stage) else stage
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(stage, total=total)
        if key == "detail" and stage != self._detail:
            self._detail = stage
            self._progress.reset(self._bars[key], description=stage, total=total)
        self._progress.update(self._bars[key], completed=done, total=total)


class _Lines:
    """A line of text at most every few seconds."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._spoken = time.monotonic()
        self._cells = _Cells()

    def report(self, stage: str, done: int, total: int) -> None:
        note = _note_in(stage)
        if note is not None:
            typer.echo(note, err=True)
            return
        if _is_finished(stage):
            typer.echo(self._cells.line(stage, done, total), err=True)
            return
        now = time.monotonic()
        began = self._started.setdefault(stage, now)
        if now - self._spoken < _SECONDS_BETWEEN_LINES:
            return
        self._spoken = now
        left = f", about {(now - began) / done * (total - done):.0f} s left" if done else ""
        typer.echo(f"{stage}: {done} of {total}{left}", err=True)
