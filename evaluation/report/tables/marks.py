"""Which rows differ from the best and from no_op, read from paired comparisons; it tests nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evaluation.records.scores import ComparisonRecord
from evaluation.report.tables.model import Column, Comparison, Relation, Row, TableCell
from ravel.terms.schema import Partition

__all__ = ["LEVEL", "NO_OP", "compared", "with_marks"]

LEVEL = 0.05
"""Adjusted p-values below it count as a difference."""
NO_OP = "no_op"
"""The floor that every row is compared with."""


def compared(
    method: str, other: str | None, comparisons: Sequence[ComparisonRecord], split: tuple[str, str]
) -> Comparison | None:
    """Return the recorded comparison of a method with another on a split, (generalisation, partition), as
    seen from the former; None if there is none.

    They differ if the adjusted p-value is below `LEVEL` or, in runs without, if the interval excludes 0.
    """
    for record in comparisons:
        if (record.generalisation, record.partition) != split or record.disentangle is None:
            continue
        if other is not None and other != method and {record.first, record.second} == {method, other}:
            sign = 1 if record.first == method else -1
            relation: Relation = "differs" if _differs(record) else "tied"
            return Comparison(relation, record.disentangle_p_adjusted, other, sign * record.disentangle)
    return None


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
    tested = [c for c in comparisons if c.disentangle_p_adjusted is not None]
    marked = [list(row.cells) for row in rows]
    for at, column in enumerate(columns):
        if column.score != "disentangle":
            continue
        best = next((row.label for row in rows if row.cells[at].best), None)
        for row, cells in zip(rows, marked, strict=True):
            cells[at] = _marked(cells[at], row.label, best, tested, (column.group, partition))
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True)]


def _marked(
    cell: TableCell,
    label: str,
    best: str | None,
    tested: Sequence[ComparisonRecord],
    split: tuple[str, str],
) -> TableCell:
    if cell.value is None:
        return cell
    vs_best = Comparison("best") if label == best else compared(label, best, tested, split)
    return replace(cell, vs_best=vs_best, vs_no_op=compared(label, NO_OP, tested, split))


def _differs(record: ComparisonRecord) -> bool:
    if record.disentangle_p_adjusted is not None:
        return record.disentangle_p_adjusted < LEVEL
    ends = record.disentangle_interval
    return ends is not None and not ends[0] <= 0 <= ends[1]
