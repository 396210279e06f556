"""Outcomes of one featurizer on one split become score records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from das.sites import Site
from evaluation.records.scores import SCORE_SCHEMA_VERSION, JudgedCase, ScoredKind, ScoreRecord
from evaluation.scoring.clusters import Clusters, clusters_of
from evaluation.scoring.intervals import measured
from evaluation.scoring.track import Track
from ravel.terms.schema import Generalisation, Partition

Case = TypeVar("Case", bound=JudgedCase)


@dataclass(frozen=True, slots=True)
class FeaturizerId:
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
    outcomes: Sequence[JudgedCase],
    attribute: str,
    featurizer_id: FeaturizerId,
    track: Track[Any],
    *,
    generalisation: Generalisation,
    partition: Partition,
    chosen: bool = False,
    source_kind: ScoredKind = "all",
    intervals: bool = True,
    clusters: Clusters | None = None,
) -> ScoreRecord:
    """Score one target attribute on the outcomes of a split, judged already. Only outcomes of `source_kind`
    count. What is only compared needs no `intervals`, which take most of the time. `clusters` are those of
    the split's cases, where they are at hand."""
    clusters = clusters_of(outcomes) if clusters is None else clusters
    estimate = track.estimate if intervals else track.compare
    scored = estimate(of_kind(outcomes, source_kind), attribute, clusters)
    return ScoreRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        cell=featurizer_id.cell,
        method=featurizer_id.method,
        entity_type=featurizer_id.entity_type,
        attribute=attribute,
        model=featurizer_id.model,
        site=str(featurizer_id.site),
        size=featurizer_id.size,
        seed=featurizer_id.seed,
        generalisation=generalisation,
        partition=partition,
        measures=measured(scored, intervals=intervals),
        chosen=chosen,
        source_kind=source_kind,
        track=track.name,
        metric=track.metric,
    )


def score_kinds(
    outcomes: Sequence[JudgedCase],
    attribute: str,
    featurizer_id: FeaturizerId,
    track: Track[Any],
    *,
    generalisation: Generalisation,
    partition: Partition,
    clusters: Clusters | None = None,
) -> list[ScoreRecord]:
    """Return the score of a chosen point, then that of each kind of source that has cases; `clusters` as in
    `score_outcomes`."""
    clusters = clusters_of(outcomes) if clusters is None else clusters

    def of(kind: ScoredKind) -> ScoreRecord:
        return score_outcomes(
            outcomes,
            attribute,
            featurizer_id,
            track,
            generalisation=generalisation,
            partition=partition,
            chosen=True,
            source_kind=kind,
            clusters=clusters,
        )

    by_kind = [of(kind) for kind in track.kinds]
    return [of("all"), *(record for record in by_kind if record.cases)]


def of_kind(outcomes: Sequence[Case], source_kind: ScoredKind) -> Sequence[Case]:
    """Return the outcomes whose sources are of a kind, all of them for `all`; only those of interchange have
    another."""
    if source_kind == "all":
        return outcomes
    return [outcome for outcome in outcomes if getattr(outcome, "source_kind", "all") == source_kind]
