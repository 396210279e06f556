"""Averages over seeds, attributes and entity types, drawn jointly; it knows outcomes, no files and no tables.

An average is formed within each resample, so that what two attributes, seeds or methods share (the entities
and the templates that happened to be drawn) stays shared, and the interval of the average is neither too wide
nor too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.records.scores import Outcome
from evaluation.scoring.intervals import (
    Draws,
    FloatArray,
    Resamples,
    Sampled,
    check_same_pairs,
    difference,
    mean_spreads,
    sample_scores,
)
from evaluation.scoring.metrics import Scores

__all__ = ["Macro", "macro_average", "macro_difference", "mean_of", "mean_over_seeds", "mean_over_types"]

OutcomesBySeed = Sequence[Sequence[Outcome]]
"""The outcomes of one target attribute's featurizer, one list per seed, all on the same pairs."""


@dataclass(frozen=True, slots=True)
class Macro:
    """An unweighted mean over target attributes."""

    mean: Sampled
    """The mean with its draws; all None if no attribute counts."""
    attributes: tuple[str, ...]
    """The attributes that count, sorted."""
    left_out: tuple[str, ...]
    """Attributes without a cause pair or without an isolate pair."""


def mean_of(parts: Sequence[Sampled]) -> Sampled:
    """Return the unweighted mean of scores, in the point and in each draw; counts are added."""
    return Sampled(
        point=Scores(
            cause=_mean([p.point.cause for p in parts]),
            isolate=_mean([p.point.isolate for p in parts]),
            disentangle=_mean([p.point.disentangle for p in parts]),
            n_cause=sum(p.point.n_cause for p in parts),
            n_isolate=sum(p.point.n_isolate for p in parts),
        ),
        draws=Draws(
            cause=_mean_draws([p.draws.cause for p in parts]),
            isolate=_mean_draws([p.draws.isolate for p in parts]),
            disentangle=_mean_draws([p.draws.disentangle for p in parts]),
        ),
        spreads=mean_spreads([p.spreads for p in parts]),
    )


def mean_over_seeds(by_seed: OutcomesBySeed, attribute: str, resamples: Resamples) -> Sampled:
    """Return the mean score of one target over its seeds; the counts are those of one seed, for the pairs are
    the same.

    Raises SuiteError if the seeds were judged on different pairs.
    """
    for other in by_seed[1:]:
        check_same_pairs(by_seed[0], other)
    parts = [sample_scores(outcomes, attribute, resamples) for outcomes in by_seed]
    mean, one = mean_of(parts), parts[0].point
    point = Scores(
        mean.point.cause,
        mean.point.isolate,
        mean.point.disentangle,
        n_cause=one.n_cause,
        n_isolate=one.n_isolate,
    )
    return Sampled(point, mean.draws, mean.spreads)


def macro_average(targets: Mapping[str, OutcomesBySeed], resamples: Resamples) -> Macro:
    """Return the mean over target attributes (each the mean over its seeds) on shared resamples.

    An attribute counts if it has both cause and isolate pairs, so that disentangle stays the mean of the
    other two.
    """
    return average_attributes({a: mean_over_seeds(targets[a], a, resamples) for a in sorted(targets)})


def average_attributes(parts: Mapping[str, Sampled]) -> Macro:
    """Return the mean over attributes that were scored already, on shared resamples."""
    counted = tuple(a for a in sorted(parts) if parts[a].point.disentangle is not None)
    left_out = tuple(a for a in sorted(parts) if a not in counted)
    return Macro(mean_of([parts[a] for a in counted]), counted, left_out)


def macro_difference(
    first: Mapping[str, OutcomesBySeed], second: Mapping[str, OutcomesBySeed], resamples: Resamples
) -> Sampled:
    """Return the macro average of one method minus another's, over the attributes both have, on shared
    resamples.

    Raises SuiteError if the two were judged on different pairs.
    """
    shared = sorted(first.keys() & second.keys())
    for attribute in shared:
        check_same_pairs(first[attribute][0], second[attribute][0])
    a = macro_average({attribute: first[attribute] for attribute in shared}, resamples)
    b = macro_average({attribute: second[attribute] for attribute in shared}, resamples)
    return difference(a.mean, b.mean)


def mean_over_types(macros: Sequence[Macro]) -> Sampled:
    """Return the unweighted mean over entity types; each type must have been resampled by a generator of its
    own."""
    return mean_of([macro.mean for macro in macros if macro.attributes])


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    if not defined or len(defined) < len(values):
        return None
    return math.fsum(defined) / len(defined)


def _mean_draws(draws: Sequence[FloatArray]) -> FloatArray:
    if not draws:
        return np.full(0, np.nan)
    mean: FloatArray = np.sum(draws, axis=0) / len(draws)
    return mean
