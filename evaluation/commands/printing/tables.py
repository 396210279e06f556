"""Tables of scores on the terminal: no number and no name is ever cut; it knows no records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table as RichTable

from evaluation.commands.printing.text import empty_table, print_notes, terminal, width_of
from evaluation.report.tables.model import BEST, Row, Table, TableCell, blocks, shared_counts


def print_table(table: Table) -> None:
    """Print a table of scores: a line of values and a line of intervals per row, then what its signs mean.

    Columns that don't fit beside one another follow as further tables, a generalisation or more in each.
    """
    console = terminal()
    console.print(table.title, style="italic", markup=False, highlight=False)
    for columns in _parts(table, console):
        drawn = _drawn(table, columns)
        # A name that is longer than a line is better wrapped by the terminal than cut.
        terminal(at_least=width_of(drawn, console)).print(drawn, markup=False, highlight=False)
    print_notes([*_legend(table), *table.notes])


def _parts(table: Table, console: Console) -> list[list[int]]:
    """Return the columns of each table that is drawn: groups together as long as they fit, and a group that
    does not fit by itself in pieces."""

    def fits(columns: list[int]) -> bool:
        return width_of(_drawn(table, columns), console) <= console.width

    pieces: list[list[int]] = []
    for _, members in groupby(range(len(table.columns)), key=lambda at: table.columns[at].group):
        group = list(members)
        pieces += [group] if fits(group) else [[at] for at in group]
    parts: list[list[int]] = []
    for piece in pieces:
        if parts and fits(parts[-1] + piece):
            parts[-1] += piece
        else:
            parts.append(list(piece))
    return parts


def _drawn(table: Table, columns: Sequence[int]) -> RichTable:
    drawn = empty_table()
    drawn.add_column("method")
    for at in columns:
        drawn.add_column(f"{table.columns[at].group}\n{table.columns[at].name}", justify="right")
    for rows in blocks(table):
        _add_block(drawn, rows, table.unit, columns)
    return drawn


def _add_block(drawn: RichTable, rows: Sequence[Row], unit: str, columns: Sequence[int]) -> None:
    counts = shared_counts(rows)
    name = f"{rows[0].block} ({unit})" if rows[0].block else unit
    drawn.add_row(name, *("" if counts[at] is None else str(counts[at]) for at in columns))
    for index, row in enumerate(rows):
        # A rule stands where the floors begin, and at the end of the block.
        last = index + 1 == len(rows) or rows[index + 1].floor != row.floor
        cells = [_cell_text(row.cells[at], shown=counts[at]) for at in columns]
        drawn.add_row(row.label, *cells, end_section=last)


def _cell_text(cell: TableCell, *, shown: int | None) -> str:
    if cell.value is None:
        return "-"
    own_count = "" if cell.n == shown else f"\nn={cell.n}"
    marks = (BEST if cell.best else "") + cell.marks
    interval = "" if cell.interval is None else f"\n[{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]"
    return f"{marks}{cell.value:.3f}{interval}{own_count}"


def _legend(table: Table) -> list[str]:
    """Say what only the terminal writes with a sign."""
    cells = [cell for row in table.rows for cell in row.cells]
    said = [f"{BEST}: the best of its column."] if any(cell.best for cell in cells) else []
    return said + (["-: no score."] if any(cell.value is None for cell in cells) else [])
