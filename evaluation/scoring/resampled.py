"""Means over clusters that are drawn again whole; it knows no measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.records.measured import Interval
from evaluation.scoring.auroc import percentile_interval
from ravel.common.seeds import numpy_stream

FloatArray = NDArray[np.float64]


def mean_intervals(
    values: FloatArray, clusters: Sequence[str], *, resamples: int, seed: int
) -> list[Interval | None]:
    """Return the 95 % percentile interval of the mean of each column of values [n, n_columns] over clusters
    that are drawn again whole, the same ones for all columns; None where there are fewer than two."""
    names, place = np.unique(np.array(clusters, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        return [None] * values.shape[1]
    counts = np.bincount(place, minlength=len(names)).astype(float)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    drawn = numpy_stream(seed, "clusters").multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=resamples
    )
    means = (drawn @ sums) / (drawn @ counts)[:, None]
    return [percentile_interval(column) for column in means.T]
