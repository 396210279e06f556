"""Shares of which the harmonic mean is the score, as of steering and erasure: means over templates and
attributes, their uncertainty, and the strength that each value is given. It knows not what is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from evaluation.scoring.clusters import Clustered, Clusters, Counts
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.mean import mean
from evaluation.scoring.variance import Contributions, Deviations, Spread, combined

OVERALL = "overall"
"""The measure that is the harmonic mean of the others."""
Part = tuple[float, int, Contributions]
"""A share, the number of cases behind it, and what moves it."""


class AboutValue(Protocol):
    """An outcome that is about one value."""

    @property
    def value(self) -> str:
        """The value."""


Outcome = TypeVar("Outcome", bound=AboutValue)


def harmonic_mean(values: Sequence[float]) -> float:
    """Return the harmonic mean of numbers, one at least; 0 if any is 0."""
    return 0.0 if min(values) <= 0 else len(values) / math.fsum(1 / value for value in values)


def mean_part(cases: Sequence[Clustered], right: Sequence[float], clusters: Clusters) -> Part | None:
    """Return the mean over asked attributes of means over templates of numbers from 0 to 1, one per case;
    None without cases. Raises SuiteError for a case of another cluster."""
    if not cases:
        return None
    cells = clusters.cells(cases)
    counts = Counts(clusters.counted(cells), clusters.counted(cells, np.array(right)))
    pairs, sums = counts.pairs.sum(axis=0), counts.right.sum(axis=0)
    attributes = sorted({case.attribute for case in cases})
    columns = {name: [c for c in clusters.columns()[name] if pairs[c]] for name in attributes}
    value = mean([mean([float(sums[c] / pairs[c]) for c in own]) for own in columns.values()])
    assert value is not None, "each attribute has a template with cases"
    weights = dict.fromkeys(attributes, 1 / len(attributes))
    return value, len(cases), Deviations.of(clusters, counts).weighted(weights)


def estimates_with_overall(parts: Mapping[str, Part | None]) -> dict[str, Estimate]:
    """Return the shares and, last, their harmonic mean; none has a value where one of them has no cases."""
    known = {name: part for name, part in parts.items() if part is not None}
    if len(known) < len(parts):
        return {**{name: Estimate(None, 0) for name in parts}, OVERALL: Estimate(None)}
    found = {name: Estimate(value, n, Spread((part,))) for name, (value, n, part) in known.items()}
    values = [value for value, _, _ in known.values()]
    overall = harmonic_mean(values)
    # The slopes of the harmonic mean; where it is 0, those in whatever is 0.
    slopes = [
        overall**2 / (len(values) * value**2) if overall > 0 else float(len(values) * (value <= 0))
        for value in values
    ]
    spread = combined([(slope, part) for slope, (_, _, part) in zip(slopes, known.values(), strict=True)])
    return {**found, OVERALL: Estimate(overall, None, Spread((spread,)))}


def place_for_each_value(
    outcomes: Sequence[Outcome], best: Callable[[Sequence[Outcome]], int | None]
) -> dict[str, int]:
    """Return for each value what `best` makes of its outcomes; where that is None, what it makes of all of
    them, or 0."""
    together = best(outcomes)
    found = {}
    for value in sorted({outcome.value for outcome in outcomes}):
        own = best([outcome for outcome in outcomes if outcome.value == value])
        found[value] = (together or 0) if own is None else own
    return found
