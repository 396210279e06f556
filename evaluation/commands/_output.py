"""How commands write: results on standard output, all else on standard error; it knows no command."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from evaluation.report.tables.model import Row, Table, TableCell, blocks, shared_counts
from ravel.common.progress import Progress as Report

__all__ = [
    "Interrupted",
    "keeping",
    "print_json",
    "print_json_lines",
    "print_rows",
    "print_table",
    "say",
    "shown_progress",
    "warn",
]

_WIDE = 220
_SECONDS_BETWEEN_LINES = 15.0


class Interrupted(Exception):  # noqa: N818 - like KeyboardInterrupt, it is no error
    """The user pressed Ctrl-C in a command that can say what is kept."""

    def __init__(self, kept: str) -> None:
        super().__init__(f"Interrupted. {kept}")


@contextmanager
def keeping(kept: str) -> Iterator[None]:
    """Say, if the block is interrupted, what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(kept) from None


def say(text: str) -> None:
    """Print a line of the summary."""
    typer.echo(text)


def warn(text: str) -> None:
    """Print a paragraph to standard error; line ends inside it become blanks."""
    typer.echo(" ".join(text.splitlines()), err=True)


def print_json(value: Any) -> None:
    """Print one JSON value. NaN is refused."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2))


def print_json_lines(rows: Sequence[dict[str, Any]]) -> None:
    """Print one JSON object per line. NaN is refused."""
    for row in rows:
        typer.echo(json.dumps(row, ensure_ascii=False, allow_nan=False))


def print_rows(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a plain table of text."""
    table = RichTable(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    _console().print(table, markup=False, highlight=False)


def print_table(table: Table) -> None:
    """Print a table of scores for the terminal: a line of values and a line of intervals per row."""
    drawn = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ([table.block_header] if table.block_header else []) + ["method"]:
        drawn.add_column(header)
    for column in table.columns:
        drawn.add_column(f"{column.group}\n{column.name}", justify="right")
    for rows in blocks(table):
        _add_block(drawn, rows, named=bool(table.block_header))
    console = _console()
    console.print(drawn, markup=False, highlight=False)
    for note in table.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _add_block(drawn: RichTable, rows: Sequence[Row], *, named: bool) -> None:
    counts = shared_counts(rows)
    block = [rows[0].block] if named else []
    drawn.add_row(*block, "pairs", *("" if n is None else str(n) for n in counts))
    for index, row in enumerate(rows):
        # A rule stands where the floors begin, and at the end of the block.
        last = index + 1 == len(rows) or rows[index + 1].floor != row.floor
        cells = [_cell_text(cell, shown=n) for cell, n in zip(row.cells, counts, strict=True)]
        drawn.add_row(*([""] if named else []), row.label, *cells, end_section=last)


def _cell_text(cell: TableCell, *, shown: int | None) -> str:
    if cell.value is None:
        return "-"
    own_count = "" if cell.n == shown else f"\nn={cell.n}"
    marks = ("*" if cell.best else "") + cell.marks
    interval = "" if cell.interval is None else f"\n{cell.interval[0]:.3f}-{cell.interval[1]:.3f}"
    return f"{marks}{cell.value:.3f}{interval}{own_count}"


def _console() -> Console:
    # Into a file or a pipe nothing must be cut to the width of a terminal that is not there.
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE)


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
