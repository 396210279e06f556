"""Averages over seeds and attributes; it knows outcomes, no files and no tables.

What the scores of a split share (the entities and the templates that happened to be drawn) stays shared in
their average, so that its interval is neither too wide nor too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.records.scores import JudgedCase
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.intervals import Estimate, Estimates, mean_of
from evaluation.scoring.track import Track
from ravel.common.errors import SuiteError

OutcomesBySeed = Sequence[Sequence[JudgedCase]]
"""The outcomes of one target attribute's featurizer, one list per seed, all on the same cases."""


@dataclass(frozen=True, slots=True)
class Macro:
    """An unweighted mean over target attributes."""

    mean: Estimates
    """The mean; all None if no attribute counts."""
    attributes: tuple[str, ...]
    """The attributes that count, sorted."""
    left_out: tuple[str, ...]
    """Attributes without what the criterion needs: a cause pair or an isolate pair, say."""


def mean_of_seeds(parts: Sequence[Estimates]) -> dict[str, Estimate]:
    """Return the mean of one target's measures, a seed each; the counts are those of one seed, for the cases
    are the same."""
    return {name: replace(found, n=parts[0][name].n) for name, found in mean_of(parts).items()}


def mean_over_seeds(
    by_seed: OutcomesBySeed, attribute: str, clusters: Clusters, track: Track[Any]
) -> dict[str, Estimate]:
    """Score one target for each seed and return the mean.

    Raises SuiteError if the seeds were judged on different cases.
    """
    for other in by_seed[1:]:
        check_same_cases(by_seed[0], other)
    return mean_of_seeds([track.estimate(outcomes, attribute, clusters) for outcomes in by_seed])


def average_attributes(parts: Mapping[str, Estimates], criterion: str) -> Macro:
    """Return the mean over attributes that were scored already, one at least.

    An attribute counts if it has the criterion, so that a measure that is the mean of others stays that.
    """
    counted = tuple(a for a in sorted(parts) if parts[a][criterion].value is not None)
    left_out = tuple(a for a in sorted(parts) if a not in counted)
    like = next(iter(parts.values()))
    return Macro(mean_of([parts[a] for a in counted], like), counted, left_out)


def check_same_cases(first: Sequence[JudgedCase], second: Sequence[JudgedCase]) -> None:
    """Raise SuiteError unless both judge exactly the same cases."""
    ours, theirs = {o.case_id for o in first}, {o.case_id for o in second}
    if ours != theirs or len(first) != len(second):
        raise SuiteError(
            expected="two methods judged on the same cases",
            came=f"{len(first)} and {len(second)} outcomes with {len(ours & theirs)} cases in common",
            todo="compare outcomes of one split of one instance",
        )
