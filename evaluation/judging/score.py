"""From outcomes to score records: one per target attribute; it knows no grid, no files and no selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from evaluation.config.suite import DEFAULT_LABEL_TOKENS
from evaluation.judging.judge import judge
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.interchange.metrics import Rounding
from evaluation.scoring.scores import FeaturizerId, score_outcomes
from ravel.common.errors import SuiteError, unknown_name
from ravel.instance import Instance
from ravel.terms.schema import Generalisation, Partition, split_name

__all__ = ["ScoreRequest", "require_pairs", "score_featurizer"]


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
    """`reference` rounds each template's accuracy to two decimals first."""
    allow_foreign: bool = False
    """Score a featurizer that was made with another model or instance."""


def score_featurizer(
    instance: Instance,
    engine: Engine,
    featurizer: Featurizer,
    featurizer_id: FeaturizerId,
    request: ScoreRequest,
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoreRecord]:
    """Judge a featurizer on one split, once, and score it for each target attribute of the request.

    Raises SuiteError for an unknown attribute or a split without pairs.
    """
    for attribute in request.attributes:
        if attribute not in instance.attributes:
            raise unknown_name(
                f"attribute of this {instance.entity_type} instance", attribute, instance.attributes
            )
    split = split_name(request.generalisation, request.partition)
    require_pairs(instance, split)
    outcomes = judge(
        instance,
        split,
        engine,
        featurizer_id.site,
        featurizer,
        label_tokens=request.label_tokens,
        tolerance=request.tolerance,
        progress=progress,
    )
    return [
        score_outcomes(
            outcomes,
            attribute,
            featurizer_id,
            generalisation=request.generalisation,
            partition=request.partition,
            rounding=request.rounding,
        )
        for attribute in request.attributes
    ]


def require_pairs(instance: Instance, split: str) -> None:
    """Raise SuiteError if a split has no pairs."""
    if not instance.pairs(split):
        raise SuiteError(
            expected=f"pairs in the split {split}",
            came=f"an instance with none there; it has {', '.join(instance.splits()) or 'no pairs at all'}",
            todo="choose another --split, or build the instance with more entities and templates",
        )
