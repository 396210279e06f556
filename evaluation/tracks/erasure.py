"""Erasure: whether a value can be taken from a vector, so that the model no longer says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from evaluation.config.judging import Judging
from evaluation.records.outcomes.erasures import ErasedCase, Erasure
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.erasure.cases import erased_cases
from evaluation.scoring.erasure.estimates import estimate_erasure
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.track import Measure, Reference
from evaluation.tracks._concepts import ConceptTrack
from evaluation.tracks.steering import SteeringConfig
from ravel.instance import Instance

if TYPE_CHECKING:
    from das.engine.base.protocol import Engine
    from das.finding import FindingKind
    from evaluation.judging.erasing import ErasureJudge


class ErasureConfig(SteeringConfig):
    """Settings of the track."""

    strengths: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        default=(0.5, 1.0, 2.0), min_length=1
    )
    """Strengths that are tried on validation prompts, ascending; 1 takes away what there is."""
    attack: Literal["none", "instructions", "named", "demonstrations"] = "none"
    """What is put in front of every prompt to have the value said all the same: a sentence that asks for the
    fact, the prompt itself with its answer, or prompts about other entities with the value, answered by
    it."""
    chat: bool = False
    """Say that as a user's message, by the model's chat template; the prompt begins the answer. Prompts that
    are messages of a chat themselves have it in front of the message either way."""


class ErasureTrack(ConceptTrack[Erasure]):
    """Suppression of a value (RePS, Wu et al. 2025, arXiv 2505.20809; LEACE, Belrose et al. 2023, arXiv
    2306.03819) on facts: what is forgotten, what is kept of the attribute's other values, and what of the
    other attributes."""

    name: ClassVar[str] = "erasure"
    summary: ClassVar[str] = "A value is taken from a vector: the entity loses it, and everything else stays"
    question: ClassVar[str] = "How can a value be erased, and nothing else?"
    heading: ClassVar[str] = "Erasure"
    praise: ClassVar[str] = "erases best"
    unit: ClassVar[str] = "prompts"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("forget", "share of prompts about the erased value that no longer give it"),
        Measure("keep", "share of the attribute's prompts about other values that still give them"),
        Measure("isolate", "share of the other attributes' prompts, of entities with the value, that stay"),
        Measure("overall", "the harmonic mean of the three, 0 if one is 0"),
    )
    criterion: ClassVar[str] = "overall"
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("no_op", "erases nothing", verdict="erasing nothing scores"),
        Reference("full_vector", "takes the mean of the others for all of the vector", ceiling_of="forget"),
        Reference("random_direction", "erases a random direction", verdict="a random direction"),
    )
    baseline: ClassVar[str] = "no_op"
    nothing_scores: ClassVar[float | None] = 0.0
    outcome: ClassVar[type[Erasure]] = Erasure
    validated_by: ClassVar[str] = "prompts with and without a value"
    config_class: ClassVar[type[ErasureConfig]] = ErasureConfig
    takes: ClassVar[tuple[FindingKind, ...]] = ("featurizer", "detector", "edit")

    def judge(self, engine: Engine, judging: Judging) -> ErasureJudge:
        """Return what erases with this engine."""
        from evaluation.judging.erasing import ErasureJudge

        settings = self.settings(judging)
        return ErasureJudge(
            *(engine, settings.strengths, judging.label_tokens, settings.attack),
            chat=settings.chat,
            tokens=settings.tokens(),
        )

    def cases(self, instance: Instance, split: str) -> Sequence[ErasedCase]:
        """Return the split's prompts, each with the value that is erased."""
        return erased_cases(instance, split)

    def estimate(
        self, outcomes: Sequence[Erasure], attribute: str, clusters: Clusters
    ) -> dict[str, Estimate]:
        """Return forget, keep, isolate and overall of an attribute at the chosen strengths."""
        return estimate_erasure(outcomes, attribute, clusters)


TRACK = ErasureTrack()
