"""How far a score may be from its expectation over new entities and templates: components of variance,
quantiles, limits. It knows counts, no outcomes and no methods.

A score is a weighted sum over pairs, so that an average or a difference of scores is one too. What each
entity and each template adds to it is kept (`Contributions`) and averaged or subtracted with the score; only
then is it squared. With templates held fixed, entities are clusters:

    fixed = n_entities / (n_entities - 1) * sum over entities of (what the entity adds)^2.

Templates differ by chance of their pairs and by themselves. The spread of an attribute's n template means,

    seen = n / (n - 1) * sum over templates of (what the template adds)^2,

is compared with `expected`, what the entities alone would make of it; only an excess says that templates
differ. Each part counts with its own quantile of Student's t (after Graybill & Wang 1980, JASA 75):

    reach^2 = t_entities^2 * fixed + max(0, t_templates * (t_templates * seen - z * expected)),

seen and expected added up over attributes, z the normal quantile. With many templates t_templates is z, and
this is z^2 times the moment estimator of the variance for crossed random effects. With few it is large.
Taking `expected` off with z^2 would be too careful where templates don't differ, with t_templates^2 too bold
where they do; the middle is what simulation favours (`benchmarks/coverage.py`).

The degrees of freedom of t_templates are Satterthwaite's (1946, Biometrics Bulletin 2) for the sum over
attributes, n - 1 each, weighted by `seen` or by `expected`, whichever gives fewer. Those of t_entities are
twice the effective number of entities, (sum of squares)^2 / sum of fourth powers, so that a handful of
failures does not pass for a hundred entities. With entities as clusters no model of them is needed (Cameron,
Gelbach & Miller 2011, J. Business & Economic Statistics 29).

The limits of a difference are the difference plus and minus the reach. Those of a score solve |score - s| =
reach, where reach^2 changes with s as s (1 - s) does (Wilson 1927, JASA 22). The number of pairs in it is the
number of independent pairs that would be as uncertain (Korn & Graubard 1998, Survey Methodology 24). The
limits stay in [0, 1]. Where all pairs agree, nothing can be estimated, so that two pairs of the average
weight are added to `fixed` (after Agresti & Coull 1998, The American Statistician 52), and one that differs
to that of a difference (after Agresti & Min 2005, Statistics in Medicine 24).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import stdtrit

from evaluation.scoring.clusters import Clusters, Counts, FloatArray, IntArray
from ravel.common.seeds import grouped

_LEAST_P = 1e-12


@dataclass(frozen=True, slots=True)
class Contributions:
    """What the entities and templates of one split add to a score."""

    clusters: Clusters
    """Base entities are the rows, templates the columns."""
    within: FloatArray
    """What an entity adds by being right more often than others under a template, [n_entities,
    n_templates]; each column sums to 0."""
    between: FloatArray
    """What a template adds by being right more often than others of its attribute, [n_templates]; each
    attribute's sum to 0."""
    weights: FloatArray
    """Weight of a pair of each template in the score, [n_templates]; 0 where the template doesn't count."""
    pairs: FloatArray
    """Pairs of each template, [n_templates]."""


@dataclass(frozen=True, slots=True)
class Deviations:
    """What `Contributions` are made of, whatever the weights of attributes."""

    clusters: Clusters
    """Base entities are the rows, templates the columns."""
    used: Mapping[str, IntArray]
    """By attribute, the columns of its templates that have pairs; only attributes that have one."""
    within: FloatArray
    """By how many pairs more than others an entity is right under a template, [n_entities, n_templates]."""
    between: FloatArray
    """By how much a template is right more often than others of its attribute, [n_templates]."""
    pairs: FloatArray
    """Pairs of each template, [n_templates]."""

    @classmethod
    def of(cls, clusters: Clusters, counts: Counts) -> Deviations:
        """Return those of outcomes that were counted."""
        of_template = counts.pairs.sum(axis=0)
        accuracy = counts.right.sum(axis=0) / np.maximum(of_template, 1)
        used, between = clusters.used(of_template), np.zeros_like(of_template)
        for columns in used.values():
            own = accuracy[columns]
            between[columns] = own - own.mean()
        return cls(clusters, used, counts.right - accuracy * counts.pairs, between, of_template)

    def weighted(self, attribute_weights: Mapping[str, float]) -> Contributions:
        """Return what they add to a mean over attributes with these weights, as `contributions_of` does."""
        asked = tuple(attribute_weights.items())
        shares, weights, widened = _weights_of(self.clusters, self.pairs.tobytes(), asked)
        return Contributions(self.clusters, self.within * widened, shares * self.between, weights, self.pairs)


