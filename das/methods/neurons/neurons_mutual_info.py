"""Neurons that tell most about the target's class, by an estimate of their mutual information."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.base import MethodConfig, Problem
from das.methods.common.coordinates import units_of
from das.methods.common.labelled import LabelledVectors, labelled_vectors
from das.methods.neurons._ranking import Figures, RankedNeurons, ranking

_SAME = 4
"""Decimals, in standard deviations, to which vectors that count as equal agree."""
_NEARER = 1 - 1e-6
"""The k-th neighbour itself does not count as nearer than itself, however its distance is rounded."""


class NeuronsMutualInfoConfig(MethodConfig):
    """Settings of neurons_mutual_info."""

    vectors: PositiveInt = 4000
    """Most training vectors; a larger population is sampled, always the same."""
    neighbours: PositiveInt = 3
    """Neighbours of the same class by which the density around a value is measured."""


class NeuronsMutualInfo(RankedNeurons[NeuronsMutualInfoConfig]):
    """Swaps the `size` neurons with the largest mutual information with the target's class.

    Each neuron is judged alone, by the nearest-neighbour estimate for a continuous and a discrete variable
    (Ross 2014, "Mutual Information between Discrete and Continuous Data Sets"), as in scikit-learn's
    `mutual_info_classif`, whose trees take seconds with many classes. Departures from that: equal values are
    counted (Gao et al. 2017, arXiv 1709.06212) instead of parted by noise, so nothing is drawn; equal vectors
    count once, for the same start of a prompt gives the same vector again and again, and neighbours at no
    distance make every neuron look perfect. Constant neurons score 0.
    """

    name = "neurons_mutual_info"
    summary = "Neurons ranked by their mutual information with the target's class"
    config_class = NeuronsMutualInfoConfig

    def order(self, problem: Problem, engine: Engine) -> tuple[Tensor, Figures]:
        """Return the neurons by their mutual information with the class."""
        labelled = labelled_vectors(problem, engine, limit=self.config.vectors)
        scores, rows = neuron_information(labelled, self.config.neighbours)
        return ranking(scores), {
            "median_nats": float(np.median(scores)),
            "above_zero": int((scores > 0).sum()),
            "different_vectors": rows,
        }


def neuron_information(labelled: LabelledVectors, neighbours: int) -> tuple[NDArray[np.float64], int]:
    """Return the mutual information of each neuron with the class in nats, [d_model], and how many vectors
    differ."""
    units = units_of(labelled.vectors)
    inputs = units.of(labelled.vectors).numpy()
    # The same start of a prompt, read in another batch, differs by rounding.
    _, chosen = np.unique(np.round(inputs, _SAME), axis=0, return_index=True)
    chosen = np.sort(chosen)
    inputs = inputs[chosen]
    scores = mutual_information(inputs, labelled.labels[chosen], neighbours)
    return np.where(units.inverse.numpy() > 0, scores, 0.0), len(chosen)


def mutual_information(
    inputs: NDArray[np.float64], labels: NDArray[np.int64], neighbours: int
) -> NDArray[np.float64]:
    """Return the estimated mutual information of each column of inputs [n, d] with labels [n], in nats, [d].

    `psi(n) - <psi(n_class)> + <psi(k)> - <psi(m)>`, where m counts the values nearer than the k-th neighbour
    of the same class, itself included; at least 0. Where that neighbour is at no distance, k and m count the
    equal values of the class and of all. Classes with one value do not count; in smaller classes than
    `neighbours` all others are neighbours. One dimension needs sorting only, no trees.
    """
    counts = np.bincount(labels)
    kept = counts[labels] > 1
    inputs, labels = inputs[kept], labels[kept]
    if not len(labels):
        return np.zeros(inputs.shape[1])
    order = np.sort(inputs, axis=0)
    total = np.zeros(inputs.shape[1])
    for label in np.unique(labels):
        values = np.sort(inputs[labels == label], axis=0)
        size = len(values)
        k = min(neighbours, size - 1)
        distances = _distances(values, k)
        radius = distances * _NEARER
        nearest = np.where(distances > 0, k, _counts(values, values, np.zeros_like(radius)))
        within = _counts(order, values, radius)
        total += (_psi(nearest) - _psi(size) - _psi(within)).sum(axis=0)
    information: NDArray[np.float64] = np.maximum(_psi(len(labels)) + total / len(labels), 0.0)
    return information


def _distances(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the distance of each of sorted values [n, d] to its k-th neighbour in its column, 0 < k < n."""
    size = len(values)
    distances = np.full_like(values, np.inf)
    # The k nearest and the value itself are k + 1 in a row: the row whose farther end is nearest.
    for before in range(k + 1):
        rows = np.arange(before, size - k + before)
        farther = np.maximum(values[rows] - values[rows - before], values[rows - before + k] - values[rows])
        distances[rows] = np.minimum(distances[rows], farther)
    return distances


def _counts(
    order: NDArray[np.float64], values: NDArray[np.float64], radius: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how many of a sorted column of `order` [n, d] lie within `radius` of each value, both [m, d]."""
    columns = [
        np.searchsorted(order[:, i], values[:, i] + radius[:, i], side="right")
        - np.searchsorted(order[:, i], values[:, i] - radius[:, i], side="left")
        for i in range(order.shape[1])
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _psi(values: float | NDArray[Any]) -> NDArray[np.float64]:
    digamma: NDArray[np.float64] = torch.special.digamma(torch.as_tensor(values, dtype=torch.float64)).numpy()
    return digamma


METHOD = NeuronsMutualInfo
