"""Scores with their intervals and p-values; it knows outcomes and clusters, no methods and no files.

Pairs that share a base entity, or a base template, succeed and fail together: both are clusters
(`clusters.py`). The intervals of scores, and of their averages and differences, come from components of
variance (`variance.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.records.scores import Interval, Outcome
from evaluation.scoring.clusters import Clusters, Counts, clusters_of, count
from evaluation.scoring.interchange.metrics import Scores, mean, scores
from evaluation.scoring.variance import Spread, contributions_of, mean_spread, minus_spread

__all__ = [
    "LEVEL",
    "Intervals",
    "ScoreEstimate",
    "Spreads",
    "attribute_weights",
    "difference",
    "estimate_counts",
    "estimate_scores",
    "holm",
    "intervals_of",
    "mean_of",
]

LEVEL = 0.95
_NAMES = ("cause", "isolate", "disentangle")


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % intervals of the three scores."""

    cause: Interval | None
    """None where the score has no pairs."""
    isolate: Interval | None
    """None where the score has no pairs."""
    disentangle: Interval | None
    """None where the score has no pairs."""


@dataclass(frozen=True, slots=True)
class Spreads:
    """Where the uncertainty of the three scores comes from."""

    cause: Spread | None = None
    """None where the score is not defined."""
    isolate: Spread | None = None
    """None where the score is not defined."""
    disentangle: Spread | None = None
    """None where the score is not defined."""

    @classmethod
    def each(
        cls, spread: Callable[[Mapping[str, float]], Spread], target: str, asked: Iterable[str]
    ) -> Spreads:
        """Return the spreads of a target's scores by `spread`, which is given the weights of attributes."""
        return cls(*(spread(part) if part else None for part in attribute_weights(target, asked)))

    @classmethod
    def joined(cls, join: Callable[[list[Spread]], Spread], parts: Sequence[Spreads]) -> Spreads:
        """Return what `join` makes of the parts' spreads; None where one is missing."""
        lists = ([getattr(part, name) for part in parts] for name in _NAMES)
        return cls(*(join(known) if known and None not in known else None for known in lists))


@dataclass(frozen=True, slots=True)
class ScoreEstimate:
    """Scores together with where their uncertainty comes from, so that averages and differences can be formed
    before the interval."""

    point: Scores
    """The scores."""
    spreads: Spreads
    """Their components of variance."""

    def intervals(self) -> Intervals:
        """Return the 95 % interval of each score."""
        return Intervals(*(_limits(getattr(self.point, n), getattr(self.spreads, n)) for n in _NAMES))

    def disentangle_p(self) -> float | None:
        """Return the two-sided p-value of a difference in disentangle of 0; None where there is none."""
        difference, spread = self.point.disentangle, self.spreads.disentangle
        return None if difference is None or spread is None else spread.p_value(difference)

    def fields(self) -> dict[str, Any]:
        """Return scores and intervals by the names they have in records."""
        ends = self.intervals()
        return {
            **{name: getattr(self.point, name) for name in _NAMES},
            **{f"{name}_interval": getattr(ends, name) for name in _NAMES},
        }


def attribute_weights(
    target: str, asked: Iterable[str]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return how much the pairs of each attribute weigh in cause, isolate and disentangle of a target, where
    pairs ask for the attributes `asked`; empty where a score is not defined."""
    others = sorted(set(asked) - {target})
    cause = {target: 1.0} if target in asked else {}
    isolate = {name: 1 / len(others) for name in others}
    both = {name: weight / 2 for name, weight in (cause | isolate).items()} if cause and isolate else {}
    return cause, isolate, both


def estimate_scores(outcomes: Sequence[Outcome], attribute: str, clusters: Clusters) -> ScoreEstimate:
    """Score target `attribute` on the outcomes. Raises SuiteError for an outcome of another cluster."""
    return estimate_counts(
        count(outcomes, attribute, clusters), scores(outcomes, attribute), attribute, clusters
    )


def estimate_counts(counts: Counts, point: Scores, attribute: str, clusters: Clusters) -> ScoreEstimate:
    """Return what `estimate_scores` does, of outcomes that were counted and scored already."""
    of_template = counts.pairs.sum(axis=0)
    asked = {name for name, columns in clusters.columns().items() if of_template[columns].any()}

    def spread(weights: Mapping[str, float]) -> Spread:
        return Spread((contributions_of(clusters, counts, weights),))

    return ScoreEstimate(point, Spreads.each(spread, attribute, asked))


def intervals_of(outcomes: Sequence[Outcome], attribute: str) -> Intervals:
    """Return the 95 % intervals of target `attribute`'s scores on these outcomes."""
    return estimate_scores(outcomes, attribute, clusters_of(outcomes)).intervals()


def mean_of(parts: Sequence[ScoreEstimate]) -> ScoreEstimate:
    """Return the unweighted mean of scores; counts are added. A score is None if a part has none."""
    points = [part.point for part in parts]
    point = Scores(
        cause=mean([p.cause for p in points]),
        isolate=mean([p.isolate for p in points]),
        disentangle=mean([p.disentangle for p in points]),
        n_cause=sum(p.n_cause for p in points),
        n_isolate=sum(p.n_isolate for p in points),
    )
    return ScoreEstimate(point, Spreads.joined(mean_spread, [part.spreads for part in parts]))


def difference(first: ScoreEstimate, second: ScoreEstimate) -> ScoreEstimate:
    """Subtract scores of the same split; the counts are those of `first`."""
    a, b = first.point, second.point
    point = Scores(
        cause=_minus(a.cause, b.cause),
        isolate=_minus(a.isolate, b.isolate),
        disentangle=_minus(a.disentangle, b.disentangle),
        n_cause=a.n_cause,
        n_isolate=a.n_isolate,
    )
    return ScoreEstimate(
        point, Spreads.joined(lambda both: minus_spread(*both), [first.spreads, second.spreads])
    )


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


def _limits(score: float | None, spread: Spread | None) -> Interval | None:
    return None if score is None or spread is None else spread.limits(score, LEVEL)


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
