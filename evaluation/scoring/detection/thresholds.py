"""Where a value is said to be there: the threshold of Youden, and what shares above it come to."""

from __future__ import annotations

import numpy as np

from evaluation.scoring.clusters import FloatArray
from evaluation.scoring.detection.ranking import BoolArray
from evaluation.scoring.detection.statistics import Statistic

RARE = 0.01
"""Share of positives in the imbalanced variant (AxBench: about 3600 further negatives, about 1 %)."""


def youden_threshold(scores: FloatArray, has: BoolArray) -> float:
    """Return the threshold above which the share of positives exceeds that of negatives most (Youden 1950,
    Cancer 3), where there are both.

    Half-way between two neighbouring scores, or the highest score, above which there is none; of several the
    highest. Without positives or without negatives it is the highest score.
    """
    values = np.unique(scores)
    thresholds = np.append((values[:-1] + values[1:]) / 2, values[-1])
    if has.all() or not has.any():
        return float(thresholds[-1])
    above = [_share_above(scores[own], thresholds) for own in (has, ~has)]
    gain = above[0] - above[1]
    # Of equal gains the highest threshold; rounding must not decide.
    best = np.flatnonzero(gain >= gain.max() - 1e-12)[-1]
    return float(thresholds[best])


def _share_above(scores: FloatArray, thresholds: FloatArray) -> FloatArray:
    ordered = np.sort(scores)
    shares: FloatArray = 1 - np.searchsorted(ordered, thresholds, side="right") / len(ordered)
    return shares


def balanced_accuracy(hits: Statistic, alarms: Statistic) -> Statistic:
    """Return the mean of the shares of positives and of negatives that are told right."""
    return hits.scaled(0.5, 0.5).plus(alarms.scaled(-0.5))


def f1(hits: Statistic, alarms: Statistic, rate: float) -> Statistic:
    """Return F1 where a share `rate` of the cases is positive: `2 p h / (p (1 + h) + (1 - p) a)`, h the share
    of positives and a that of negatives that are said to have the value; 0 where none is said to.

    Worked out from the two shares, so that it doesn't hang on how many of each a split happens to have; at a
    half it is AxBench's balanced F1, at `RARE` its imbalanced one.
    """
    h, a = hits.value, alarms.value
    below = rate * (1 + h) + (1 - rate) * a
    by_hits = 2 * rate * (rate + (1 - rate) * a) / below**2
    by_alarms = -2 * rate * h * (1 - rate) / below**2
    return hits.scaled(by_hits).plus(alarms.scaled(by_alarms)).with_value(2 * rate * h / below)
