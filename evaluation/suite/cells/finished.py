"""What a finished cell has in its folder: a refusal or outcomes; nothing is fitted or judged here."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.records.headers import read_cell_header, swapped_in
from evaluation.records.scores import JudgedCase
from evaluation.scoring.scores import FeaturizerId
from evaluation.suite.cells.context import RunContext
from evaluation.suite.grid import Cell


def cell_refusal(cell: Cell, context: RunContext) -> str | None:
    """Return why a finished cell's method had no answer, or None if it had one."""
    reason = read_cell_header(context.run.cell(cell.cell_id).header).get("refused")
    return None if reason is None else str(reason)


def cell_outcomes(cell: Cell, context: RunContext, split: str) -> Sequence[JudgedCase]:
    """Read what was judged in a cell on a split. Raises SuiteError if cases are missing."""
    track = context.track
    expected = len(track.cases(context.instance, split))
    return context.run.cell(cell.cell_id).read_outcomes(split, expected, track.outcome)


def featurizer_id_of(cell: Cell, context: RunContext) -> FeaturizerId:
    """Return how records name a finished cell."""
    return FeaturizerId(
        cell=cell.cell_id,
        method=cell.method,
        entity_type=context.instance.entity_type,
        model=context.target.name,
        site=cell.site,
        size=swapped_in(context.run.cell(cell.cell_id).header),
        seed=cell.seed,
    )
