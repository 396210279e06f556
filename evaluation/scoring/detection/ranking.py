"""Areas under ROC curves, over all pairs of a positive and a negative case or over chosen ones, and shares;
each with what moves it. It knows scores of one value under one template."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.scoring.clusters import FloatArray

BoolArray = NDArray[np.bool_]


def ranked_pairs(positive: FloatArray, negative: FloatArray) -> FloatArray:
    """Return for each pair whether the positive scores higher, a tie counting a half,
    [n_positive, n_negative]."""
    above = (positive[:, None] > negative[None, :]).astype(np.float64)
    equal = positive[:, None] == negative[None, :]
    ranked: FloatArray = above + 0.5 * equal
    return ranked


def weighted_pairs(ranked: FloatArray, weights: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """Return the weighted share of pairs, and what each positive and each negative adds to it.

    `weights` sum to 1. With equal ones the parts are DeLong's placements less the area, divided by the
    number of cases of their kind, and widened by n / (n - 1) in the square as sample variances are.
    """
    # Divided once more, so that rounding of the weights moves no area that is a half or 1.
    value = float(np.sum(weights * ranked) / np.sum(weights))
    apart = weights * (ranked - value)
    return value, widened(apart.sum(axis=1)), widened(apart.sum(axis=0))


def hard_weights(agreement: NDArray[np.int64]) -> FloatArray:
    """Return the weights of the pairs of a positive and its hard negatives, [n_positive, n_negative].

    `agreement` counts the other attributes on which the two have the same value. The hard negatives of a
    positive are those that agree with it on the most, one attribute at least: the same
    continent and language, another country. Each positive that has some weighs alike, its negatives share its
    weight. All 0 where no positive has one.
    """
    most = agreement.max(axis=1, initial=0)
    hard = (agreement == most[:, None]) & (most[:, None] > 0)
    each = hard.sum(axis=1, keepdims=True)
    weights = np.divide(hard, each, out=np.zeros(hard.shape), where=each > 0)
    total = weights.sum()
    found: FloatArray = weights / total if total > 0 else weights
    return found


def share(said: BoolArray) -> tuple[float, FloatArray]:
    """Return the share of cases of which something is said, and what each adds to it; one case at least."""
    value = float(said.mean())
    return value, widened((said - value) / len(said))


def widened(parts: FloatArray) -> FloatArray:
    """Return deviations from a mean that was estimated from them, which are too small by this much."""
    n = len(parts)
    wide: FloatArray = parts * np.sqrt(n / max(n - 1, 1))
    return wide
