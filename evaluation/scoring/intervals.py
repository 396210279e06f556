"""Intervals and p-values for cause, isolate and disentangle; it knows outcomes and clusters, no methods or
files.

Pairs that share a base entity, or a base template, succeed and fail together: both are clusters, entities
over the whole split and templates within their attribute. The source entity is no cluster. The intervals of
scores, and of their averages and differences, come from components of variance (`variance.py`).

For what is no weighted sum over pairs there are draws: entities and templates are resampled with replacement,
and a pair counts with the product of its two multiplicities, the pigeonhole bootstrap for crossed random
effects (Owen 2007, The Annals of Applied Statistics 1(2)). Its percentile intervals don't keep their level
with few templates, nor near 0 and 1 (`benchmarks/coverage.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.config.suite import DEFAULT_RESAMPLES
from evaluation.records.scores import Interval, Outcome
from evaluation.scoring.metrics import Scores, scores
from evaluation.scoring.variance import Spread, columns_by_attribute, mean_spread, minus_spread, shares_of
from ravel.common.errors import SuiteError

__all__ = [
    "LEVEL",
    "Clustered",
    "Clusters",
    "Counts",
    "Draws",
    "Intervals",
    "Resamples",
    "Sampled",
    "Spreads",
    "check_same_pairs",
    "clusters_of",
    "difference",
    "draw_resamples",
    "holm",
    "interval",
    "intervals_of",
    "mean_spreads",
    "p_value",
    "paired_difference",
    "sample_counts",
    "sample_scores",
]

LEVEL = 0.95
_FEWEST_DEFINED = 20

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Clustered(Protocol):
    """What the bootstrap must know of a pair: an outcome has it, and so has the pair itself."""

    @property
    def attribute(self) -> str:
        """What the base template asks for."""
        ...

    @property
    def base_template(self) -> str:
        """A cluster within its attribute."""
        ...

    @property
    def base_entity(self) -> str:
        """A cluster over the whole split."""
        ...


@dataclass(frozen=True, slots=True)
class Clusters:
    """What is resampled in one split."""

    entities: tuple[str, ...]
    """Base entities, sorted."""
    templates: tuple[tuple[str, str], ...]
    """(attribute, base template), sorted."""


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
    """A score in each resample, NaN where the resample holds no pair of some needed kind; never written to
    files."""

    cause: FloatArray
    """[n_resamples]"""
    isolate: FloatArray
    """[n_resamples]"""
    disentangle: FloatArray
    """[n_resamples]"""


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

    cause: Spread | None
    """None where the score is not defined."""
    isolate: Spread | None
    """None where the score is not defined."""
    disentangle: Spread | None
    """None where the score is not defined."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Scores together with what their intervals come from, so that averages and differences can be formed
    before the interval."""

    point: Scores
    """The scores on the outcomes as they are."""
    draws: Draws
    """The same scores in every resample."""
    spreads: Spreads | None = None
    """Components of variance; None for scores that are no weighted sums over pairs, which have draws only."""

    def intervals(self) -> Intervals:
        """Return the 95 % interval of each score: from the spreads, or percentiles of the draws where there
        are none."""
        if self.spreads is None:
            draws = self.draws
            return Intervals(interval(draws.cause), interval(draws.isolate), interval(draws.disentangle))
        point, spreads = self.point, self.spreads
        return Intervals(
            cause=_limits(point.cause, spreads.cause),
            isolate=_limits(point.isolate, spreads.isolate),
            disentangle=_limits(point.disentangle, spreads.disentangle),
        )

    def disentangle_p(self) -> float | None:
        """Return the two-sided p-value of a difference in disentangle of 0; None where there is none."""
        difference = self.point.disentangle
        if self.spreads is None:
            return p_value(difference, self.draws.disentangle)
        spread = self.spreads.disentangle
        return None if difference is None or spread is None else spread.p_value(difference)


@dataclass(frozen=True, slots=True)
class Counts:
    """Outcomes counted by entity and template, in the order of some clusters."""

    pairs: FloatArray
    """Number of pairs, [n_entities, n_templates]."""
    right: FloatArray
    """Number of pairs answered as the target asks for, [n_entities, n_templates]."""


def clusters_of(pairs: Sequence[Clustered]) -> Clusters:
    """Return the clusters of pairs or of their outcomes; the same pairs give equal clusters in any order."""
    return Clusters(
        entities=tuple(sorted({p.base_entity for p in pairs})),
        templates=tuple(sorted({(p.attribute, p.base_template) for p in pairs})),
    )


def draw_resamples(clusters: Clusters, n_resamples: int, generator: np.random.Generator) -> Resamples:
    """Draw the multiplicities of `n_resamples` resamples; entities first, then each attribute's templates in
    order."""
    entity_counts = _multiplicities(len(clusters.entities), n_resamples, generator)
    template_counts = np.zeros((n_resamples, len(clusters.templates)))
    for columns in columns_by_attribute(clusters.templates).values():
        template_counts[:, columns] = _multiplicities(len(columns), n_resamples, generator)
    return Resamples(clusters, entity_counts, template_counts)


def sample_scores(outcomes: Sequence[Outcome], attribute: str, resamples: Resamples) -> Sampled:
    """Score target `attribute` on the outcomes and in every resample.

    Raises SuiteError if an outcome belongs to no cluster of `resamples`.
    """
    counts = _count(outcomes, attribute, resamples.clusters)
    return sample_counts(counts, scores(outcomes, attribute), attribute, resamples)


def sample_counts(counts: Counts, point: Scores, attribute: str, resamples: Resamples) -> Sampled:
    """Return what `sample_scores` does, of outcomes that were counted and scored already."""
    clusters = resamples.clusters
    pairs = resamples.entity_counts @ counts.pairs
    right = resamples.entity_counts @ counts.right
    accuracy = np.divide(right, pairs, out=np.zeros_like(right), where=pairs > 0)
    weight = resamples.template_counts * (pairs > 0)
    means = {
        name: _weighted_mean(accuracy[:, columns], weight[:, columns])
        for name, columns in columns_by_attribute(clusters.templates).items()
    }
    draws = _draws(means, attribute, len(weight))
    return Sampled(point, draws, _spreads(counts, attribute, clusters))


def mean_spreads(parts: Sequence[Spreads | None]) -> Spreads | None:
    """Return the spreads of the mean of scores; None if one has none."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    return Spreads(
        cause=_mean_spread([part.cause for part in known]),
        isolate=_mean_spread([part.isolate for part in known]),
        disentangle=_mean_spread([part.disentangle for part in known]),
    )


