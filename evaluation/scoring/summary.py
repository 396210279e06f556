"""From the outcomes of chosen cells to averages and paired comparisons; it runs no model and chooses
nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Generic, TypeVar

from evaluation.records.scores import (
    SCORE_SCHEMA_VERSION,
    AverageRecord,
    ComparisonRecord,
    JudgedCase,
    ScoredKind,
)
from evaluation.scoring.averages import Macro, average_attributes, mean_over_seeds
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.intervals import Estimates, difference, holm, measured
from evaluation.scoring.scores import of_kind
from evaluation.scoring.track import Track
from ravel.terms.schema import Generalisation, Partition

Cell = TypeVar("Cell")
Case = TypeVar("Case", bound=JudgedCase)


@dataclass(frozen=True, slots=True)
class SplitContext:
    """The split that is summed up, and what all methods share on it."""

    track: Track[Any]
    """What was asked."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    clusters: Clusters
    """Those of all cases of the split, whichever of them count."""
    source_kind: ScoredKind = "all"
    """Which cases of the split count."""


@dataclass(frozen=True, slots=True)
class SeedOutcomes(Generic[Case]):
    """What the model said in the chosen cells of one method and attribute, one cell per seed."""

    method: str
    """As on the command line."""
    attribute: str
    """The target attribute."""
    seeds: tuple[int, ...]
    """The seeds, in the order of `read`'s results."""
    read: Callable[[], Sequence[Sequence[Case]]]
    """Reads the outcomes on the split, one list per seed; called when they are needed, so that few are in
    memory at a time."""


def seed_outcomes_of(
    chosen: Mapping[tuple[str, str], Sequence[Cell]],
    seed: Callable[[Cell], int],
    read: Callable[[Cell], Sequence[Case]],
) -> list[SeedOutcomes[Case]]:
    """Return the outcomes on one split of each (method, attribute) of `chosen`, in its order.

    `chosen` holds a cell per seed, in whatever form `seed` and `read` take one; the outcomes are read late.
    """

    def reader(cells: Sequence[Cell]) -> Callable[[], list[Sequence[Case]]]:
        return lambda: [read(cell) for cell in cells]

    return [
        SeedOutcomes(method, attribute, tuple(map(seed, cells)), reader(cells))
        for (method, attribute), cells in chosen.items()
    ]


@dataclass(frozen=True, slots=True)
class MethodEstimate:
    """One method on one split: its attributes' scores, and the mean over them."""

    method: str
    """As on the command line."""
    attributes: Mapping[str, Estimates]
    """Mean over seeds, by target attribute."""
    seeds: Mapping[str, tuple[int, ...]]
    """The seeds behind each."""
    macro: Macro
    """Mean over the attributes."""


def estimate_methods(
    seed_outcomes: Sequence[SeedOutcomes[Case]], split: SplitContext
) -> list[MethodEstimate]:
    """Score every method, in the order in which methods first appear."""
    return _estimate_kinds(seed_outcomes, split, ("all",))["all"]


def _estimate_kinds(
    seed_outcomes: Sequence[SeedOutcomes[Case]], split: SplitContext, kinds: Sequence[ScoredKind]
) -> dict[ScoredKind, list[MethodEstimate]]:
    """Score every method on the cases of each kind of source; outcomes are read once for all kinds."""
    scored: dict[ScoredKind, dict[tuple[str, str], Estimates]] = {kind: {} for kind in kinds}
    for e in seed_outcomes:
        by_seed = e.read()
        for kind, found in scored.items():
            cases = [of_kind(outcomes, kind) for outcomes in by_seed]
            found[e.method, e.attribute] = mean_over_seeds(cases, e.attribute, split.clusters, split.track)
    criterion = split.track.criterion

    def estimated(found: Mapping[tuple[str, str], Estimates]) -> list[MethodEstimate]:
        return estimate_methods_by(lambda e: found[e.method, e.attribute], seed_outcomes, criterion)

    return {kind: estimated(found) for kind, found in scored.items()}


