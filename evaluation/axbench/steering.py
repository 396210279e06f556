"""Steered answers, their ratings, and what they come to: factors are chosen on one half of the instructions
and reported on the other (Wu et al. 2025, arXiv 2501.17148). No model is known here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.scoring.steering.harmonic import harmonic_mean
from ravel.common.seeds import grouped
from ravel.common.typed import Record

FACTORS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0)
"""The grid of AxBench, in multiples of a concept's largest activation."""
_CHOSEN_ON = 0.5
"""Share of the instructions that is reported; the others choose the factor."""
AnswerKey = tuple[str, int, int, float]
"""Method, concept, number of the instruction, factor."""


@dataclass(frozen=True, slots=True)
class SteeredAnswer(Record):
    """What the steered model answers to one instruction."""

    SCHEMA = 1
    method: str
    """How the direction was found."""
    concept_id: int
    """Number of the concept."""
    instruction_id: int
    """Number of the instruction among the concept's, from 0."""
    instruction: str
    """What was asked."""
    factor: float
    """How far, in multiples of the concept's largest activation."""
    text: str
    """The answer."""
    schema_version: int = 1
    """Version of the file's form."""

    @property
    def key(self) -> AnswerKey:
        """What tells it from the others."""
        return self.method, self.concept_id, self.instruction_id, self.factor


@dataclass(frozen=True, slots=True)
class Rating(Record):
    """What a judge says of an answer."""

    SCHEMA = 1
    method: str
    """As in the answer."""
    concept_id: int
    """As in the answer."""
    instruction_id: int
    """As in the answer."""
    factor: float
    """As in the answer."""
    judge: str
    """Who rated."""
    concept: float
    """How far the concept is there, from 0 to 2."""
    instruction: float
    """How far the text is about the instruction, from 0 to 2."""
    fluency: float
    """How fluent it is, from 0 to 2."""
    schema_version: int = 1
    """Version of the file's form."""

    @property
    def key(self) -> AnswerKey:
        """That of the answer."""
        return self.method, self.concept_id, self.instruction_id, self.factor

    @property
    def overall(self) -> float:
        """Harmonic mean of the three, 0 if one is 0."""
        return harmonic_mean((self.concept, self.instruction, self.fluency))


@dataclass(frozen=True, slots=True)
class SteeringRow(Record):
    """How well one method steers towards one concept. What a model judged and what a rule counted stand in
    fields of their own, of which one is always empty."""

    SCHEMA = 1
    method: str
    """How the direction was found."""
    concept_id: int
    """Number of the concept."""
    judge: str
    """Who rated."""
    n_answers: int
    """Answers that were to be rated."""
    n_unfinished: int
    """Those without a rating, for the judge was down or said none; with any the row has no score."""
    factor: float | None
    """The factor with the largest mean overall rating on the first half of the instructions."""
    judged_overall: float | None
    """Mean overall rating at that factor on the second half, by a model."""
    exact_overall: float | None
    """The same by a rule."""
    schema_version: int = 1
    """Version of the file's form."""


def choosing_count(n_instructions: int) -> int:
    """Return how many of the instructions, the first ones, choose the factor."""
    return n_instructions - round(n_instructions * _CHOSEN_ON)


def steering_row(
    answers: Sequence[SteeredAnswer], ratings: Sequence[Rating], *, judge: str, exact: bool
) -> SteeringRow:
    """Return the row of one method and concept. Of equal means the first factor is chosen, as there."""
    method, concept_id = answers[0].method, answers[0].concept_id
    by_key = {rating.key: rating for rating in ratings}
    unfinished = sum(answer.key not in by_key for answer in answers)
    factor, overall = None, None
    if not unfinished:
        first = choosing_count(len({answer.instruction_id for answer in answers}))
        chosen = [by_key[a.key] for a in answers if a.instruction_id < first]
        factor = best_factor(chosen)
        reported = [by_key[a.key] for a in answers if a.instruction_id >= first and a.factor == factor]
        overall = mean_overall(reported)
    return SteeringRow(
        method=method,
        concept_id=concept_id,
        judge=judge,
        n_answers=len(answers),
        n_unfinished=unfinished,
        factor=factor,
        judged_overall=None if exact else overall,
        exact_overall=overall if exact else None,
    )


def best_factor(ratings: Iterable[Rating]) -> float:
    """Return the factor with the largest mean overall rating, the least of equal ones."""
    means = {factor: mean_overall(own) for factor, own in grouped(ratings, lambda r: r.factor).items()}
    return min(means, key=lambda factor: (-means[factor], factor))


def mean_overall(ratings: Sequence[Rating]) -> float:
    """Return the mean of overall ratings."""
    return sum(rating.overall for rating in ratings) / len(ratings)
