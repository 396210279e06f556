"""Chooses a point of the grid for each method and target attribute, by validation scores alone."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.records.scores import FLOORS, Refusal, ScoreRecord
from evaluation.scoring.selection import Criterion, Point, choose_point
from evaluation.suite.cell_scores import CellScorer
from evaluation.suite.grid import Cell, ChosenCells

__all__ = ["refusals", "select", "tested"]


def select(cells: Sequence[Cell], scorer: CellScorer) -> ChosenCells:
    """Choose site, size and setting per method and attribute by validation scores; all seeds of that point
    are chosen."""
    fitted = [cell for cell in cells if scorer.refusal(cell) is None]
    candidates: dict[tuple[str, str], dict[Point, list[ScoreRecord]]] = {}
    for cell in fitted:
        served = [attribute for attribute in scorer.attributes if cell.serves(attribute)]
        for attribute in served:
            candidates.setdefault((cell.method, attribute), {}).setdefault(_point(cell), [])
        for generalisation in scorer.config.generalisations:
            for record in scorer.records(cell, served, generalisation, "val"):
                candidates[cell.method, record.attribute][_point(cell)].append(record)
    points = {key: choose_point(records, by=_criterion(key[0])) for key, records in candidates.items()}
    return {
        (method, attribute): [
            cell
            for cell in fitted
            if cell.method == method and cell.serves(attribute) and _point(cell) == point
        ]
        for (method, attribute), point in points.items()
    }


def tested(cells: Sequence[Cell], chosen: ChosenCells) -> list[Cell]:
    """Return the cells that are judged on test pairs: those that were chosen, and all floors."""
    ids = {cell.cell_id for group in chosen.values() for cell in group}
    return [cell for cell in cells if cell.cell_id in ids or cell.method in FLOORS]


def refusals(cells: Sequence[Cell], chosen: ChosenCells, scorer: CellScorer) -> list[Refusal]:
    """Return the methods and attributes of which no cell has a featurizer, with the first cell's reason."""
    reasons: dict[tuple[str, str], str] = {}
    for cell in cells:
        reason = scorer.refusal(cell)
        for attribute in scorer.attributes:
            if reason is not None and cell.serves(attribute) and (cell.method, attribute) not in chosen:
                reasons.setdefault((cell.method, attribute), reason)
    return [Refusal(method, attribute, reason) for (method, attribute), reason in sorted(reasons.items())]


def _criterion(method: str) -> Criterion:
    # The row that says how much can be brought at all must be the most that can be brought.
    return "cause" if method == "full_vector" else "disentangle"


def _point(cell: Cell) -> Point:
    return Point(cell.site, cell.size, cell.setting)
