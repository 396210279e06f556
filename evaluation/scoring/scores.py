"""Outcomes of one featurizer on one split become score records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from das.sites import Site
from evaluation.records.scores import SCORE_SCHEMA_VERSION, Outcome, ScoredKind, ScoreRecord
from evaluation.scoring.intervals import Clustered, Resamples, clusters_of, draw_resamples, sample_scores
from evaluation.scoring.metrics import Rounding, scores
from ravel.common.seeds import numpy_stream
from ravel.terms.schema import Generalisation, Partition

__all__ = ["Subject", "of_kind", "score_outcomes", "split_resamples"]


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
