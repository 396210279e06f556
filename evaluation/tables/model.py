"""A table as values: rows, columns and cells with their marks; it knows neither records nor any output
format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from evaluation.records import Interval

__all__ = ["Column", "Row", "Table", "TableCell", "blocks", "shared_counts"]


@dataclass(frozen=True, slots=True)
class TableCell:
    """One number with what is known of it."""

    value: float | None
    """Unrounded; None where there are no pairs."""
    interval: Interval | None
    """95 % interval, or None."""
    n: int
    """Number of pairs behind the value."""
    best: bool = False
    """The highest of its column among rows that are no floors."""
    below_no_op: bool = False
    """Lower than what doing nothing scores."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers."""

    group: str
    """What several columns have in common: the generalisation."""
    name: str
    """Which score."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of numbers."""

    block: str
    """What several rows have in common, such as the target attribute; empty if the table has no blocks."""
    label: str
    """The method."""
    detail: str
    """Site and size that were chosen; may be empty."""
    floor: bool
    """True for methods that learn nothing of the attribute."""
    cells: tuple[TableCell, ...]
    """One per column."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready for any renderer."""

    name: str
    """Stem of its files and of its LaTeX label."""
    title: str
    """What the table shows, as a sentence without a full stop."""
    block_header: str
    """Header of the blocks; empty if there are none."""
    columns: tuple[Column, ...]
    """The columns of numbers."""
    rows: tuple[Row, ...]
    """The rows, blocks together."""
    notes: tuple[str, ...]
    """What a reader must know beside the numbers, as sentences."""


def blocks(table: Table) -> list[list[Row]]:
    """Return the rows of each block, in order; a table without blocks is one block."""
    return [list(rows) for _, rows in groupby(table.rows, key=lambda row: row.block)]


def shared_counts(rows: Sequence[Row]) -> list[int | None]:
    """Return, per column, the number of pairs if all rows share it, otherwise None: then each cell must say
    it."""
    counts = [{cell.n for cell in cells} for cells in zip(*(row.cells for row in rows), strict=True)]
    return [found.pop() if len(found) == 1 else None for found in counts]
