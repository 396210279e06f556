"""Steering: whether a vector can be changed so that an entity gets a value, without a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from das.positions import EditedTokens
from evaluation.config.judging import Judging
from evaluation.records.outcomes.steerings import SteeredCase, Steering
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.steering.cases import steered_cases
from evaluation.scoring.steering.estimates import estimate_steering
from evaluation.scoring.track import Measure, Reference, TrackConfig
from evaluation.tracks._concepts import ConceptTrack
from ravel.instance import Instance

if TYPE_CHECKING:
    from das.engine.base.protocol import Engine
    from das.finding import FindingKind
    from evaluation.judging.steering import SteeringJudge


SITE = "site"
"""In place of positions: the site's token alone."""


class SteeringConfig(TrackConfig):
    """Settings of the track."""

    written_if_set = ("positions", "generated")
    strengths: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        default=(0.5, 1.0, 1.5, 2.0, 3.0), min_length=1
    )
    """Strengths that are tried on validation prompts, ascending; 1 is the change as it was found."""

    positions: str = SITE
    """Tokens of the prompt at which vectors are changed: `site`, the site's alone; `f7+l7`, the first 7 and
    the last 7, where a prompt has fewer at most a half of it each; `all`."""
    generated: bool = False
    """Whether each token of the answer is changed as well, when the model reads it."""

    def tokens(self) -> EditedTokens | None:
        """Return the tokens; None: the site's alone."""
        if self.positions == SITE:
            return None
        return EditedTokens.parse(self.positions, generated=self.generated)

    @model_validator(mode="after")
    def _are_positions(self) -> Self:
        """Refuse text that is no positions, and generated tokens beside the site's alone."""
        self.tokens()
        if self.generated and self.positions == SITE:
            raise ValueError("generated: true goes with positions such as l1 or all, for a site is one token")
        return self

    @field_validator("strengths")
    @classmethod
    def _ascend(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        """Refuse strengths that don't ascend."""
        if list(value) != sorted(set(value)):
            raise ValueError("strengths ascend, each once")
        return value


class SteeringTrack(ConceptTrack[Steering]):
    """Steering towards a value of an attribute (AxBench, Wu et al. 2025, arXiv 2501.17148; RePS, Wu et al.
    2025, arXiv 2505.20809).

    Departures: answers are facts, so that cause, isolate and fluency are counted and no judge is asked;
    vectors are changed at the site alone unless `positions` names more tokens; the strength is chosen for
    each value on validation prompts.
    """

    name: ClassVar[str] = "steering"
    summary: ClassVar[str] = (
        "Changed towards a value, a vector gives the entity that value and leaves the others"
    )
    question: ClassVar[str] = "How can an entity be given a value, and nothing else?"
    heading: ClassVar[str] = "Steering"
    praise: ClassVar[str] = "steers best"
    unit: ClassVar[str] = "prompts"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("cause", "share of the target attribute's prompts that give the value's answer"),
        Measure("isolate", "share of the other attributes' prompts that keep the model's own answer"),
        Measure(
            "fluency", "mean of exp(-extra), extra what an answer costs the unsteered model beyond its own"
        ),
        Measure("overall", "the harmonic mean of the three, 0 if one is 0"),
    )
    criterion: ClassVar[str] = "overall"
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("no_op", "changes nothing", verdict="changing nothing scores"),
        Reference(
            "real_entity",
            "puts in the whole vector of a training entity that has the value",
            verdict="the whole vector of an entity with the value",
            ceiling_of="cause",
        ),
        Reference("random_direction", "adds a random direction", verdict="a random direction"),
    )
    baseline: ClassVar[str] = "no_op"
    nothing_scores: ClassVar[float | None] = 0.0
    outcome: ClassVar[type[Steering]] = Steering
    validated_by: ClassVar[str] = "prompts that ask for the attribute, and others,"
    config_class: ClassVar[type[SteeringConfig]] = SteeringConfig
    takes: ClassVar[tuple[FindingKind, ...]] = ("featurizer", "detector", "edit")

    def judge(self, engine: Engine, judging: Judging) -> SteeringJudge:
        """Return what steers with this engine."""
        from evaluation.judging.steering import SteeringJudge

        settings = self.settings(judging)
        return SteeringJudge(engine, settings.strengths, judging.label_tokens, settings.tokens())

    def cases(self, instance: Instance, split: str) -> Sequence[SteeredCase]:
        """Return the split's prompts, each with the values towards which it is steered."""
        return steered_cases(instance, split)

    def estimate(
        self, outcomes: Sequence[Steering], attribute: str, clusters: Clusters
    ) -> dict[str, Estimate]:
        """Return cause, isolate, fluency and overall of a steered attribute at the chosen strengths."""
        return estimate_steering(outcomes, attribute, clusters)


TRACK = SteeringTrack()
