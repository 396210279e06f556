"""LoReFT towards each value: a learned low-rank source, trained to bring the value and leave the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from das.edits.base import Steered
from das.edits.forms import LowRank
from das.engine.base.protocol import Engine, FeaturizedPairs, ForcedPair
from das.featurizers.orthonormal import retract
from das.methods.common.alignment import fit_seed
from das.methods.common.base import MethodConfig, Problem, Workspace
from das.methods.common.concepts import AboutConcepts
from ravel.common.seeds import grouped, python_stream, sampled
from ravel.instance import Instance, steered_pairs
from ravel.terms.schema import TRAIN_SPLIT


class LoreftConfig(MethodConfig):
    """Settings of loreft."""

    rank: PositiveInt = 4
    """Rows of R for each value."""
    cause_pairs: PositiveInt = 400
    """Most prompts of the target that are to give the value's answer."""
    isolate_pairs: int = Field(default=400, ge=0)
    """Most prompts of the other attributes that are to keep the model's own answer; 0 is LoReFT as published,
    with a single task."""
    steps: PositiveInt = 300
    """Optimiser steps."""
    batch_size: PositiveInt = 32
    """Prompts per step, of all values together."""
    learning_rate: PositiveFloat = 1e-2
    """Rate of AdamW at its beginning; it falls in a line to 0 (reference: 9e-4, on models of billions)."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of AdamW."""


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A prompt with the answer that it is to give under the edit towards a value."""

    pair: ForcedPair
    """The prompt and the answer's tokens."""
    place: int
    """Which value."""


class Loreft(AboutConcepts[LoreftConfig]):
    """LoReFT (Wu et al. 2024, arXiv 2404.03592) at one vector, an R, W and b for each value, on the
    cross entropy of answers: the value's on prompts of the target, the model's own on all others.

    Departures: it acts at the site and on no other token; isolate prompts are added, as mdas adds them to
    das; W begins at R, so that training begins at the identity; R is put back on its manifold by QR after
    each step.
    """

    name = "loreft"
    summary = "Learned low-rank edit for each value, trained on the value's answers and on keeping all others"
    config_class = LoreftConfig
    finds = "edit"
    needs_pairs = True
    draws = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> LowRank:
        """Return a `LowRank`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        seed = fit_seed(self, problem)
        lessons = _lessons(problem, told, self.config, seed)
        width, device = engine.target.width(problem.site), engine.target.device
        stream = torch.Generator().manual_seed(seed)
        start = torch.randn(len(told), width, self.config.rank, generator=stream)
        moving = _Moving(torch.stack([retract(columns) for columns in start]).to(device))
        optimiser = torch.optim.AdamW(
            moving.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        draws = python_stream(seed, "batches")
        for step in range(self.config.steps):
            for group in optimiser.param_groups:
                group["lr"] = self.config.learning_rate * (1 - step / self.config.steps)
            batch = draws.sample(lessons, min(self.config.batch_size, len(lessons)))
            optimiser.zero_grad()
            with torch.enable_grad():
                loss = _loss(batch, moving.edit(problem.attribute, told), engine, problem)
                loss.backward()  # type: ignore[no-untyped-call]  # torch has none
            optimiser.step()
            moving.retract()
            workspace.log({"step": step, "loss": float(loss.detach())})
            workspace.progress(step + 1, self.config.steps)
        with torch.no_grad():
            return moving.edit(problem.attribute, told).cpu()


def _loss(batch: Sequence[_Lesson], edit: LowRank, engine: Engine, problem: Problem) -> Tensor:
    """Return the mean cross entropy of a batch's answers, in nats per token."""
    groups = [
        FeaturizedPairs([lesson.pair for lesson in own], Steered(edit, place, 1.0))
        for place, own in grouped(batch, lambda lesson: lesson.place).items()
    ]
    judged = engine.forced_labels(groups, problem.site)
    return torch.cat([labels.cross_entropy for labels in judged]).mean()


class _Moving(nn.Module):
    """R, W and b of every value under training."""

    def __init__(self, rotation: Tensor) -> None:
        super().__init__()
        self.rotation = nn.Parameter(rotation.contiguous())
        """Columns of R^T, [n_values, d_model, rank]."""
        self.source = nn.Parameter(rotation.detach().mT.contiguous())
        """W, [n_values, rank, d_model]."""
        self.offset = nn.Parameter(rotation.new_zeros(rotation.shape[0], rotation.shape[2]))
        """b, [n_values, rank]."""

    def edit(self, attribute: str, told: Sequence[str]) -> LowRank:
        """Return the edit of this moment, through which gradients reach the parameters."""
        rows = self.rotation.mT.flatten(0, 1)
        return LowRank(attribute, told, rows, self.source.flatten(0, 1), self.offset.flatten())

    def retract(self) -> None:
        """Make the rows of R orthonormal again."""
        with torch.no_grad():
            for columns in self.rotation:
                columns.copy_(retract(columns))


def _lessons(problem: Problem, told: Sequence[str], config: LoreftConfig, seed: int) -> list[_Lesson]:
    instance, target = problem.instance, problem.attribute
    wanted = steered_pairs(instance, TRAIN_SPLIT, target)
    own = sampled([w for w in wanted if w[0].attribute == target], config.cause_pairs, seed, "cause")
    others = sampled([w for w in wanted if w[0].attribute != target], config.isolate_pairs, seed, "isolate")
    lessons = [_lesson(instance, pair.base, pair.swapped, told.index(value)) for pair, value in own]
    return lessons + [_lesson(instance, pair.base, pair.base, told.index(value)) for pair, value in others]


def _lesson(instance: Instance, asked: str, answered: str, place: int) -> _Lesson:
    base, answer = instance.prompt(asked).prompt, instance.prompt(answered).label_ids
    return _Lesson(ForcedPair(base, base, answer), place)


METHOD = Loreft
