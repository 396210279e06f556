"""Training of edits: what a prompt is to be answered under one, and the loop; it knows no form and no
objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from das.edits.base import Edit, Steered
from das.engine.base.protocol import Engine, FeaturizedPairs, ForcedPair
from das.methods.common.base import MethodConfig, Problem, Workspace
from das.sites import Site
from ravel.common.seeds import grouped, python_stream, sampled
from ravel.instance import steered_pairs
from ravel.terms.schema import TRAIN_SPLIT, Prompt

Taught = TypeVar("Taught")
"""What an edit is taught by, an example each."""


class LoopConfig(MethodConfig):
    """How long and how fast an edit is trained."""

    steps: PositiveInt = 300
    """Optimiser steps."""
    batch_size: PositiveInt = 32
    """Prompts per step, of all values together."""
    learning_rate: PositiveFloat = 1e-2
    """Rate of AdamW at its beginning; it falls in a line to 0."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of AdamW."""


class EditTrainingConfig(LoopConfig):
    """How an edit is trained, and on which prompts."""

    cause_pairs: PositiveInt = 400
    """Most prompts of the target that are to give the value's answer."""
    isolate_pairs: int = Field(default=400, ge=0)
    """Most prompts of the other attributes that are to keep the model's own answer; 0: a single task, as
    published."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A prompt with two answers, of which one is to be given under the edit towards a value."""

    base: Prompt
    """The prompt."""
    wanted: tuple[int, ...]
    """Tokens of the answer that is to be given."""
    unwanted: tuple[int, ...]
    """Tokens of the other: the model's own where another is to be brought, else that of the value's
    entity."""
    place: int
    """Which value."""
    brings: bool
    """Whether the answer that is to be given is another than the model's own."""

    def forced(self, answer: tuple[int, ...]) -> ForcedPair:
        """Return the prompt with an answer after it; it stands for the source too, which no edit looks
        at."""
        return ForcedPair(self.base, self.base, answer)


def steering_lessons(
    problem: Problem, told: Sequence[str], config: EditTrainingConfig, seed: int
) -> list[Lesson]:
    """Return training prompts of the target that are to be given a value's answer, then prompts of the other
    attributes that are to keep their own. The bases lack the value; its answer is that of an entity with
    it."""
    instance, target = problem.instance, problem.attribute
    known = steered_pairs(instance, TRAIN_SPLIT, target)
    own = sampled([w for w in known if w[0].attribute == target], config.cause_pairs, seed, "cause")
    others = sampled([w for w in known if w[0].attribute != target], config.isolate_pairs, seed, "isolate")

    def lesson(wanted: str, unwanted: str, value: str, *, base: str, brings: bool) -> Lesson:
        answers = instance.prompt(wanted).label_ids, instance.prompt(unwanted).label_ids
        return Lesson(instance.prompt(base).prompt, *answers, told.index(value), brings)

    return [
        *(lesson(pair.swapped, pair.base, value, base=pair.base, brings=True) for pair, value in own),
        *(lesson(pair.base, pair.swapped, value, base=pair.base, brings=False) for pair, value in others),
    ]


class Moving(nn.Module):
    """Parameters under training."""

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Step, and put the parameters back to where they may be."""
        optimiser.step()


class MovingEdit(Moving, ABC):
    """An edit under training: its parameters, and what they come to at a moment."""

    def __init__(self, attribute: str, values: Sequence[str]) -> None:
        """Keep what it is about."""
        super().__init__()
        self.attribute = attribute
        """The attribute."""
        self.values = tuple(values)
        """Its values."""

    @abstractmethod
    def edit(self) -> Edit:
        """Return the edit of this moment, through which gradients reach the parameters."""

    def steering(self, factor: float) -> tuple[Edit, float]:
        """Return what steers with a factor: an edit, and the strength at which it is meant."""
        return self.edit(), factor

    def nulling(self, factor: float) -> tuple[Edit, float]:
        """Return what takes away what `steering` brings, likewise."""
        return self.edit(), -factor


def train_edit(
    moving: Moving,
    lessons: Sequence[Taught],
    loss_of: Callable[[Sequence[Taught]], Tensor],
    config: LoopConfig,
    *,
    seed: int,
    workspace: Workspace,
) -> None:
    """Train an edit by AdamW on batches of lessons; its learning rate falls in a line to 0."""
    optimiser = torch.optim.AdamW(
        moving.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    draws = python_stream(seed, "batches")
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - step / config.steps)
        batch = draws.sample(lessons, min(config.batch_size, len(lessons)))
        optimiser.zero_grad()
        with torch.enable_grad():
            loss = loss_of(batch)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has none
        moving.step(optimiser)
        workspace.log({"step": step, "loss": float(loss.detach())})
        workspace.progress(step + 1, config.steps)


def language_loss(
    batch: Sequence[Lesson], steering: tuple[Edit, float], engine: Engine, site: Site
) -> Tensor:
    """Return the mean cross entropy of the answers that are wanted under an edit, in nats per token."""
    edit, strength = steering
    groups = [
        FeaturizedPairs([lesson.forced(lesson.wanted) for lesson in own], Steered(edit, place, strength))
        for place, own in grouped(batch, lambda lesson: lesson.place).items()
    ]
    return torch.cat([labels.cross_entropy for labels in engine.forced_labels(groups, site)]).mean()
