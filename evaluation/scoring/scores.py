"""Outcomes of one featurizer on one split become score records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from das.sites import Site
from evaluation.records.scores import SCORE_SCHEMA_VERSION, Outcome, ScoredKind, ScoreRecord
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.metrics import Rounding, scores
from evaluation.scoring.intervals import estimate_scores
from ravel.terms.schema import SOURCE_KINDS, Generalisation, Partition

__all__ = ["FeaturizerId", "of_kind", "score_kinds", "score_outcomes"]


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
    outcomes: Sequence[Outcome],
    attribute: str,
    featurizer_id: FeaturizerId,
    *,
    generalisation: Generalisation,
    partition: Partition,
    rounding: Rounding = "none",
    chosen: bool = False,
    source_kind: ScoredKind = "all",
) -> ScoreRecord:
    """Score one target attribute on the outcomes of a split, judged already; intervals are those of the
    unrounded scores. Only outcomes of `source_kind` count."""
    counted = of_kind(outcomes, source_kind)
    scored = estimate_scores(counted, attribute, clusters_of(outcomes))
    values, point = scored.fields(), scored.point
    if rounding != "none":
        rounded = scores(counted, attribute, rounding=rounding)
        values |= {"cause": rounded.cause, "isolate": rounded.isolate, "disentangle": rounded.disentangle}
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
        n_cause=point.n_cause,
        n_isolate=point.n_isolate,
        chosen=chosen,
        source_kind=source_kind,
        **values,
    )


def score_kinds(
    outcomes: Sequence[Outcome],
    attribute: str,
    featurizer_id: FeaturizerId,
    *,
    generalisation: Generalisation,
    partition: Partition,
) -> list[ScoreRecord]:
    """Return the score of a chosen point, then that of each kind of source that has pairs."""

    def of(kind: ScoredKind) -> ScoreRecord:
        return score_outcomes(
            outcomes,
            attribute,
            featurizer_id,
            generalisation=generalisation,
            partition=partition,
            chosen=True,
            source_kind=kind,
        )

    by_kind = [of(kind) for kind in SOURCE_KINDS]
    return [of("all"), *(record for record in by_kind if record.n_cause or record.n_isolate)]


def of_kind(outcomes: Sequence[Outcome], source_kind: ScoredKind) -> Sequence[Outcome]:
    """Return the outcomes whose sources are of a kind, all of them for `all`."""
    if source_kind == "all":
        return outcomes
    return [outcome for outcome in outcomes if outcome.source_kind == source_kind]
