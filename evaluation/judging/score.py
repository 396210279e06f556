"""From outcomes to score records: one per target attribute; it knows no grid, no files and no selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from evaluation.config.suite import DEFAULT_LABEL_TOKENS
from evaluation.judging.judge import judge
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.metrics import Rounding
from evaluation.scoring.scores import Subject, score_outcomes
from ravel.common.errors import SuiteError, unknown_name
from ravel.facts.schema import Generalisation, Partition, split_name
from ravel.instance.instance import Instance

__all__ = ["score_featurizer"]


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
    rounding: Rounding = "none",
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoreRecord]:
    """Judge a featurizer on one split, once, and score it for each target attribute.

    `label_tokens` and `tolerance` are those of `judge`. Raises SuiteError for an unknown attribute or a split without pairs.
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
    return [
        score_outcomes(
            outcomes,
            attribute,
            subject,
            generalisation=generalisation,
            partition=partition,
            rounding=rounding,
        )
        for attribute in attributes
    ]


def require_pairs(instance: Instance, split: str) -> None:
    """Raise SuiteError if a split has no pairs."""
    if not instance.pairs(split):
        raise SuiteError(
            expected=f"pairs in the split {split}",
            came=f"an instance with none there; it has {', '.join(instance.splits()) or 'no pairs at all'}",
            todo="choose another --split, or build the instance with more entities and templates",
        )
