"""From outcomes to score records: one per target attribute; it knows no grid, no files and no selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from das.engine.base.protocol import Engine
from das.featurizers.storage import FeaturizerHeader
from das.finding import Finding
from evaluation.config.judging import DEFAULT_LABEL_TOKENS
from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import Outcome, ScoreRecord
from evaluation.scoring.interchange.metrics import Rounding, scores
from evaluation.scoring.scores import FeaturizerId, score_outcomes
from evaluation.scoring.track import Judge, Track
from ravel.common.errors import SuiteError, one_of
from ravel.instance import Instance
from ravel.terms.schema import Generalisation, Partition, split_name


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Which split a featurizer is scored on, and how."""

    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    attributes: Sequence[str] = ()
    """Target attributes; empty for those that the featurizer serves."""
    label_tokens: int = DEFAULT_LABEL_TOKENS
    """How many of an answer's first tokens are compared."""
    tolerance: bool = True
    """Let an answer that is close count where the attribute's matcher does."""
    rounding: Rounding = "none"
    """`reference` rounds each template's accuracy to two decimals first; of interchange only."""
    allow_foreign: bool = False
    """Score a featurizer that was made with another model or instance."""


def score_featurizer(
    instance: Instance,
    track: Track[Any],
    judge: Judge,
    finding: Finding,
    featurizer_id: FeaturizerId,
    request: ScoreRequest,
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoreRecord]:
    """Judge what a method found on one split, once, and score it for each target attribute of the request.

    Raises SuiteError for an unknown attribute, a split without pairs, and a rounding that the track has not.
    """
    if request.rounding != "none" and track.name != INTERCHANGE:
        raise SuiteError(
            expected=f"scores of {INTERCHANGE}, the only track whose reference implementation rounds",
            came=f"the track {track.name}",
            todo="leave --rounding out",
        )
    for attribute in request.attributes:
        one_of(f"attribute of this {instance.entity_type} instance", attribute, instance.attributes)
    split = split_name(request.generalisation, request.partition)
    require_pairs(instance, split)
    outcomes = judge.judge(instance, split, featurizer_id.site, finding, progress)
    found = [
        score_outcomes(
            outcomes,
            attribute,
            featurizer_id,
            track,
            generalisation=request.generalisation,
            partition=request.partition,
        )
        for attribute in request.attributes
    ]
    return [_rounded(record, outcomes, request.rounding) for record in found]


def _rounded(record: ScoreRecord, outcomes: Sequence[Outcome], rounding: Rounding) -> ScoreRecord:
    """Return a record with the values of this rounding, and the intervals that it had."""
    if rounding == "none":
        return record
    rounded = scores(outcomes, record.attribute, rounding=rounding)
    measures = {n: replace(found, value=getattr(rounded, n)) for n, found in record.measures.items()}
    return replace(record, measures=measures)


def saved_featurizer_id(
    cell: str, header: FeaturizerHeader, size: int, instance: Instance, engine: Engine
) -> FeaturizerId:
    """Return how records name a saved featurizer that is judged on an instance with an engine."""
    return FeaturizerId(
        cell=cell,
        method=header.method,
        entity_type=instance.entity_type,
        model=engine.target.name,
        site=header.site,
        size=size,
        seed=header.seed,
    )


def require_pairs(instance: Instance, split: str) -> None:
    """Raise SuiteError if a split has no pairs."""
    if not instance.pairs(split):
        raise SuiteError(
            expected=f"pairs in the split {split}",
            came=f"an instance with none there; it has {', '.join(instance.splits()) or 'no pairs at all'}",
            todo="choose another --split, or build the instance with more entities and templates",
        )
