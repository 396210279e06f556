"""By what edits are trained: the cross entropy of answers, or preferences between two. It knows no form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from das.edits.base import Edit, Steered
from das.engine.base.batch import PromptEncoder
from das.engine.base.protocol import Engine, FeaturizedPairs
from das.methods.common.edit_training import Lesson, MovingEdit, language_loss
from das.methods.common.preferences import Both, bipo_margin, preference_loss, reps_margin
from das.sites import Site
from ravel.common.seeds import grouped, python_stream

Lengths = Literal["response", "prompt_and_response"]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FACTORS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
"""The factors by which the reference of RePS trains low-rank edits."""
BIPO_BETA = 0.1
"""The factor of the margins of BiPO."""


@dataclass(frozen=True, slots=True)
class Language:
    """The cross entropy of the answers that are to be given, at strength 1."""


@dataclass(frozen=True, slots=True)
class Reps:
    """RePS: the answers that are to be given are preferred under the edit, their counterparts where it is
    turned round or nulled."""

    factors: tuple[float, ...] = FACTORS
    """Strengths of which one is drawn at each step, all alike."""
    lengths: Lengths = "response"
    """What the log-probability of an answer is divided by: the number of its tokens, or that with the
    prompt's, as the reference code has it."""


@dataclass(frozen=True, slots=True)
class Bipo:
    """BiPO: the answers that are to be given gain at strength 1, beside the model that is left alone, and at
    -1 their counterparts; one of the two is drawn at each step."""

    beta: float = BIPO_BETA
    """Factor of the margins."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """The nulling side of RePS alone, on lessons that say which answer is to be given there.

    The factor of RePS for answers that were unlikely is left out: which other answer takes the value's place
    is all one. What is to stay is learned by its cross entropy: a preference is won by the other answer's
    loss alone, and a third may win.
    """

    lengths: Lengths = "response"
    """As of `Reps`."""


Objective = Language | Reps | Bipo | Suppression
LossOf = Callable[[Sequence[Lesson]], Tensor]
"""The loss of a batch of lessons, a scalar."""


def loss_by(
    objective: Objective,
    moving: MovingEdit,
    lessons: Sequence[Lesson],
    *,
    engine: Engine,
    site: Site,
    seed: int,
) -> LossOf:
    """Return the loss by an objective, of batches of these lessons."""
    if isinstance(objective, Language):
        return lambda batch: language_loss(batch, moving.steering(1.0), engine, site)
    preferences = _Preferences(lessons, engine, site)
    draws = python_stream(seed, "factors")
    if isinstance(objective, Bipo):
        beta = objective.beta
        return lambda batch: preferences.bipo(batch, moving, draws.choice((1.0, -1.0)), beta)
    lengths = preferences.lengths(objective.lengths)
    if isinstance(objective, Suppression):
        return lambda batch: preferences.suppression(batch, moving, lengths)
    factors = objective.factors
    return lambda batch: preferences.reps(batch, moving, draws.choice(factors), lengths)


class _Preferences:
    """Lessons whose two answers are compared; what they cost the model that is left alone is known."""

    def __init__(self, lessons: Sequence[Lesson], engine: Engine, site: Site) -> None:
        self._engine = engine
        self._site = site
        self._lessons = list(dict.fromkeys(lessons))
        self._rows = {lesson: row for row, lesson in enumerate(self._lessons)}

    @cached_property
    def _plain(self) -> Both:
        """Log-probabilities of all lessons without any edit."""
        with torch.no_grad():
            (plain,) = self._logs(self._lessons, [None])
        return plain

    def lengths(self, which: Lengths) -> Both:
        """Return what the log-probabilities of all lessons are divided by."""
        own = _token_counts(self._lessons, self._engine.target.device)
        if which == "response":
            return own
        texts = [lesson.base.text for lesson in self._lessons]
        encoded = PromptEncoder(self._engine.target.tokenizer).encode(texts)
        prompts = own.wanted.new_tensor([float(len(one.ids)) for one in encoded])
        return Both(own.wanted + prompts, own.unwanted + prompts)

    def reps(self, batch: Sequence[Lesson], moving: MovingEdit, factor: float, lengths: Both) -> Tensor:
        """Return the mean loss of RePS: under the edit the wanted answers are preferred; where it is nulled
        the others, but for lessons that bring nothing, which keep theirs either way."""
        rows = [self._rows[lesson] for lesson in batch]
        plain, divided = _of_rows(self._plain, rows), _of_rows(lengths, rows)
        steered, nulled = self._logs(batch, [moving.steering(factor), moving.nulling(factor)])
        turned = _bringing(batch, self._engine.target.device)
        margins = (
            reps_margin(steered, plain, divided),
            reps_margin(nulled.turned(turned), plain.turned(turned), divided.turned(turned)),
        )
        return (preference_loss(margins[0]) + preference_loss(margins[1])).mean()

    def suppression(self, batch: Sequence[Lesson], moving: MovingEdit, lengths: Both) -> Tensor:
        """Return the mean loss where the edit is nulled: of the preference for lessons that lose a value, of
        the answer that is to stay, per token, for the others."""
        rows = [self._rows[lesson] for lesson in batch]
        (nulled,) = self._logs(batch, [moving.nulling(1.0)])
        divided = _of_rows(lengths, rows)
        margin = nulled.wanted / divided.wanted - nulled.unwanted / divided.unwanted
        stays = -nulled.wanted / _token_counts(batch, self._engine.target.device).wanted
        return preference_loss(margin).where(_bringing(batch, margin.device), stays).mean()

    def bipo(self, batch: Sequence[Lesson], moving: MovingEdit, sign: float, beta: float) -> Tensor:
        """Return the mean loss of BiPO at strength 1 or -1, where the preference is turned round."""
        plain = _of_rows(self._plain, [self._rows[lesson] for lesson in batch])
        (now,) = self._logs(batch, [(moving.edit(), sign)])
        turned = _bringing(batch, self._engine.target.device) & (sign < 0)
        return preference_loss(bipo_margin(now.turned(turned), plain.turned(turned), beta=beta)).mean()

    def _logs(self, batch: Sequence[Lesson], runs: Sequence[tuple[Edit, float] | None]) -> list[Both]:
        """Return for each run, an edit with a strength or none, the log-probabilities of both answers of each
        lesson, summed over tokens."""
        members = grouped(range(len(batch)), lambda row: batch[row].place)
        groups = [
            FeaturizedPairs(
                [batch[row].forced(answer) for row in rows for answer in _answers(batch[row])],
                None if run is None else Steered(run[0], place, run[1]),
            )
            for run in runs
            for place, rows in members.items()
        ]
        judged = self._engine.forced_labels(groups, self._site)
        order = [row for rows in members.values() for row in rows]
        back = torch.tensor(sorted(range(len(order)), key=order.__getitem__))
        counts = _token_counts(batch, self._engine.target.device)
        found = []
        for start in range(0, len(judged), len(members)):
            costs = torch.cat([one.cross_entropy for one in judged[start : start + len(members)]])
            both = costs.view(-1, 2)[back.to(costs.device)]
            found.append(Both(-both[:, 0] * counts.wanted, -both[:, 1] * counts.unwanted))
        return found


def _answers(lesson: Lesson) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return lesson.wanted, lesson.unwanted


def _token_counts(lessons: Sequence[Lesson], device: torch.device) -> Both:
    """Return the numbers of tokens of both answers, [n] each in float32."""
    counts = [[float(len(answer)) for answer in _answers(lesson)] for lesson in lessons]
    table = torch.tensor(counts, device=device)
    return Both(table[:, 0], table[:, 1])


def _of_rows(both: Both, rows: list[int]) -> Both:
    return Both(both.wanted[rows], both.unwanted[rows])


def _bringing(batch: Sequence[Lesson], device: torch.device) -> Tensor:
    return torch.tensor([lesson.brings for lesson in batch], device=device)
