"""Cause, isolate and disentangle of outcomes with where their uncertainty comes from; it runs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import Clusters, Counts
from evaluation.scoring.interchange.metrics import (
    Rounding,
    Scores,
    Share,
    isolate_from,
    mean_share,
    rounded,
)
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.mean import mean, midpoint
from evaluation.scoring.variance import Deviations, Spread, contributions_of


def estimate_scores(
    outcomes: Sequence[Outcome], attribute: str, clusters: Clusters, *, rounding: Rounding = "none"
) -> dict[str, Estimate]:
    """Score target `attribute` on the outcomes; `rounding` moves values, never the width of an interval.
    Raises SuiteError for an outcome of another cluster."""
    counts = count(outcomes, attribute, clusters)
    return estimate_counts(
        counts, scores_of_counts(counts, attribute, clusters, rounding), attribute, clusters
    )


def scores_of_counts(
    counts: Counts, attribute: str, clusters: Clusters, rounding: Rounding = "none"
) -> Scores:
    """Return to the last bit what `metrics.scores` does of the outcomes that were counted for a target."""
    pairs, right = counts.pairs.sum(axis=0), counts.right.sum(axis=0)
    shares = {}
    for name, columns in clusters.used(pairs).items():
        of_templates = [rounded(share, rounding) for share in (right[columns] / pairs[columns]).tolist()]
        shares[name] = Share(mean(of_templates), int(pairs[columns].sum()))
    caused = shares.pop(attribute, Share(None, 0))
    isolated = mean_share(shares.values())
    both = midpoint(caused.value, isolated.value)
    return Scores(caused.value, isolated.value, both, n_cause=caused.n, n_isolate=isolated.n)


def estimate_kept(outcomes: Sequence[Outcome], attribute: str, clusters: Clusters) -> Estimate:
    """Return the share of an attribute's own pairs that keep the base's answer, a mean over its templates as
    cause is. Raises SuiteError for an outcome of another cluster."""
    own = [outcome for outcome in outcomes if outcome.attribute == attribute]
    share = isolate_from(own, attribute)
    if not own:
        return Estimate(None, 0)
    cells = clusters.cells(own)
    kept = np.array([outcome.said_unchanged for outcome in own], dtype=bool)
    counts = Counts(clusters.counted(cells), clusters.counted(cells[kept]))
    return Estimate(share.value, share.n, Spread((contributions_of(clusters, counts, {attribute: 1.0}),)))


def estimate_counts(counts: Counts, point: Scores, attribute: str, clusters: Clusters) -> dict[str, Estimate]:
    """Return what `estimate_scores` does, of outcomes that were counted and scored already."""
    apart = Deviations.of(clusters, counts)

    def spread(weights: Mapping[str, float]) -> Spread:
        return Spread((apart.weighted(weights),))

    return estimates_of(point, spread, attribute, apart.used)


def estimates_of(
    point: Scores, spread: Callable[[Mapping[str, float]], Spread | None], target: str, asked: Iterable[str]
) -> dict[str, Estimate]:
    """Return the scores of a target with their spreads by `spread`, which is given the weights of
    attributes."""
    weights = attribute_weights(target, asked)
    cause, isolate, disentangle = (spread(part) if part else None for part in weights)
    return {
        "cause": Estimate(point.cause, point.n_cause, cause),
        "isolate": Estimate(point.isolate, point.n_isolate, isolate),
        "disentangle": Estimate(point.disentangle, None, disentangle),
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


def count(outcomes: Sequence[Outcome], target: str, clusters: Clusters) -> Counts:
    """Count outcomes, and those that are as the target attribute asks for: swapped where the pair asks for
    it, unchanged elsewhere.

    Raises SuiteError for an outcome of another cluster.
    """
    cells = clusters.cells(outcomes)
    right = [o.said_swapped if o.attribute == target else o.said_unchanged for o in outcomes]
    return Counts(clusters.counted(cells), clusters.counted(cells[np.array(right, dtype=bool)]))
