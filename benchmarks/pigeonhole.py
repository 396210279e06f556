"""The pigeonhole bootstrap, beside which the suite's intervals are measured; it knows no setting.

Entities and templates are resampled with replacement, and a pair counts with the product of its two
multiplicities (Owen 2007, The Annals of Applied Statistics 1(2)). Percentiles don't keep their level with few
templates, nor near 0 and 1, which is why the suite has none (`coverage.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evaluation.records.scores import Interval
from evaluation.scoring.clusters import Clusters, Counts, FloatArray

__all__ = ["Draws", "Resamples", "draw_resamples", "draws_of", "interval", "mean_draws", "p_value"]

_FEWEST_DEFINED = 20


@dataclass(frozen=True, slots=True)
class Resamples:
    """How often each cluster was drawn, fixed once and shared by all that is to be compared."""

    clusters: Clusters
    """The clusters the columns stand for."""
    entity_counts: FloatArray
    """Multiplicities, [n_resamples, n_entities]."""
    template_counts: FloatArray
    """Multiplicities, [n_resamples, n_templates]; each attribute's templates sum to their number."""


@dataclass(frozen=True, slots=True)
class Draws:
    """A score in each resample, NaN where the resample holds no pair of some needed kind."""

    cause: FloatArray
    """[n_resamples]"""
    isolate: FloatArray
    """[n_resamples]"""
    disentangle: FloatArray
    """[n_resamples]"""


def draw_resamples(clusters: Clusters, n_resamples: int, generator: np.random.Generator) -> Resamples:
    """Draw the multiplicities of `n_resamples` resamples; entities first, then each attribute's templates in
    order."""
    entity_counts = _multiplicities(len(clusters.entities), n_resamples, generator)
    template_counts = np.zeros((n_resamples, len(clusters.templates)))
    for columns in clusters.columns().values():
        template_counts[:, columns] = _multiplicities(len(columns), n_resamples, generator)
    return Resamples(clusters, entity_counts, template_counts)


def draws_of(counts: Counts, attribute: str, resamples: Resamples) -> Draws:
    """Return the scores of target `attribute` in every resample, of outcomes that were counted already."""
    pairs = resamples.entity_counts @ counts.pairs
    right = resamples.entity_counts @ counts.right
    accuracy = np.divide(right, pairs, out=np.zeros_like(right), where=pairs > 0)
    weight = resamples.template_counts * (pairs > 0)
    means = {
        name: _weighted_mean(accuracy[:, columns], weight[:, columns])
        for name, columns in resamples.clusters.columns().items()
    }
    undefined = np.full(len(weight), np.nan)
    others = [means[name] for name in sorted(means) if name != attribute]
    caused = means.get(attribute, undefined)
    isolated = np.sum(others, axis=0) / len(others) if others else undefined
    return Draws(cause=caused, isolate=isolated, disentangle=(caused + isolated) / 2)


def mean_draws(parts: list[FloatArray]) -> FloatArray:
    """Return the mean of scores in every resample."""
    mean: FloatArray = np.sum(parts, axis=0) / len(parts)
    return mean


def interval(draws: FloatArray, level: float = 0.95) -> Interval | None:
    """Return the central percentile interval of the defined draws; None where almost none is defined."""
    defined = draws[~np.isnan(draws)]
    if len(defined) < min(_FEWEST_DEFINED, len(draws)) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(difference: float | None, draws: FloatArray) -> float | None:
    """Return the two-sided p-value of a difference of 0, or None where it is not defined.

    The normal tail at the difference over the standard deviation of its draws. Where the draws do not vary, 1
    for a difference of 0 and 0 otherwise.
    """
    defined = draws[~np.isnan(draws)]
    if difference is None or len(defined) < min(_FEWEST_DEFINED, len(draws)) or len(defined) < 2:
        return None
    spread = float(np.std(defined, ddof=1))
    if spread == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / spread / math.sqrt(2))


def _multiplicities(n: int, n_resamples: int, generator: np.random.Generator) -> FloatArray:
    if n == 0:
        return np.zeros((n_resamples, 0))
    drawn = generator.integers(0, n, size=(n_resamples, n))
    flat = (drawn + n * np.arange(n_resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=n_resamples * n).reshape(n_resamples, n).astype(np.float64)


def _weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=1)
    mean: FloatArray = np.full_like(total, np.nan)
    np.divide((values * weights).sum(axis=1), total, out=mean, where=total > 0)
    return mean
