"""ReFT-r1: a direction of length 1 for each value that is read and written at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from das.detectors.directions import Directions
from das.engine.base.protocol import Engine, FeaturizedPairs, ForcedPair
from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import concept_vectors, has_tensor
from das.methods.common.edit_training import LoopConfig, Moving, train_edit
from das.methods.detection._directions import FindsDetector, oriented
from das.methods.detection._trained_vectors import started_vectors
from das.methods.detection.unit_probe import step_on_sphere, unit_columns
from das.sites import Site
from ravel.common.seeds import grouped, sampled
from ravel.instance import entity_values
from ravel.terms.schema import TRAIN_SPLIT


class ReftR1Config(LoopConfig):
    """Settings of reft_r1."""

    pairs: PositiveInt = 200
    """Most training pairs of each value whose source has it, and as many without it."""
    sparsity: NonNegativeFloat = 5e-3
    """Weight of the activations that are not written, at the end; it rises in a line from 0."""


class ReftR1(FindsDetector[ReftR1Config]):
    """ReFT-r1 (AxBench, Wu et al. 2025, arXiv 2501.17148): `h + a w`, w of length 1 and a the mean of the k
    largest activations `ReLU(h_i w)` of a text, trained on the cross entropy of answers, with the value and
    without, and on the other activations' size. What reads the value is what writes it.

    As in the reference the part of the gradient along w is taken out and the length made 1 after each step.
    Departures: a text is a pair, of which the vectors of source and base at the site are read, k is 1, and
    the base's vector alone is written. The answer with the value is that of the source's entity, where the
    base has another; without it the model's own. What is read is a vector less the mean of the training
    vectors at the site, and a start that scores vectors with the value lower on average is turned round: what
    all vectors share would else open the ReLU for all of them or for none, and nothing is learned there.
    """

    name = "reft_r1"
    summary = "Tells a value by a direction of length 1 whose activation, written, makes the model say it"
    config_class = ReftR1Config
    needs_pairs = True
    draws = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Directions:
        """Return rectified `Directions`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        seed, width = fit_seed(self, problem), engine.target.width(problem.site)
        lessons = lessons_of(problem, told, self.config.pairs, seed)
        known = concept_vectors(problem.instance, problem.attribute, problem.site, engine)
        start = unit_columns(started_vectors(width, len(told), seed))
        start = oriented(start, known.vectors, has_tensor(known, told))
        centre = known.vectors.double().mean(dim=0).float()
        moving = MovingDirections(start.to(engine.target.device), centre.to(engine.target.device))
        loss_of = ReftR1Loss(moving, engine, problem.site, self.config)
        train_edit(moving, lessons, loss_of, self.config, seed=seed, workspace=workspace)
        found = moving.directions.detach().cpu()
        return Directions(problem.attribute, told, found, -centre @ found, rectified=True)


@dataclass(frozen=True, slots=True)
class EchoLesson:
    """A pair with the answer that it is to give as a value's direction is written."""

    pair: ForcedPair
    """Base, source and the answer that is to be given."""
    place: int
    """Which value."""


def lessons_of(problem: Problem, told: Sequence[str], most: int, seed: int) -> list[EchoLesson]:
    """Return training pairs that ask for the target, value by value: those whose source has it and whose base
    has another, with the source's answer, then those in which neither has it, with the base's."""
    instance, target = problem.instance, problem.attribute
    known = entity_values(instance, target, (TRAIN_SPLIT,))
    asking = [
        (pair, known.get(pair.base_entity), known.get(pair.source_entity))
        for pair in instance.pairs(TRAIN_SPLIT)
        if pair.attribute == target
    ]
    lessons = []
    for place, value in enumerate(told):
        having = [p for p, b, s in asking if s == value != b and p.if_swapped.strip() == value]
        lacking = [p for p, b, s in asking if value not in (b, s)]
        for members, brings in ((having, True), (lacking, False)):
            for pair in sampled(members, most, seed, "having" if brings else "lacking", value):
                base, source = instance.prompt(pair.base), instance.prompt(pair.source)
                answer = instance.prompt(pair.swapped).label_ids if brings else base.label_ids
                lessons.append(EchoLesson(ForcedPair(base.prompt, source.prompt, answer), place))
    return lessons


class MovingDirections(Moving):
    """A direction of length 1 for each value under training."""

    def __init__(self, directions: Tensor, centre: Tensor) -> None:
        """Begin with these directions, [d_model, n_values], which read vectors less a centre, [d_model]."""
        super().__init__()
        self.centre = centre
        """What is taken from vectors before they are read, [d_model]."""
        self.directions = nn.Parameter(directions)
        """One column per value, [d_model, n_values]."""

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Step on the sphere."""
        step_on_sphere(self.directions, optimiser)


class ReftR1Loss:
    """The cross entropy of a batch's answers and the size of what is not written, whose weight rises."""

    def __init__(self, moving: MovingDirections, engine: Engine, site: Site, config: ReftR1Config) -> None:
        """Count its calls: each is a step."""
        self._moving = moving
        self._engine = engine
        self._site = site
        self._config = config
        self._step = 0

    def __call__(self, batch: Sequence[EchoLesson]) -> Tensor:
        echoes, groups = [], []
        for place, own in grouped(batch, lambda lesson: lesson.place).items():
            echoes.append(Echo(self._moving.directions[:, place], self._moving.centre))
            groups.append(FeaturizedPairs([lesson.pair for lesson in own], echoes[-1]))
        judged = self._engine.forced_labels(groups, self._site)
        costs = torch.cat([labels.cross_entropy for labels in judged])
        rest = [echo.unwritten(len(group.pairs)) for echo, group in zip(echoes, groups, strict=True)]
        weight = self._config.sparsity * self._step / self._config.steps
        self._step += 1
        return costs.mean() + weight * torch.cat(rest).mean()


@final
class Echo:
    """Writes a direction to the base by the larger activation of base and source: `h + max_i ReLU((h_i - m)
    w) w`. It lives as long as one call of an engine and is never saved."""

    def __init__(self, direction: Tensor, centre: Tensor) -> None:
        """`direction` is w, of length 1, and `centre` m, both [d_model]."""
        self.direction = direction
        """w."""
        self._level = centre @ direction
        self._rest: list[Tensor] = []

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.direction.numel())

    def interchange(self, base: Tensor, source: Tensor) -> Tensor:
        """Return the base [..., d_model] with the direction written to it."""
        wide = base.float()
        read = torch.stack([wide @ self.direction, source.float() @ self.direction])
        activations = (read - self._level).relu()
        self._rest.append(activations.amin(dim=0))
        return (wide + activations.amax(dim=0)[..., None] * self.direction).to(base.dtype)

    def unwritten(self, n_pairs: int) -> Tensor:
        """Return the smaller activation of each of so many pairs, [n_pairs]."""
        # An engine may have added rows behind them, and done again what did not fit.
        return torch.cat(self._rest)[:n_pairs]


METHOD = ReftR1
