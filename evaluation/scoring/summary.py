"""From the outcomes of chosen cells to averages and paired comparisons; it runs no model and chooses
nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from evaluation.records.scores import (
    SCORE_SCHEMA_VERSION,
    AverageRecord,
    ComparisonRecord,
    Outcome,
    ScoredKind,
)
from evaluation.scoring.averages import Macro, average_attributes, mean_over_seeds
from evaluation.scoring.intervals import Resamples, Sampled, difference, holm
from ravel.terms.schema import Generalisation, Partition

__all__ = [
    "Evidence",
    "MethodSample",
    "SplitContext",
    "average_records",
    "comparison_records",
    "sample_methods",
]


@dataclass(frozen=True, slots=True)
class SplitContext:
    """The split that is summed up, and what all methods share on it."""

    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    resamples: Resamples
    """Drawn once for the split."""
    source_kind: ScoredKind = "all"
    """Which pairs of the split count."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The chosen cells of one method and attribute, one per seed."""

    method: str
    """As on the command line."""
    attribute: str
    """The target attribute."""
    seeds: tuple[int, ...]
    """The seeds, in the order of `read`'s results."""
    read: Callable[[], Sequence[Sequence[Outcome]]]
    """Reads the outcomes on the split, one list per seed; called once, so that few are in memory at a
    time."""


@dataclass(frozen=True, slots=True)
class MethodSample:
    """One method on one split: its attributes' scores with their draws, and the mean over them."""

    method: str
    """As on the command line."""
    attributes: Mapping[str, Sampled]
    """Mean over seeds, by target attribute."""
    seeds: Mapping[str, tuple[int, ...]]
    """The seeds behind each."""
    macro: Macro
    """Mean over the attributes."""


def sample_methods(evidence: Sequence[Evidence], resamples: Resamples) -> list[MethodSample]:
    """Score every method on shared resamples, in the order in which methods first appear."""
    samples = []
    for method in dict.fromkeys(e.method for e in evidence):
        own = [e for e in evidence if e.method == method]
        attributes = {e.attribute: mean_over_seeds(e.read(), e.attribute, resamples) for e in own}
        seeds = {e.attribute: e.seeds for e in own}
        samples.append(MethodSample(method, attributes, seeds, average_attributes(attributes)))
    return samples


def average_records(samples: Sequence[MethodSample], split: SplitContext) -> list[AverageRecord]:
    """Return a record per method and attribute, and one per method over all of them."""
    records = []
    for sample in samples:
        for attribute in sorted(sample.attributes):
            seeds = sample.seeds[attribute]
            records.append(
                _average(sample.method, "attribute", (attribute,), seeds, sample.attributes[attribute], split)
            )
        all_seeds = tuple(sorted({seed for seeds in sample.seeds.values() for seed in seeds}))
        macro = sample.macro
        records.append(_average(sample.method, "macro", macro.attributes, all_seeds, macro.mean, split))
    return records


def comparison_records(samples: Sequence[MethodSample], split: SplitContext) -> list[ComparisonRecord]:
    """Return the paired difference of the macro averages for every two methods, over the attributes both
    count; p-values are adjusted for all of them together."""
    records = []
    for first, second in combinations(sorted(samples, key=lambda s: s.method), 2):
        shared = sorted(set(first.macro.attributes) & set(second.macro.attributes))
        if shared:
            records.append(_comparison(first, second, tuple(shared), split))
    adjusted = holm([record.disentangle_p for record in records])
    return [
        replace(record, disentangle_p_adjusted=value) for record, value in zip(records, adjusted, strict=True)
    ]


def _average(
    method: str,
    scope: str,
    attributes: tuple[str, ...],
    seeds: tuple[int, ...],
    sampled: Sampled,
    split: SplitContext,
) -> AverageRecord:
    point, intervals = sampled.point, sampled.intervals()
    return AverageRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        method=method,
        entity_type=split.entity_type,
        model=split.model,
        scope=scope,
        attributes=attributes,
        seeds=seeds,
        generalisation=split.generalisation,
        partition=split.partition,
        cause=point.cause,
        isolate=point.isolate,
        disentangle=point.disentangle,
        n_cause=point.n_cause,
        n_isolate=point.n_isolate,
        cause_interval=intervals.cause,
        isolate_interval=intervals.isolate,
        disentangle_interval=intervals.disentangle,
        source_kind=split.source_kind,
    )


def _comparison(
    first: MethodSample, second: MethodSample, attributes: tuple[str, ...], split: SplitContext
) -> ComparisonRecord:
    both = [average_attributes({a: s.attributes[a] for a in attributes}).mean for s in (first, second)]
    minus = difference(both[0], both[1])
    point, intervals = minus.point, minus.intervals()
    return ComparisonRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        first=first.method,
        second=second.method,
        entity_type=split.entity_type,
        model=split.model,
        attributes=attributes,
        generalisation=split.generalisation,
        partition=split.partition,
        cause=point.cause,
        isolate=point.isolate,
        disentangle=point.disentangle,
        cause_interval=intervals.cause,
        isolate_interval=intervals.isolate,
        disentangle_interval=intervals.disentangle,
        disentangle_p=minus.disentangle_p(),
    )