def intervals_of(outcomes: Sequence[Outcome], attribute: str) -> Intervals:
    """Return the 95 % intervals of target `attribute`'s scores on these outcomes; nothing is drawn."""
    nothing_drawn = draw_resamples(clusters_of(outcomes), 0, np.random.default_rng(0))
    return sample_scores(outcomes, attribute, nothing_drawn).intervals()


def paired_difference(
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    attribute: str,
    *,
    generator: np.random.Generator,
    n_resamples: int = DEFAULT_RESAMPLES,
) -> Sampled:
    """Return the scores of `first` minus those of `second`, both resampled alike.

    Raises SuiteError unless both judge the same pairs.
    """
    check_same_pairs(first, second)
    resamples = draw_resamples(clusters_of(first), n_resamples, generator)
    return difference(sample_scores(first, attribute, resamples), sample_scores(second, attribute, resamples))


def difference(first: Sampled, second: Sampled) -> Sampled:
    """Subtract scores that were drawn on the same resamples; the counts are those of `first`."""
    a, b = first.point, second.point
    point = Scores(
        cause=_minus(a.cause, b.cause),
        isolate=_minus(a.isolate, b.isolate),
        disentangle=_minus(a.disentangle, b.disentangle),
        n_cause=a.n_cause,
        n_isolate=a.n_isolate,
    )
    draws = Draws(
        cause=first.draws.cause - second.draws.cause,
        isolate=first.draws.isolate - second.draws.isolate,
        disentangle=first.draws.disentangle - second.draws.disentangle,
    )
    return Sampled(point, draws, _minus_spreads(first.spreads, second.spreads))


def check_same_pairs(first: Sequence[Outcome], second: Sequence[Outcome]) -> None:
    """Raise SuiteError unless both judge exactly the same pairs."""
    ours, theirs = {o.pair_id for o in first}, {o.pair_id for o in second}
    if ours != theirs or len(first) != len(second):
        raise SuiteError(
            expected="two methods judged on the same pairs",
            came=f"{len(first)} and {len(second)} outcomes with {len(ours & theirs)} pairs in common",
            todo="compare outcomes of one split of one instance",
        )


