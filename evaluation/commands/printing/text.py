"""Lines and plain tables of text on the terminal, as wide as it is; no word of them is ever cut."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable

_WIDE = 220
"""Where there is no terminal nothing has to fit into one."""
_INDENT = "  "


def print_rows(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a plain table of text. Where its words don't fit beside one another, each row is a paragraph."""
    console = terminal()
    texts = [[str(value) for value in row] for row in rows]
    drawn = empty_table()
    for header in headers:
        drawn.add_column(header)
    for row in texts:
        drawn.add_row(*row)
    widths = _column_widths(drawn, [headers, *texts], console)
    if widths is None:
        _print_stacked(console, headers, texts)
        return
    for column, width in zip(drawn.columns, widths, strict=True):
        column.width = width
    console.print(drawn, markup=False, highlight=False)


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences below a table, wrapped at words on a terminal."""
    console = terminal()
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def as_number(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """Return a number with its interval, if it has one, to three places; a dash where there is no number."""
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def empty_table() -> RichTable:
    """Return a table without columns or rows, drawn as all are."""
    return RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def width_of(drawn: RichTable, console: Console) -> int:
    """Return what a table takes with nothing wrapped."""
    return console.measure(drawn, options=console.options.update_width(10 * _WIDE)).maximum


def terminal(*, at_least: int = 0) -> Console:
    """Return standard output as rich writes to it, with this width or more."""
    # Into a file or a pipe nothing must be cut to the width of a terminal that is not there.
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(file=sys.stdout, width=None if known else _WIDE)
    console.width = max(console.width, at_least)
    return console


def _column_widths(
    drawn: RichTable, texts: Sequence[Sequence[str]], console: Console
) -> tuple[int, ...] | None:
    """Return the columns' widths: what they need or, in the widest, less, down to its longest word; None if
    that is too much for a line."""
    columns = list(zip(*texts, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    least = [
        max((cell_len(word) for text in column for word in text.split()), default=0) for column in columns
    ]
    over = width_of(drawn, console) - console.width
    while over > 0:
        at = max(range(len(widths)), key=lambda place: widths[place] if widths[place] > least[place] else 0)
        if widths[at] <= least[at]:
            return None
        widths[at] -= 1
        over -= 1
    return tuple(widths)


def _print_stacked(console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        console.print(row[0], markup=False, highlight=False)
        for header, text in zip(headers[1:], row[1:], strict=True):
            console.print(f"{_INDENT}{header}: {text}", markup=False, highlight=False)
