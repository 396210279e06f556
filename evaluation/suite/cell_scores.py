"""Scores of single cells from their outcomes files; it chooses nothing."""

from __future__ import annotations

from collections.abc import Iterable

from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import ScoredKind, ScoreRecord
from evaluation.scoring.intervals import Resamples
from evaluation.scoring.scores import score_outcomes, split_resamples
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_outcomes, cell_refusal, cell_subject
from evaluation.suite.grid import Cell
from ravel.facts.schema import Generalisation, Partition, split_name

__all__ = ["CellScorer"]


class CellScorer:
    """Scores cells from their outcomes files; keeps the resamples of each split, which all cells share."""

    def __init__(self, context: RunContext, config: SuiteConfig) -> None:
        assert config.attributes is not None, "the config is resolved"
        self.context = context
        """What the cells share; where test splits are withheld, none can be scored."""
        self.config = config
        """The resolved suite."""
        self.attributes = config.attributes
        """The target attributes."""
        self._resamples: dict[str, Resamples] = {}

    def resamples(self, split: str) -> Resamples:
        """Return the split's resamples, drawn at first use."""
        if split not in self._resamples:
            pairs, config = self.context.instance.pairs(split), self.config
            drawn = split_resamples(pairs, split, n_resamples=config.resamples, seed=config.seed)
            self._resamples[split] = drawn
        return self._resamples[split]

    def refusal(self, cell: Cell) -> str | None:
        """Return why a cell's method had no answer, or None if it had one."""
        return cell_refusal(cell, self.context)

    def records(
        self,
        cell: Cell,
        attributes: Iterable[str],
        generalisation: Generalisation,
        partition: Partition,
        source_kind: ScoredKind = "all",
    ) -> list[ScoreRecord]:
        """Return a record per target attribute that the cell serves; none if the split has no pairs."""
        split = split_name(generalisation, partition)
        if not self.context.instance.pairs(split):
            return []
        outcomes, subject = cell_outcomes(cell, self.context, split), cell_subject(cell, self.context)
        return [
            score_outcomes(
                outcomes,
                attribute,
                subject,
                self.resamples(split),
                generalisation=generalisation,
                partition=partition,
                source_kind=source_kind,
            )
            for attribute in attributes
            if cell.serves(attribute)
        ]
