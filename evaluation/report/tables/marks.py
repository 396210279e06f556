"""Which rows differ from the best and from the baseline, read from paired comparisons; it tests nothing
itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evaluation.records.scores import ComparisonRecord
from evaluation.report.tables.model import Column, Comparison, Relation, Row, TableCell
from evaluation.scoring.track import Track
from ravel.terms.schema import Partition

LEVEL = 0.05
"""Adjusted p-values below it count as a difference."""


def compared(
    method: str, other: str | None, comparisons: Sequence[ComparisonRecord], split: tuple[str, str]
) -> Comparison | None:
    """Return the recorded comparison of a method with another on a split, (generalisation, partition), as
    seen from the former; None if there is none.

    They differ if the adjusted p-value is below `LEVEL` or, in runs without, if the interval excludes 0.
    """
    for record in comparisons:
        value = record.value(record.tested)
        if (record.generalisation, record.partition) != split or value is None:
            continue
        if other is not None and other != method and {record.first, record.second} == {method, other}:
            sign = 1 if record.first == method else -1
            relation: Relation = "differs" if _differs(record) else "tied"
            ends = record.interval(record.tested)
            interval = None if ends is None else (ends if sign > 0 else (-ends[1], -ends[0]))
            return Comparison(relation, record.p_adjusted, other, sign * value, interval)
    return None


def with_marks(
    rows: Sequence[Row],
    columns: Sequence[Column],
    comparisons: Sequence[ComparisonRecord],
    partition: Partition,
    track: Track[Any],
) -> list[Row]:
    """Return the rows of a block whose cells of the criterion say how they compare.

    Read from the adjusted p-values of this partition's comparisons; what was not tested stays unmarked. Where
    several rows are equally best, the one that comes first stands for them.
    """
    tested = [c for c in comparisons if c.p_adjusted is not None]
    marked = [list(row.cells) for row in rows]
    for at, column in enumerate(columns):
        if column.score != track.criterion:
            continue
        best = next((row.label for row in rows if row.cells[at].best), None)
        for row, cells in zip(rows, marked, strict=True):
            ends = (best, track.baseline)
            cells[at] = _marked(cells[at], row.label, ends, tested, (column.group, partition))
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True)]


def _marked(
    cell: TableCell,
    label: str,
    ends: tuple[str | None, str],
    tested: Sequence[ComparisonRecord],
    split: tuple[str, str],
) -> TableCell:
    if cell.value is None:
        return cell
    best, baseline = ends
    vs_best = Comparison("best") if label == best else compared(label, best, tested, split)
    return replace(cell, vs_best=vs_best, vs_no_op=compared(label, baseline, tested, split))


def _differs(record: ComparisonRecord) -> bool:
    if record.p_adjusted is not None:
        return record.p_adjusted < LEVEL
    ends = record.interval(record.tested)
    return ends is not None and not ends[0] <= 0 <= ends[1]
