"""A table as values: rows, columns and cells with their marks; it knows neither records nor any output
format."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.records import Interval

__all__ = ["Column", "Row", "Table", "TableCell", "column_counts"]


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


def column_counts(table: Table) -> list[int | None]:
    """Return, per column, the number of pairs if all rows share it, otherwise None: then each cell must say
    it."""
    counts = [{row.cells[i].n for row in table.rows} for i in range(len(table.columns))]
    return [found.pop() if len(found) == 1 else None for found in counts]
