"""What the outcomes of detection come to for one attribute: each measure a mean over templates, then over
values, with where its uncertainty comes from. It runs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.records.outcomes.detections import Detection
from evaluation.scoring.clusters import Clusters, FloatArray, IntArray
from evaluation.scoring.detection.ranking import (
    BoolArray,
    hard_weights,
    ranked_pairs,
    share,
    weighted_pairs,
)
from evaluation.scoring.detection.statistics import (
    Statistic,
    estimate_of,
    mean_over_templates,
    mean_over_values,
)
from evaluation.scoring.detection.thresholds import RARE, balanced_accuracy, f1
from evaluation.scoring.intervals import Estimate

MEASURES = ("auroc", "hard_auroc", "balanced_accuracy", "f1", "rare_f1")
"""In the order of tables."""


def estimate_detection(
    outcomes: Sequence[Detection], attribute: str, clusters: Clusters
) -> dict[str, Estimate]:
    """Score one attribute on outcomes. Values without positives or without negatives under some template are
    left out, and of hard negatives those without any. Raises SuiteError for an outcome of another cluster."""
    own = [outcome for outcome in outcomes if outcome.attribute == attribute and outcome.margins]
    if not own:
        return {name: Estimate(None, 0) for name in MEASURES}
    cells = clusters.cells(own)
    asked = _Asked(own, cells % clusters.shape[1], clusters.shape[1])
    found: dict[str, list[Statistic]] = {name: [] for name in MEASURES}
    for place in range(len(own[0].told)):
        for name, statistic in asked.of_value(place).items():
            found[name].append(statistic)
    return {
        name: estimate_of(mean_over_values(parts), clusters, cells, len(own)) if parts else Estimate(None, 0)
        for name, parts in found.items()
    }


@dataclass(frozen=True, slots=True)
class _Part:
    """The cases of one value under one template."""

    column: int
    """The template's place among all."""
    positive: IntArray
    """Places of the cases that have the value."""
    negative: IntArray
    """Places of those that have not."""


class _Asked:
    """The outcomes of one attribute as arrays."""

    def __init__(self, outcomes: Sequence[Detection], columns: IntArray, n_templates: int) -> None:
        self._margins = np.array([outcome.margins for outcome in outcomes])
        self._told = outcomes[0].told
        self._values = np.array([outcome.value for outcome in outcomes])
        self._n_templates = n_templates
        self._by_template = {int(c): np.flatnonzero(columns == c) for c in np.unique(columns)}
        self._profiles = _profiles(outcomes)

    def of_value(self, place: int) -> dict[str, Statistic]:
        """Return those measures that the value has."""
        has, scores = self._values == self._told[place], self._margins[:, place]
        parts = [
            _Part(column, rows[has[rows]], rows[~has[rows]])
            for column, rows in self._by_template.items()
            if has[rows].any() and not has[rows].all()
        ]
        if not parts:
            return {}
        ranked = [(part, ranked_pairs(scores[part.positive], scores[part.negative])) for part in parts]
        found = {"auroc": self._mean([self._over(p, r, np.full(r.shape, 1 / r.size)) for p, r in ranked])}
        hard = [(part, pairs, hard_weights(self._agreement(part))) for part, pairs in ranked]
        if some := [self._over(p, r, weights) for p, r, weights in hard if weights.any()]:
            found["hard_auroc"] = self._mean(some)
        hits, alarms = (self._mean(self._said(parts, scores, which)) for which in ("positive", "negative"))
        found["balanced_accuracy"] = balanced_accuracy(hits, alarms)
        return {**found, "f1": f1(hits, alarms, 0.5), "rare_f1": f1(hits, alarms, RARE)}

    def _mean(self, parts: Sequence[tuple[int, Statistic]]) -> Statistic:
        return mean_over_templates(parts, self._n_templates)

    def _over(self, part: _Part, ranked: FloatArray, weights: FloatArray) -> tuple[int, Statistic]:
        value, by_positive, by_negative = weighted_pairs(ranked, weights)
        cases = np.zeros(len(self._values))
        cases[part.positive], cases[part.negative] = by_positive, by_negative
        # Positives of which no pair counts tell nothing.
        return part.column, self._single(part, value, cases, int(weights.any(axis=1).sum()))

    def _said(self, parts: Sequence[_Part], scores: FloatArray, which: str) -> list[tuple[int, Statistic]]:
        """Return by template the share of positives, or negatives, whose score is above the threshold."""
        found = []
        for part in parts:
            rows: IntArray = getattr(part, which)
            value, moved = share(scores[rows] > 0)
            cases = np.zeros(len(self._values))
            cases[rows] = moved
            found.append((part.column, self._single(part, value, cases, len(part.positive))))
        return found

    def _single(self, part: _Part, value: float, cases: FloatArray, positives: int) -> Statistic:
        counted = np.zeros(self._n_templates)
        counted[part.column] = min(positives, len(part.negative))
        none = np.zeros(self._n_templates)
        return Statistic(value, cases, none, none, counted)

    def _agreement(self, part: _Part) -> NDArray[np.int64]:
        """Return on how many other attributes each positive and negative have the same value."""
        ours, theirs = self._profiles[part.positive], self._profiles[part.negative]
        same: BoolArray = (ours[:, None, :] == theirs[None, :, :]) & (ours[:, None, :] >= 0)
        counted: NDArray[np.int64] = same.sum(axis=2)
        return counted


def _profiles(outcomes: Sequence[Detection]) -> IntArray:
    """Return the values of other attributes as numbers, [n_cases, n_attributes]; -1 where it is not known."""
    attributes = sorted({name for outcome in outcomes for name in outcome.others})
    numbers: dict[tuple[str, str], int] = {}
    found = np.full((len(outcomes), len(attributes)), -1, dtype=np.int64)
    for row, outcome in enumerate(outcomes):
        for column, name in enumerate(attributes):
            if name in outcome.others:
                key = (name, outcome.others[name])
                found[row, column] = numbers.setdefault(key, len(numbers))
    return found
