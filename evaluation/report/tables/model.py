"""A table as values: rows, columns and cells with their marks; it knows neither records nor any output
format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from evaluation.records.scores import Interval, is_control

BEST, BELOW, TIED, DIFFERS, FEWER = "*", "†", "=", "‡", "§"
"""Marks: the best of its column, where nothing can be bold; beyond what doing nothing scores; not different
from the best; different from the baseline; a mean over fewer parts."""

Relation = Literal["best", "tied", "differs"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a row compares with another one, by a paired test of the criterion."""

    relation: Relation
    """`best`: it is the other row; `tied`: no difference was found; `differs`: one was."""
    p: float | None = None
    """Two-sided p-value, adjusted for all comparisons of the split; None for the row itself and in older
    runs."""
    other: str = ""
    """The other row's method; empty for the row itself."""
    difference: float = 0.0
    """The row minus the other one, on the same pairs."""
    interval: Interval | None = None
    """95 % interval of the difference; None for the row itself."""

    @property
    def differs(self) -> bool:
        """Tell whether the two rows differ."""
        return self.relation == "differs"


@dataclass(frozen=True, slots=True)
class TableCell:
    """One number with what is known of it; empty without arguments."""

    value: float | None = None
    """Unrounded; None where there are no pairs."""
    interval: Interval | None = None
    """95 % interval, or None."""
    n: int = 0
    """Number of pairs behind the value."""
    best: bool = False
    """The highest of its column among rows that are no floors and lack no part."""
    below_no_op: bool = False
    """Its number is worse than what doing nothing scores; `vs_no_op` says whether that is shown."""
    fewer: bool = False
    """A mean over fewer parts than other rows have, so that it can't be the best."""
    vs_best: Comparison | None = None
    """Against the best of its column; None where that was not tested."""
    vs_no_op: Comparison | None = None
    """Against the track's baseline, of interchange `no_op`; None where that was not tested."""

    @property
    def marks(self) -> str:
        """The signs that follow the number, each explained in the table's notes."""
        tied = self.vs_best is not None and self.vs_best.relation == "tied"
        differs = self.vs_no_op is not None and self.vs_no_op.relation == "differs"
        shown = ((self.below_no_op, BELOW), (tied, TIED), (differs, DIFFERS), (self.fewer, FEWER))
        return "".join(mark for wanted, mark in shown if wanted)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers."""

    group: str
    """What several columns have in common: the generalisation."""
    name: str
    """What sets it apart: the score or, where all columns hold one score, the entity type."""
    score: str = ""
    """Which measure of the track: of interchange `cause`, `isolate` or `disentangle`."""
    entity_type: str = ""
    """The entity type; empty for a mean over types."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row's numbers come from, for files that programs read; of several chosen points all of them."""

    model: str = ""
    """The target model."""
    sites: tuple[str, ...] = ()
    """The sites that were chosen."""
    sizes: tuple[int, ...] = ()
    """How many coordinates are swapped there."""
    seeds: tuple[int, ...] = ()
    """The seeds of the fits."""
    passes: int | None = None
    """Passes of the model that the fits took, mean over seeds; None where that is not known."""


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
    place: Place = Place()
    """Model, sites, sizes and seeds, each by itself."""


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
    unit: str = "pairs"
    """What is counted in the row of counts."""

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values, without its unit and the places of rows; of comparisons their
        relation and p-value."""
        plain = asdict(self)
        del plain["unit"]
        for row in plain["rows"]:
            del row["place"]
        for cell in (cell for row in plain["rows"] for cell in row["cells"]):
            for name in ("vs_best", "vs_no_op"):
                if cell[name] is not None:
                    cell[name] = {key: cell[name][key] for key in ("relation", "p")}
        return plain


def blocks(table: Table) -> list[list[Row]]:
    """Return the rows of each block, in order; a table without blocks is one block."""
    return [list(rows) for _, rows in groupby(table.rows, key=lambda row: row.block)]


def shared_counts(rows: Sequence[Row]) -> list[int | None]:
    """Return, per column, the number of pairs that the rows share, None if they don't.

    Cells without a value, means over fewer parts and, where there are other rows, controls are passed over: a
    control may have pairs of its own. A cell with another number than the shared one must say its own.
    """
    rows = [row for row in rows if not is_control(row.label)] or rows
    counts = [{c.n for c in cells if _counts(c)} for cells in zip(*(row.cells for row in rows), strict=True)]
    return [found.pop() if len(found) == 1 else None for found in counts]


def _counts(cell: TableCell) -> bool:
    return cell.value is not None and not cell.fewer
