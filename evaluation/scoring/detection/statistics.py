"""A number that cases give, with how far each case moves it: what areas under curves and shares have in
common. It knows no scores and no values.

To first order a number moves by the sum of what its cases add to it (its influence function; for areas under
ROC curves DeLong et al. 1988, Biometrics 44). Sums, multiples and smooth functions of such numbers have
theirs by the chain rule, so that the intervals of a macro average see the entities and templates that its
parts share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.scoring.clusters import Clusters, FloatArray, IntArray
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.variance import Contributions, Spread


@dataclass(frozen=True, slots=True)
class Statistic:
    """A number, and what moves it."""

    value: float
    """The number."""
    cases: FloatArray
    """What each case adds to it by being itself, [n_cases]; sums to 0 within a template."""
    templates: FloatArray
    """What each template adds to it by differing from the others of its attribute, [n_templates]; sums to
    0."""
    shares: FloatArray
    """Weight of each template in it, [n_templates]; sums to 1."""
    positives: FloatArray
    """Number of cases of the scarcer kind behind each template's part, [n_templates]: positives, mostly."""

    def scaled(self, factor: float, offset: float = 0.0) -> Statistic:
        """Return `factor` times the number plus `offset`."""
        cases, templates = factor * self.cases, factor * self.templates
        return Statistic(factor * self.value + offset, cases, templates, self.shares, self.positives)

    def with_value(self, value: float) -> Statistic:
        """Return another number that is moved alike."""
        return Statistic(value, self.cases, self.templates, self.shares, self.positives)

    def plus(self, other: Statistic) -> Statistic:
        """Return the sum with a number of the same cases and templates."""
        cases, templates = self.cases + other.cases, self.templates + other.templates
        return Statistic(self.value + other.value, cases, templates, self.shares, self.positives)


def mean_over_templates(parts: Sequence[tuple[int, Statistic]], n_templates: int) -> Statistic:
    """Return the mean of numbers of single templates, given with the template's column; one at least."""
    columns = np.array([column for column, _ in parts])
    values = np.array([part.value for _, part in parts])
    value = math.fsum(values) / len(values)
    templates, shares, positives = (np.zeros(n_templates) for _ in range(3))
    templates[columns] = (values - value) / len(values)
    shares[columns] = 1 / len(values)
    for column, part in parts:
        positives[column] = part.positives[column]
    return Statistic(
        value, np.sum([part.cases for _, part in parts], axis=0) / len(parts), templates, shares, positives
    )


def mean_over_values(parts: Sequence[Statistic]) -> Statistic:
    """Return the unweighted mean of numbers, one at least; the positives of several values are different
    cases, so that their numbers add up."""
    n = len(parts)
    return Statistic(
        math.fsum(part.value for part in parts) / n,
        np.sum([part.cases for part in parts], axis=0) / n,
        np.sum([part.templates for part in parts], axis=0) / n,
        np.sum([part.shares for part in parts], axis=0) / n,
        np.sum([part.positives for part in parts], axis=0),
    )


def estimate_of(found: Statistic, clusters: Clusters, cells: IntArray, n: int) -> Estimate:
    """Return a number with its components of variance; `cells` says where each case is counted
    (`Clusters.cells`), `n` how many cases are behind it."""
    some = np.maximum(found.positives, 1)
    counts = Contributions(
        clusters=clusters,
        within=clusters.counted(cells, found.cases),
        between=found.templates,
        weights=np.where(found.shares > 0, found.shares / some, 0.0),
        pairs=np.where(found.shares > 0, some, 0.0),
    )
    return Estimate(found.value, n, Spread((counts,)))
