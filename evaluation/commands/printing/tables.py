"""Tables on the terminal, of text and of scores."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from evaluation.report.tables.model import Row, Table, TableCell, blocks, shared_counts

__all__ = ["print_rows", "print_table"]

_WIDE = 220


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
        _add_block(drawn, rows, table.unit, named=bool(table.block_header))
    console = _console()
    console.print(drawn, markup=False, highlight=False)
    for note in table.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _add_block(drawn: RichTable, rows: Sequence[Row], unit: str, *, named: bool) -> None:
    counts = shared_counts(rows)
    block = [rows[0].block] if named else []
    drawn.add_row(*block, unit, *("" if n is None else str(n) for n in counts))
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