def estimate_methods_by(
    score: Callable[[SeedOutcomes[Case]], Estimates],
    seed_outcomes: Sequence[SeedOutcomes[Case]],
    criterion: str,
) -> list[MethodEstimate]:
    """Do what `estimate_methods` does with another score of a method and attribute."""
    estimates = []
    for method in dict.fromkeys(e.method for e in seed_outcomes):
        own = [e for e in seed_outcomes if e.method == method]
        attributes = {e.attribute: score(e) for e in own}
        seeds = {e.attribute: e.seeds for e in own}
        estimates.append(MethodEstimate(method, attributes, seeds, average_attributes(attributes, criterion)))
    return estimates


def split_averages(
    seed_outcomes: Sequence[SeedOutcomes[Case]], split: SplitContext
) -> tuple[list[AverageRecord], list[ComparisonRecord]]:
    """Return all that is summed up of a split: averages and, of test pairs, paired comparisons and the
    averages by kind of source."""
    kinds = split.track.kinds if split.partition == "test" else ()
    estimates, *by_kind = _estimate_kinds(seed_outcomes, split, ("all", *kinds)).values()
    averages = average_records(estimates, split)
    for kind, of_pairs in zip(kinds, by_kind, strict=True):
        records = average_records(of_pairs, replace(split, source_kind=kind))
        averages += [record for record in records if record.cases]
    return averages, comparison_records(estimates, split) if split.partition == "test" else []


def average_records(estimates: Sequence[MethodEstimate], split: SplitContext) -> list[AverageRecord]:
    """Return a record per method and attribute, and one per method over all of them."""
    records = []
    for estimate in estimates:
        for attribute, scored in sorted(estimate.attributes.items()):
            seeds = estimate.seeds[attribute]
            records.append(_average(estimate.method, "attribute", (attribute,), seeds, scored, split))
        all_seeds = tuple(sorted({seed for seeds in estimate.seeds.values() for seed in seeds}))
        macro = estimate.macro
        records.append(_average(estimate.method, "macro", macro.attributes, all_seeds, macro.mean, split))
    return records


def comparison_records(estimates: Sequence[MethodEstimate], split: SplitContext) -> list[ComparisonRecord]:
    """Return the paired difference of the macro averages for every two methods, over the attributes both
    count; p-values are adjusted for all of them together."""
    records = []
    means: dict[tuple[str, tuple[str, ...]], Estimates] = {}

    def mean_over(estimate: MethodEstimate, attributes: tuple[str, ...]) -> Estimates:
        # Most pairs of methods share all attributes, so that a method's mean over them is asked for often.
        key = (estimate.method, attributes)
        if key not in means:
            own = {a: estimate.attributes[a] for a in attributes}
            means[key] = average_attributes(own, split.track.criterion).mean
        return means[key]

    for first, second in combinations(sorted(estimates, key=lambda s: s.method), 2):
        shared = tuple(sorted(set(first.macro.attributes) & set(second.macro.attributes)))
        if shared:
            minus = difference(mean_over(first, shared), mean_over(second, shared))
            records.append(_comparison(first.method, second.method, shared, minus, split))
    adjusted = holm([record.p for record in records])
    return [replace(record, p_adjusted=value) for record, value in zip(records, adjusted, strict=True)]


def _average(
    method: str,
    scope: str,
    attributes: tuple[str, ...],
    seeds: tuple[int, ...],
    scored: Estimates,
    split: SplitContext,
) -> AverageRecord:
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
        measures=measured(scored),
        source_kind=split.source_kind,
        track=split.track.name,
        metric=split.track.metric,
    )


def _comparison(
    first: str, second: str, attributes: tuple[str, ...], minus: Estimates, split: SplitContext
) -> ComparisonRecord:
    tested = split.track.criterion
    return ComparisonRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        first=first,
        second=second,
        entity_type=split.entity_type,
        model=split.model,
        attributes=attributes,
        generalisation=split.generalisation,
        partition=split.partition,
        measures=measured(minus, counted=False),
        tested=tested,
        p=minus[tested].p_value,
        track=split.track.name,
        metric=split.track.metric,
    )
