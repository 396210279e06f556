"""Means over classes of the shares within them, and how sure they are; it knows no target, label or file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import Clustered, Clusters, Counts, FloatArray, IntArray
from evaluation.scoring.variance import Deviations, Spread
from ravel.common.errors import SuiteError

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Both verdicts on every pair of a split, in the order of the pairs."""

    swapped: BoolArray
    """Whether the model gave the source's answer, [n_pairs]."""
    unchanged: BoolArray
    """Whether it kept the base's, [n_pairs]."""


def verdicts_of(outcomes: Sequence[Outcome], ids: Sequence[str]) -> Verdicts:
    """Return the verdicts in the order of the pairs' ids. Raises SuiteError unless there is one for each."""
    by_id = {outcome.pair_id: outcome for outcome in outcomes}
    if by_id.keys() != set(ids) or len(outcomes) != len(ids):
        raise SuiteError(
            expected=f"an outcome for each of the {len(ids)} pairs of the split",
            came=f"{len(outcomes)} outcomes, of {len(by_id.keys() & set(ids))} of these pairs",
            todo="remove the outcomes file that differs and run the suite again",
        )
    return Verdicts(
        np.array([by_id[i].said_swapped for i in ids], dtype=bool),
        np.array([by_id[i].said_unchanged for i in ids], dtype=bool),
    )


class Strata:
    """Pairs of a split sorted into classes, each class of a template with the same weight.

    A template's share is then the mean over its classes of the share within a class. It is a weighted mean of
    its pairs, so its spread is that of `variance.py`, with as many pairs as would be as uncertain with equal
    weights: (sum of weights)^2 / sum of squared weights (Kish 1965, Survey Sampling, ch. 8). The sizes of
    classes are taken as given.
    """

    def __init__(self, pairs: Sequence[Clustered], classes: Sequence[str], clusters: Clusters) -> None:
        """Sort the pairs; `classes` has each one's class, and their clusters must be in `clusters`."""
        self._clusters = clusters
        self._cells = clusters.cells(pairs)
        columns = self._cells % max(1, len(clusters.templates))
        self._weights = _equal_classes(columns, classes, len(clusters.templates))
        self._pairs = clusters.counted(self._cells, self._weights)

    def spread(self, right: BoolArray, attributes: Mapping[str, float]) -> Spread:
        """Return the spread of the mean over attributes, with these weights, of the means over templates.

        `right` says of each pair, in the order they were given, whether it was answered right, [n_pairs].
        """
        return Spread((self.deviations(right).weighted(attributes),))

    def deviations(self, right: BoolArray) -> Deviations:
        """Return what the spread with any weights is made of."""
        hits = self._clusters.counted(self._cells, self._weights * right)
        return Deviations.of(self._clusters, Counts(self._pairs, hits))


def _equal_classes(columns: IntArray, classes: Sequence[str], n_columns: int) -> FloatArray:
    """Return weights of pairs that are equal in sum for the classes of a template, and sum to its effective
    number of pairs; 1 each where classes are equally frequent."""
    members = list(zip(columns.tolist(), classes, strict=True))
    sizes = Counter(members)
    weights = np.array([1 / sizes[member] for member in members], dtype=np.float64)
    total = np.bincount(columns, weights=weights, minlength=n_columns)
    squares = np.bincount(columns, weights=weights**2, minlength=n_columns)
    return weights * (total / np.where(squares > 0, squares, 1))[columns]