# All cells of a grid are judged on the same pairs.
@lru_cache(maxsize=1024)
def _weights_of(
    clusters: Clusters, counted: bytes, attribute_weights: tuple[tuple[str, float], ...]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what each template weighs in a mean over attributes, what a pair of it weighs, and the same for
    what is within a template, each [n_templates]; `counted` are the templates' numbers of pairs."""
    pairs, of_attribute = np.frombuffer(counted), dict(attribute_weights)
    shares, some = np.zeros_like(pairs), np.maximum(pairs, 1)
    for attribute, columns in clusters.used(pairs).items():
        if attribute in of_attribute:
            shares[columns] = of_attribute[attribute] / len(columns)
    weights = shares / np.where(pairs > 0, pairs, 1)
    # Residuals of a mean that was estimated are too small by this much.
    widened = weights * np.sqrt(some / np.maximum(pairs - 1, 1))
    for found in (shares, weights, widened):
        found.setflags(write=False)
    return shares, weights, widened


@dataclass(frozen=True, slots=True)
class _Parts:
    fixed: float
    """The variance with these templates."""
    entities_df: float
    """Its degrees of freedom."""
    seen: float
    """The variance of the means over templates, from how much templates differ."""
    expected: float
    """The same, if they differed by their entities only."""
    templates_df: float
    """Degrees of freedom of `seen`."""
    weight: float
    """The mean weight of a pair."""

    def reach(self, beyond: float) -> float:
        """How far the score may be from the truth, further on either side with chance `beyond`."""
        entities, templates = _exceeded(beyond, self.entities_df), _exceeded(beyond, self.templates_df)
        normal = _exceeded(beyond, math.inf)
        excess = max(0.0, templates * (templates * self.seen - normal * self.expected))
        return math.sqrt(entities**2 * self.fixed + excess)


@dataclass(frozen=True, slots=True)
class Spread:
    """The uncertainty of a score, of an average of scores, or of a difference of such averages."""

    splits: tuple[Contributions, ...]
    """One per set of clusters; different sets are independent."""
    signed: bool = False
    """True for a difference, which may be negative."""

    def limits(self, score: float, level: float) -> tuple[float, float]:
        """Return the ends of the interval around a score; they hold the score, and are in [0, 1] unless it
        is a difference."""
        parts = self._parts()
        reach = parts.reach((1 - level) / 2)
        if self.signed:
            return score - reach, score + reach
        # As many independent pairs would be as uncertain; where all pairs agree, those that there are.
        varied = max(0.0, score * (1 - score))
        each = reach**2 / (varied + 2 * parts.weight)
        middle = score + each / 2
        half = math.sqrt(each * varied + each**2 / 4)
        low, high = (middle - half) / (1 + each), (middle + half) / (1 + each)
        return max(0.0, min(low, score)), min(1.0, max(high, score))

    def p_value(self, difference: float) -> float:
        """Return the two-sided p-value of a true difference of 0: the least p of which the interval of level
        1 - p leaves 0 out. None is below 1e-12."""
        parts, apart = self._parts(), abs(difference)
        if apart == 0 or apart >= parts.reach(_LEAST_P / 2):
            return 1.0 if apart == 0 else _LEAST_P
        # By halves, on the scale of the logarithm: the reach grows as p falls.
        low, high = math.log(_LEAST_P), 0.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (low, middle) if parts.reach(math.exp(middle) / 2) < apart else (middle, high)
        return math.exp((low + high) / 2)

    def _parts(self) -> _Parts:
        fixed = of_fixed = 0.0
        seen, expected, freedom = [], [], []
        for split in self.splits:
            own, df = _fixed(split)
            fixed, of_fixed = fixed + own, of_fixed + own**2 / df
            for of_attribute in _of_attributes(split):
                seen.append(of_attribute.seen)
                expected.append(of_attribute.expected)
                freedom.append(of_attribute.templates - 1)
        weight = self._average_weight()
        added = (1 if self.signed else 2) * weight**2
        # Differences of floats of this size are no excess.
        total = sum(seen) if sum(seen) > 1e-12 * fixed else 0.0
        return _Parts(
            fixed=fixed + added,
            entities_df=fixed**2 / of_fixed if of_fixed > 0 else math.inf,
            seen=total,
            expected=sum(expected),
            templates_df=max(1.0, min(_satterthwaite(seen, freedom), _satterthwaite(expected, freedom))),
            weight=weight,
        )

    def _average_weight(self) -> float:
        """The mean weight of a pair, pairs taken by their weight: 1 / n for n pairs of equal weight."""
        return float(sum(np.sum(split.pairs * split.weights**2) for split in self.splits))


def contributions_of(
    clusters: Clusters, counts: Counts, attribute_weights: Mapping[str, float]
) -> Contributions:
    """Take apart a weighted mean over attributes of means over templates of shares of pairs.

    Attributes without a weight don't count, nor do templates without pairs.
    """
    return Deviations.of(clusters, counts).weighted(attribute_weights)


def mean_spread(parts: Sequence[Spread]) -> Spread:
    """Return the spread of the mean of scores, from theirs; scores of one split keep what they share."""
    by_clusters = grouped((split for part in parts for split in part.splits), lambda split: split.clusters)
    means = tuple(_summed(group, 1 / len(parts)) for group in by_clusters.values())
    return Spread(means, signed=any(part.signed for part in parts))


def minus_spread(first: Spread, second: Spread) -> Spread:
    """Return the spread of a difference of scores of the same splits."""
    splits = tuple(_difference(a, b) for a, b in zip(first.splits, second.splits, strict=True))
    return Spread(splits, signed=True)


def combined(parts: Sequence[tuple[float, Contributions]]) -> Contributions:
    """Return what entities and templates add to a sum of numbers of one split, each times a factor; to first
    order also to a function of the numbers, whose slopes the factors then are."""
    return replace(
        parts[0][1],
        within=np.sum([factor * part.within for factor, part in parts], axis=0),
        between=np.sum([factor * part.between for factor, part in parts], axis=0),
        weights=np.sum([abs(factor) * part.weights for factor, part in parts], axis=0),
        pairs=np.max([part.pairs for _, part in parts], axis=0),
    )


@lru_cache(maxsize=4096)
def _exceeded(share: float, df: float) -> float:
    """Return the value that a variable of Student's t exceeds with chance `share`."""
    return -float(stdtrit(df, share))


def _summed(group: Sequence[Contributions], factor: float) -> Contributions:
    if len(group) == 1 and factor == 1:
        return group[0]
    return replace(
        group[0],
        within=np.sum([s.within for s in group], axis=0) * factor,
        between=np.sum([s.between for s in group], axis=0) * factor,
        weights=np.sum([s.weights for s in group], axis=0) * factor,
        pairs=np.max([s.pairs for s in group], axis=0),
    )


def _difference(first: Contributions, second: Contributions) -> Contributions:
    return replace(
        first,
        within=first.within - second.within,
        between=first.between - second.between,
        weights=np.maximum(first.weights, second.weights),
        pairs=np.maximum(first.pairs, second.pairs),
    )


def _fixed(split: Contributions) -> tuple[float, float]:
    """The variance with these templates, and its degrees of freedom."""
    squares = split.within.sum(axis=1) ** 2
    total, number = float(squares.sum()), int(np.count_nonzero(split.within.any(axis=1)))
    if total == 0:
        return 0.0, 1.0
    return total * number / max(number - 1, 1), 2 * total**2 / float(np.sum(squares**2))


@dataclass(frozen=True, slots=True)
class _OfAttribute:
    templates: int
    """Number of templates that count."""
    seen: float
    """The variance of their mean, from how much they differ."""
    expected: float
    """The same, if they differed by their entities only."""


def _of_attributes(split: Contributions) -> list[_OfAttribute]:
    """Return the variances of the attributes with several templates that count, in the order of `columns`."""
    found: dict[int, _OfAttribute] = {}
    for places, columns in _alike(split.clusters, (split.weights > 0).tobytes()):
        number = columns.shape[1]
        factor = number / (number - 1)
        within = np.ascontiguousarray(split.within.T[columns])
        squares = np.sum((within**2).reshape(len(columns), -1), axis=1)
        apart = squares - np.sum(within.sum(axis=1) ** 2, axis=1) / number
        seen = factor * np.sum(split.between[columns] ** 2, axis=1)
        expected = factor * np.maximum(0.0, apart)
        for place, one, other in zip(places, seen.tolist(), expected.tolist(), strict=True):
            found[place] = _OfAttribute(number, one, other)
    return [found[place] for place in sorted(found)]


@lru_cache(maxsize=256)
def _alike(clusters: Clusters, counts: bytes) -> list[tuple[list[int], IntArray]]:
    """Return attributes with as many templates that count, several each: their places among all attributes,
    and the columns, [n_attributes, n_templates]. They are summed together."""
    counted = np.frombuffer(counts, dtype=bool)
    own = enumerate(columns[counted[columns]] for columns in clusters.columns().values())
    groups = grouped(((p, c) for p, c in own if len(c) > 1), lambda member: len(member[1]))
    return [([p for p, _ in group], np.array([c for _, c in group])) for group in groups.values()]


def _satterthwaite(parts: Sequence[float], freedom: Sequence[int]) -> float:
    squares = sum(part**2 / df for part, df in zip(parts, freedom, strict=True))
    return sum(parts) ** 2 / squares if squares > 0 else math.inf
