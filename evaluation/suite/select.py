"""Chooses a point of the grid for each method and target attribute, by validation scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from das.sites import Site
from evaluation.config.suite import PROFILE, SuiteConfig
from evaluation.scoring.cells import CellScorer, ScoredCell
from evaluation.scoring.selection import Point
from evaluation.scoring.site_search import best_sites, site_merits
from evaluation.scoring.track import Track
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_outcomes, cell_refusal, featurizer_id_of
from evaluation.suite.grid import Cell, ChosenCells
from ravel.common.errors import SuiteError


def select(cells: Sequence[Cell], context: RunContext, config: SuiteConfig) -> ChosenCells:
    """Choose site, size and setting per method and attribute by validation scores; all seeds of that point
    are chosen. The test splits of `context` are withheld."""
    by_id = {cell.cell_id: cell for cell in cells}
    chosen = scorer_of(cells, context, config).choose()
    return {key: [by_id[cell_id] for cell_id in ids] for key, ids in chosen.items()}


def kept_sites(
    cells: Sequence[Cell], context: RunContext, config: SuiteConfig
) -> dict[str, dict[Site, float]]:
    """Return by attribute the sites with which a suite goes on, the best first, with what they were chosen
    by: those that the validation cases of the profile's cells put first, as `site_search` says. The test
    splits of `context` are withheld.

    Raises SuiteError where no site has a score, or `transport` has too few.
    """
    assert config.keep_sites is not None
    track = context.track
    records = scorer_of(cells, context, config).validation_scores(intervals=False)
    merits = site_merits(records, config.site_search, track)
    if not any(merits.values()):
        raise SuiteError(
            expected=f"a {track.criterion_of(PROFILE)} of {PROFILE} on validation {track.unit}, by which "
            "sites are kept",
            came="none",
            todo=f"leave `keep_sites` out, or use an instance with {track.unit} to validate on",
        )
    kept = best_sites(merits, config.keep_sites)
    return {a: {Site.parse(site): merit for site, merit in found.items()} for a, found in kept.items()}


def scorer_of(cells: Sequence[Cell], context: RunContext, config: SuiteConfig) -> CellScorer:
    """Return what scores those of the cells that have a featurizer, from their outcomes files."""
    assert config.attributes is not None, "the suite is resolved"
    by_id = {cell.cell_id: cell for cell in cells}
    return CellScorer(
        [
            ScoredCell(
                featurizer_id_of(cell, context),
                cell.attribute or "*",
                Point(cell.site, cell.size, cell.setting),
            )
            for cell in cells
            if cell_refusal(cell, context) is None
        ],
        context.instance,
        context.track,
        attributes=config.attributes,
        generalisations=config.generalisations,
        outcomes=lambda cell_id, split: cell_outcomes(by_id[cell_id], context, split),
    )


def tested(cells: Sequence[Cell], chosen: ChosenCells, track: Track[Any]) -> list[Cell]:
    """Return the cells that are judged on test splits: those that were chosen, and all references."""
    ids = {cell.cell_id for group in chosen.values() for cell in group}
    return [cell for cell in cells if cell.cell_id in ids or cell.method in track.floors]
