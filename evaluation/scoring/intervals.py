"""Measures with their intervals and p-values, and what means and differences of them are; it knows no
outcomes, no measure by name and no files.

Pairs that share a base entity, or a base template, succeed and fail together: both are clusters
(`clusters.py`). The intervals of scores, and of their averages and differences, come from components of
variance (`variance.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.records.measured import Interval, Measured
from evaluation.scoring.mean import mean
from evaluation.scoring.variance import Spread, mean_spread, minus_spread

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """One measure together with where its uncertainty comes from, so that averages and differences can be
    formed before the interval."""

    value: float | None
    """The measure; None where it is not defined."""
    n: int | None = None
    """Number of cases behind it; None for a measure that is made of others."""
    spread: Spread | None = None
    """Its components of variance; None where it is not defined."""

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval."""
        if self.value is None or self.spread is None:
            return None
        return self.spread.limits(self.value, LEVEL)

    @property
    def p_value(self) -> float | None:
        """The two-sided p-value of a difference of 0."""
        return None if self.value is None or self.spread is None else self.spread.p_value(self.value)


Estimates = Mapping[str, Estimate]
"""A track's measures by name, in the order of its tables."""


def mean_of(parts: Sequence[Estimates], like: Estimates | None = None) -> dict[str, Estimate]:
    """Return the unweighted mean of measures; counts are added. A measure is None if a part has none.

    Where there may be no part at all, `like` tells which measures there are.
    """
    found = {}
    for name, one in (parts[0] if like is None else like).items():
        own = [part[name] for part in parts]
        spreads = [part.spread for part in own if part.spread is not None]
        found[name] = Estimate(
            mean([part.value for part in own]),
            None if one.n is None else sum(part.n or 0 for part in own),
            mean_spread(spreads) if spreads and len(spreads) == len(own) else None,
        )
    return found


def difference(first: Estimates, second: Estimates) -> dict[str, Estimate]:
    """Subtract measures of the same split; the counts are those of `first`."""
    return {name: _minus(one, second[name]) for name, one in first.items()}


def measured(estimates: Estimates, *, counted: bool = True, intervals: bool = True) -> dict[str, Measured]:
    """Return measures as records hold them, with their counts and intervals or without."""
    return {
        name: Measured(e.value, e.interval if intervals else None, e.n if counted else None)
        for name, e in estimates.items()
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted so that the chance of any false finding among them stays below the level.

    The step-down method of Holm (1979, Scandinavian Journal of Statistics 6): the k-th smallest of m is
    multiplied by m - k + 1, and none is below a smaller one's. None stays None and counts for nothing.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = highest
    return adjusted


def _minus(first: Estimate, second: Estimate) -> Estimate:
    value = None if first.value is None or second.value is None else first.value - second.value
    spread = None
    if first.spread is not None and second.spread is not None:
        spread = minus_spread(first.spread, second.spread)
    return Estimate(value, first.n, spread)
