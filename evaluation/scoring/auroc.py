"""How well numbers tell right from wrong: areas under the curve with intervals, and numbers put together; it
knows neither models nor what the numbers are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.records.measured import Interval
from ravel.common.seeds import numpy_stream

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_LEVEL = (2.5, 97.5)
_FEWEST = 2
_STEPS = 50
_RIDGE = 1.0
"""Squared weights count against the fit, so that a column that separates the classes has finite weight."""


def auroc(scores: FloatArray, right: BoolArray, weights: FloatArray | None = None) -> float | None:
    """Return the chance that a right case [n] scores higher than a wrong one, ties counting half; None where
    all are right or all wrong. `weights` [n] count a case several times."""
    each = np.ones(len(scores)) if weights is None else weights
    _, place = np.unique(scores, return_inverse=True)
    good = np.bincount(place, weights=each * right)
    bad = np.bincount(place, weights=each * ~right)
    if not good.sum() or not bad.sum():
        return None
    below = np.cumsum(bad) - bad
    return float(good @ (below + bad / 2) / (good.sum() * bad.sum()))


def areas_again(
    columns: Sequence[FloatArray], right: BoolArray, clusters: IntArray, *, resamples: int, seed: int
) -> FloatArray:
    """Return the area of each column of scores [n] over clusters [n] that are drawn again whole, the same
    ones for all columns, [n_draws, n_columns]; draws without both kinds are left out."""
    stream, n = numpy_stream(seed, "auroc"), int(clusters.max()) + 1
    areas = []
    for _ in range(resamples):
        drawn = np.bincount(stream.integers(n, size=n), minlength=n).astype(float)[clusters]
        found = [auroc(scores, right, drawn) for scores in columns]
        if found[0] is not None:
            areas.append(found)
    return np.array(areas, dtype=float).reshape(len(areas), len(columns))


def percentile_interval(draws: FloatArray) -> Interval | None:
    """Return the 95 % percentile interval of draws [n]; None of fewer than two."""
    if len(draws) < _FEWEST:
        return None
    low, high = np.percentile(draws, _LEVEL)
    return float(low), float(high)


def combined(columns: FloatArray, right: BoolArray) -> FloatArray:
    """Return the weights [n_columns + 1] of the logistic regression of `right` [n] on columns [n, n_columns]
    of mean 0 and variance 1, with a penalty of a half of the squared weights but not of the last, the
    constant; by Newton's steps."""
    inputs = np.column_stack([columns, np.ones(len(columns))])
    penalty = np.diag([_RIDGE] * columns.shape[1] + [1e-6])
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        slope = inputs.T @ (right - chances) - penalty @ weights
        curve = (inputs * (chances * (1 - chances))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curve, slope)
        weights += step
        if np.abs(step).max() < 1e-10:
            break
    return weights