def interval(draws: FloatArray, level: float = LEVEL) -> Interval | None:
    """Return the central percentile interval of the defined draws; None where almost none is defined."""
    defined = draws[~np.isnan(draws)]
    if len(defined) < min(_FEWEST_DEFINED, len(draws)) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(difference: float | None, draws: FloatArray) -> float | None:
    """Return the two-sided p-value of a difference of 0, or None where it is not defined.

    The normal tail at the difference over the standard deviation of its bootstrap draws: the share of draws
    beyond 0 can't fall below one in their number, too coarse for many comparisons at once. Where the draws do
    not vary, 1 for a difference of 0 and 0 otherwise.
    """
    defined = draws[~np.isnan(draws)]
    if difference is None or len(defined) < min(_FEWEST_DEFINED, len(draws)) or len(defined) < 2:
        return None
    spread = float(np.std(defined, ddof=1))
    if spread == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / spread / math.sqrt(2))


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


def _multiplicities(n: int, n_resamples: int, generator: np.random.Generator) -> FloatArray:
    if n == 0:
        return np.zeros((n_resamples, 0))
    drawn = generator.integers(0, n, size=(n_resamples, n))
    flat = (drawn + n * np.arange(n_resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=n_resamples * n).reshape(n_resamples, n).astype(np.float64)


def _count(outcomes: Sequence[Outcome], attribute: str, clusters: Clusters) -> Counts:
    # Counts and multiplicities are whole numbers in float64, so the products are exact on any number of
    # threads.
    shape = (len(clusters.entities), len(clusters.templates))
    cells = _cells(outcomes, clusters)
    right = [o.said_swapped if o.attribute == attribute else o.said_unchanged for o in outcomes]
    size = shape[0] * shape[1]
    return Counts(
        pairs=np.bincount(cells, minlength=size).reshape(shape).astype(np.float64),
        right=np.bincount(cells[np.array(right, dtype=bool)], minlength=size)
        .reshape(shape)
        .astype(np.float64),
    )


def _cells(outcomes: Sequence[Outcome], clusters: Clusters) -> IntArray:
    row = {entity: i for i, entity in enumerate(clusters.entities)}
    column = {template: i for i, template in enumerate(clusters.templates)}
    try:
        indices = [row[o.base_entity] * len(column) + column[o.attribute, o.base_template] for o in outcomes]
    except KeyError as error:
        raise SuiteError(
            expected="outcomes of the pairs that the resamples were drawn for",
            came=f"an outcome with {error.args[0]!r}, which is in none of them",
            todo="compare outcomes of one split of one instance",
        ) from None
    return np.array(indices, dtype=np.int64)


def _weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=1)
    mean: FloatArray = np.full_like(total, np.nan)
    np.divide((values * weights).sum(axis=1), total, out=mean, where=total > 0)
    return mean


def _draws(means: dict[str, FloatArray], attribute: str, n_resamples: int) -> Draws:
    undefined = np.full(n_resamples, np.nan)
    others = [means[name] for name in sorted(means) if name != attribute]
    caused = means.get(attribute, undefined)
    isolated = np.sum(others, axis=0) / len(others) if others else undefined
    return Draws(cause=caused, isolate=isolated, disentangle=(caused + isolated) / 2)


def _spreads(counts: Counts, attribute: str, clusters: Clusters) -> Spreads:
    of_attribute = counts.pairs.sum(axis=0)
    asked = {
        name
        for name, columns in columns_by_attribute(clusters.templates).items()
        if of_attribute[columns].any()
    }
    others = sorted(asked - {attribute})
    cause = {attribute: 1.0} if attribute in asked else {}
    isolate = {name: 1 / len(others) for name in others}
    both = {name: weight / 2 for name, weight in (cause | isolate).items()} if cause and isolate else {}
    return Spreads(*(_spread(counts, weights, clusters) for weights in (cause, isolate, both)))


def _spread(counts: Counts, weights: Mapping[str, float], clusters: Clusters) -> Spread | None:
    if not weights:
        return None
    shares = shares_of(clusters.entities, clusters.templates, counts.pairs, counts.right, weights)
    return Spread((shares,))


def _mean_spread(parts: Sequence[Spread | None]) -> Spread | None:
    known = [part for part in parts if part is not None]
    return mean_spread(known) if known and len(known) == len(parts) else None


def _minus_spreads(first: Spreads | None, second: Spreads | None) -> Spreads | None:
    if first is None or second is None:
        return None
    return Spreads(
        cause=_minus_spread(first.cause, second.cause),
        isolate=_minus_spread(first.isolate, second.isolate),
        disentangle=_minus_spread(first.disentangle, second.disentangle),
    )


def _minus_spread(first: Spread | None, second: Spread | None) -> Spread | None:
    return None if first is None or second is None else minus_spread(first, second)


def _limits(score: float | None, spread: Spread | None) -> Interval | None:
    return None if score is None or spread is None else spread.limits(score, LEVEL)


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
