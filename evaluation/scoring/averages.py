"""Averages over seeds and attributes; it knows outcomes, no files and no tables.

What the scores of a split share (the entities and the templates that happened to be drawn) stays shared in
their average, so that its interval is neither too wide nor too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.intervals import ScoreEstimate, estimate_scores, mean_of
from ravel.common.errors import SuiteError

__all__ = [
    "Macro",
    "average_attributes",
    "check_same_pairs",
    "macro_average",
    "mean_of_seeds",
    "mean_over_seeds",
]

OutcomesBySeed = Sequence[Sequence[Outcome]]
"""The outcomes of one target attribute's featurizer, one list per seed, all on the same pairs."""


@dataclass(frozen=True, slots=True)
class Macro:
    """An unweighted mean over target attributes."""

    mean: ScoreEstimate
    """The mean; all None if no attribute counts."""
    attributes: tuple[str, ...]
    """The attributes that count, sorted."""
    left_out: tuple[str, ...]
    """Attributes without a cause pair or without an isolate pair."""


def mean_of_seeds(parts: Sequence[ScoreEstimate]) -> ScoreEstimate:
    """Return the mean of one target's scores, a seed each; the counts are those of one seed, for the pairs
    are the same."""
    mean, one = mean_of(parts), parts[0].point
    return replace(mean, point=replace(mean.point, n_cause=one.n_cause, n_isolate=one.n_isolate))


def mean_over_seeds(by_seed: OutcomesBySeed, attribute: str, clusters: Clusters) -> ScoreEstimate:
    """Score one target for each seed and return the mean.

    Raises SuiteError if the seeds were judged on different pairs.
    """
    for other in by_seed[1:]:
        check_same_pairs(by_seed[0], other)
    return mean_of_seeds([estimate_scores(outcomes, attribute, clusters) for outcomes in by_seed])


def macro_average(targets: Mapping[str, OutcomesBySeed], clusters: Clusters) -> Macro:
    """Return the mean over target attributes, each the mean over its seeds."""
    return average_attributes({a: mean_over_seeds(targets[a], a, clusters) for a in sorted(targets)})


def average_attributes(parts: Mapping[str, ScoreEstimate]) -> Macro:
    """Return the mean over attributes that were scored already.

    An attribute counts if it has both cause and isolate pairs, so that disentangle stays the mean of the
    other two.
    """
    counted = tuple(a for a in sorted(parts) if parts[a].point.disentangle is not None)
    left_out = tuple(a for a in sorted(parts) if a not in counted)
    return Macro(mean_of([parts[a] for a in counted]), counted, left_out)


def check_same_pairs(first: Sequence[Outcome], second: Sequence[Outcome]) -> None:
    """Raise SuiteError unless both judge exactly the same pairs."""
    ours, theirs = {o.pair_id for o in first}, {o.pair_id for o in second}
    if ours != theirs or len(first) != len(second):
        raise SuiteError(
            expected="two methods judged on the same pairs",
            came=f"{len(first)} and {len(second)} outcomes with {len(ours & theirs)} pairs in common",
            todo="compare outcomes of one split of one instance",
        )
