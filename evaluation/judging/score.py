"""From outcomes to score records: one per target attribute; it knows no grid, no files and no selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.judging.judge import DEFAULT_LABEL_TOKENS, judge
from evaluation.records.scores import SCORE_SCHEMA_VERSION, Outcome, ScoredKind, ScoreRecord
from evaluation.scoring.intervals import (
    DEFAULT_RESAMPLES,
    Clustered,
    Resamples,
    clusters_of,
    draw_resamples,
    sample_scores,
)
from evaluation.scoring.metrics import Rounding, scores
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.seeds import numpy_stream
from ravel.facts.schema import Generalisation, Partition, split_name
from ravel.instance.instance import Instance

__all__ = ["Subject", "of_kind", "score_featurizer", "score_outcomes", "split_resamples"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is scored, as the records name it."""

    cell: str
    """Hash of all that determines the result."""
    method: str
    """The method that made the featurizer."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    site: Site
    """Where the featurizer acts."""
    size: int
    """Number of coordinates it swaps."""
    seed: int
    """Root of the fit's random streams."""


def score_featurizer(
    instance: Instance,
    engine: Engine,
    featurizer: Featurizer,
    subject: Subject,
    *,
    generalisation: Generalisation,
    partition: Partition,
    attributes: Sequence[str],
    label_tokens: int = DEFAULT_LABEL_TOKENS,
    tolerance: bool = True,
    n_resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    rounding: Rounding = "none",
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoreRecord]:
    """Judge a featurizer on one split, once, and score it for each target attribute.

    `label_tokens` and `tolerance` are those of `judge`; `seed` is the root of the bootstrap's stream. Raises
    SuiteError for an unknown attribute or a split without pairs.
    """
    for attribute in attributes:
        if attribute not in instance.attributes:
            raise unknown_name(
                f"attribute of this {instance.entity_type} instance", attribute, instance.attributes
            )
    split = split_name(generalisation, partition)
    require_pairs(instance, split)
    outcomes = judge(
        instance,
        split,
        engine,
        subject.site,
        featurizer,
        label_tokens=label_tokens,
        tolerance=tolerance,
        progress=progress,
    )
    resamples = split_resamples(outcomes, split, n_resamples=n_resamples, seed=seed)
    return [
        score_outcomes(
            outcomes,
            attribute,
            subject,
            resamples,
            generalisation=generalisation,
            partition=partition,
            rounding=rounding,
        )
        for attribute in attributes
    ]


def score_outcomes(
    outcomes: Sequence[Outcome],
    attribute: str,
    subject: Subject,
    resamples: Resamples,
    *,
    generalisation: Generalisation,
    partition: Partition,
    rounding: Rounding = "none",
    chosen: bool = False,
    source_kind: ScoredKind = "all",
) -> ScoreRecord:
    """Score one target attribute on outcomes that were judged already; intervals are those of the unrounded
    scores. Only outcomes of `source_kind` count."""
    outcomes = of_kind(outcomes, source_kind)
    point = scores(outcomes, attribute, rounding=rounding)
    intervals = sample_scores(outcomes, attribute, resamples).intervals()
    return ScoreRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        cell=subject.cell,
        method=subject.method,
        entity_type=subject.entity_type,
        attribute=attribute,
        model=subject.model,
        site=str(subject.site),
        size=subject.size,
        seed=subject.seed,
        generalisation=generalisation,
        partition=partition,
        cause=point.cause,
        isolate=point.isolate,
        disentangle=point.disentangle,
        n_cause=point.n_cause,
        n_isolate=point.n_isolate,
        cause_interval=intervals.cause,
        isolate_interval=intervals.isolate,
        disentangle_interval=intervals.disentangle,
        chosen=chosen,
        source_kind=source_kind,
    )


def of_kind(outcomes: Sequence[Outcome], source_kind: ScoredKind) -> Sequence[Outcome]:
    """Return the outcomes whose sources are of a kind, all of them for `all`."""
    if source_kind == "all":
        return outcomes
    return [outcome for outcome in outcomes if outcome.source_kind == source_kind]


def split_resamples(pairs: Sequence[Clustered], split: str, *, n_resamples: int, seed: int) -> Resamples:
    """Draw the resamples of a split from its pairs or outcomes.

    They depend on the clusters, the split's name and the seed only, so every method scored on the split
    shares them.
    """
    return draw_resamples(clusters_of(pairs), n_resamples, numpy_stream(seed, "bootstrap", split))


def require_pairs(instance: Instance, split: str) -> None:
    """Raise SuiteError if a split has no pairs."""
    if not instance.pairs(split):
        raise SuiteError(
            expected=f"pairs in the split {split}",
            came=f"an instance with none there; it has {', '.join(instance.splits()) or 'no pairs at all'}",
            todo="choose another --split, or build the instance with more entities and templates",
        )
