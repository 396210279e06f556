"""Which rows differ from the best and from no_op, read from paired comparisons; it tests nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.records.scores import ComparisonRecord
from evaluation.report.tables.model import Column, Row, TableCell, Versus
from ravel.terms.schema import Partition

__all__ = ["LEVEL", "with_marks"]

LEVEL = 0.05
"""Adjusted p-values below it count as a difference."""
_NO_OP = "no_op"
_P = Mapping[frozenset[str], float]


def with_marks(
    rows: Sequence[Row],
    columns: Sequence[Column],
    comparisons: Sequence[ComparisonRecord],
    partition: Partition,
) -> list[Row]:
    """Return the rows of a block whose disentangle cells say how they compare.

    Read from the adjusted p-values of this partition's comparisons; what was not tested stays unmarked. Where
    several rows are equally best, the one that comes first stands for them.
    """
    marked = [list(row.cells) for row in rows]
    for at, column in enumerate(columns):
        if column.score != "disentangle":
            continue
        p_values = _p_values(comparisons, column.group, partition)
        best = next((row.label for row in rows if row.cells[at].best), None)
        for row, cells in zip(rows, marked, strict=True):
            cells[at] = _compared(cells[at], row.label, best, p_values)
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True)]


def _p_values(comparisons: Sequence[ComparisonRecord], generalisation: str, partition: Partition) -> _P:
    return {
        frozenset((c.first, c.second)): c.disentangle_p_adjusted
        for c in comparisons
        if (c.generalisation, c.partition) == (generalisation, partition)
        and c.disentangle_p_adjusted is not None
    }


def _compared(cell: TableCell, label: str, best: str | None, p_values: _P) -> TableCell:
    if cell.value is None:
        return cell
    against_best = Versus("best") if label == best else _versus(label, best, p_values)
    return replace(cell, vs_best=against_best, vs_no_op=_versus(label, _NO_OP, p_values))


def _versus(label: str, other: str | None, p_values: _P) -> Versus | None:
    p = None if other is None or label == other else p_values.get(frozenset((label, other)))
    return None if p is None else Versus("differs" if p < LEVEL else "tied", p)
