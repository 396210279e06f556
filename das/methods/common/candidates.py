"""Candidate interventions around a fitted subspace, what the model says under each, and what is kept of them;
nothing is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import final

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import Engine, FeaturizedPairs, ForcedPair
from das.featurizers.base import Featurizer
from das.methods.common.base import Problem
from das.methods.common.labelled import training_prompts
from das.rejection import Kept, best_candidates
from das.sites import Site
from das.training.objective import TrainingPair
from ravel.common.config import Config
from ravel.common.seeds import python_stream, sampled
from ravel.instance import Instance, PromptRecord
from ravel.instance.values import entity_values
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair, Prompt

_AT_ONCE = 32
"""Examples that are judged at once, under all candidates."""


class CandidateConfig(Config):
    """Which candidates are drawn, how they are scored, and which are kept."""

    reset_pairs: PositiveInt = 200
    """Most cause pairs for which candidates are drawn; a larger population is sampled."""
    candidates: PositiveInt = 8
    """Candidates of each pair; the first is the plain interchange of the fitted subspace."""
    rank_shares: tuple[PositiveFloat, ...] = (0.5, 0.75, 1.0)
    """Shares of the subspace's dimensions that a candidate may swap; which dimensions is drawn."""
    factors: tuple[PositiveFloat, ...] = (0.5, 1.0, 1.5, 2.0)
    """How far a candidate may go from the base's coordinates to the source's; 1 is a swap."""
    sampled: bool = False
    """Answers are drawn from what the model says, not the likeliest."""
    cause_score: NonNegativeFloat = 1.0
    """What the source's answer counts in a candidate's score."""
    isolate_score: NonNegativeFloat = 1.0
    """What the share of the base's other questions counts that keep their answers."""
    fluency_score: NonNegativeFloat = 0.5
    """What it counts that either the base's or the source's answer is said."""
    threshold: float | None = 2.0
    """Least score of what is kept; by default nothing is kept without the source's answer."""
    kept_share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the kept pairs to go on with, the best first; a third is ReSet-S."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """One way to interchange in a subspace."""

    columns: tuple[int, ...]
    """Columns of the basis that are swapped."""
    factor: float
    """How far: 0 leaves the base's coordinates, 1 brings the source's."""


@final
class Interpolated(Featurizer):
    """Moves some coordinates of a basis by a factor of what a swap would. It lives while candidates are
    judged and is never saved."""

    kind = "interpolated"

    def __init__(self, basis: Tensor, intervention: Intervention) -> None:
        super().__init__()
        self._basis = basis[:, list(intervention.columns)]
        self._factor = intervention.factor

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return int(self._basis.shape[0])

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the coordinates in the chosen columns: [..., d_model] to [..., rank]."""
        return vectors @ self._basis

    def decode(self, features: Tensor) -> Tensor:
        """Return the vectors with these coordinates: [..., rank] to [..., d_model]."""
        return features @ self._basis.mT

    def mask(self) -> Tensor:
        """Return the factor for each coordinate, [rank]; it may exceed 1."""
        return self._basis.new_full((self._basis.shape[1],), self._factor)


@dataclass(frozen=True, slots=True)
class OtherQuestion:
    """A prompt about the base's entity with its own answer."""

    prompt: Prompt
    """Asks for another attribute than the target."""
    label_ids: tuple[int, ...]
    """The answer."""


@dataclass(frozen=True, slots=True)
class Example:
    """A cause pair, what else is asked of its base's entity, and a source for each candidate."""

    base: Prompt
    """Asks for the target."""
    unchanged: tuple[int, ...]
    """The base's own answer."""
    swapped: tuple[int, ...]
    """The source's answer."""
    others: tuple[OtherQuestion, ...]
    """A question for each other attribute that training prompts ask of the entity; at least one."""
    sources: tuple[Prompt, ...]
    """The pair's own source, then others of entities with the same value of the target."""

    def judged_pairs(self, candidate: int) -> list[ForcedPair]:
        """Return what is judged under a candidate: both answers of the base, then the other questions."""
        source = self.sources[candidate]
        asked = [(self.base, self.swapped), (self.base, self.unchanged)]
        asked += [(other.prompt, other.label_ids) for other in self.others]
        return [ForcedPair(prompt, source, label_ids) for prompt, label_ids in asked]


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said under one candidate."""

    swapped: bool
    """The source's answer to the base."""
    unchanged: bool
    """The base's own."""
    others: tuple[bool, ...]
    """Whether each other question kept its answer."""

    def score(self, config: CandidateConfig) -> float:
        """Return cause, isolate and fluency with their weights; each is from 0 to 1, by exact match."""
        isolate = sum(self.others) / len(self.others)
        fluent = self.swapped or self.unchanged
        return (
            config.cause_score * self.swapped + config.isolate_score * isolate + config.fluency_score * fluent
        )


def drawn_interventions(size: int, config: CandidateConfig, stream: Random) -> list[Intervention]:
    """Return the plain interchange and then drawn ones, as many as there are candidates."""
    made = [Intervention(tuple(range(size)), 1.0)]
    while len(made) < config.candidates:
        rank = max(1, min(size, round(size * stream.choice(config.rank_shares))))
        columns = tuple(sorted(stream.sample(range(size), rank)))
        made.append(Intervention(columns, stream.choice(config.factors)))
    return made


def drawn_examples(
    problem: Problem, config: CandidateConfig, *, seed: int, label_tokens: int
) -> list[Example]:
    """Return training cause pairs of the target with their candidates' sources. All prompts are those of
    training pairs. Pairs whose answers do not differ within `label_tokens`, or whose entity is asked nothing
    else, are passed over."""
    instance, target = problem.instance, problem.attribute
    prompts = training_prompts(instance)
    values = entity_values(instance, target, (TRAIN_SPLIT,))
    of_value: dict[str, list[Prompt]] = {}
    for record in prompts:
        if record.prompt.entity in values:
            of_value.setdefault(values[record.prompt.entity], []).append(record.prompt)
    others = _questions(prompts, target)
    pairs = [pair for pair in instance.pairs(TRAIN_SPLIT) if pair.attribute == target]
    made = []
    for pair in sampled(pairs, config.reset_pairs, seed, "reset", target):
        stream = python_stream(seed, "reset", pair.pair_id)
        about = [
            _question(stream.choice(own), label_tokens) for own in others.get(pair.base_entity, {}).values()
        ]
        alike = of_value.get(values.get(pair.source_entity, ""), [])
        example = _example(instance, pair, about, label_tokens)
        if example is not None:
            more = [
                stream.choice(alike) if alike else example.sources[0] for _ in range(config.candidates - 1)
            ]
            made.append(_with_sources(example, more))
    return made


def _questions(prompts: Sequence[PromptRecord], target: str) -> dict[str, dict[str, list[PromptRecord]]]:
    """Return the prompts that ask for something else, by entity and attribute."""
    found: dict[str, dict[str, list[PromptRecord]]] = {}
    for record in prompts:
        attribute = record.prompt.attribute
        if attribute not in (None, target) and record.label_ids:
            found.setdefault(record.prompt.entity, {}).setdefault(str(attribute), []).append(record)
    return {entity: dict(sorted(of_entity.items())) for entity, of_entity in found.items()}


def _question(record: PromptRecord, label_tokens: int) -> OtherQuestion:
    return OtherQuestion(record.prompt, record.label_ids[:label_tokens])


def _example(
    instance: Instance, pair: InterchangePair, others: Sequence[OtherQuestion], label_tokens: int
) -> Example | None:
    base, swapped = instance.prompt(pair.base), instance.prompt(pair.swapped)
    answers = base.label_ids[:label_tokens], swapped.label_ids[:label_tokens]
    if not others or answers[0] == answers[1]:
        return None
    source = instance.prompt(pair.source).prompt
    return Example(base.prompt, *answers, tuple(others), (source,))


def _with_sources(example: Example, more: Sequence[Prompt]) -> Example:
    sources = (*example.sources, *more)
    return Example(example.base, example.unchanged, example.swapped, example.others, sources)


@torch.no_grad()
def judged(
    examples: Sequence[Example],
    basis: Tensor,
    interventions: Sequence[Intervention],
    engine: Engine,
    site: Site,
    config: CandidateConfig,
    *,
    seed: int,
) -> list[list[Said]]:
    """Return what the model says to each example under each candidate: by exact match of the likeliest answer
    or, with `sampled`, of one that is drawn."""
    featurizers = [Interpolated(basis, one) for one in interventions]
    stream = python_stream(seed, "reset", "answers") if config.sampled else None
    found: list[list[Said]] = []
    for start in range(0, len(examples), _AT_ONCE):
        some = examples[start : start + _AT_ONCE]
        groups = [
            FeaturizedPairs([pair for one in some for pair in one.judged_pairs(k)], featurizer)
            for k, featurizer in enumerate(featurizers)
        ]
        answers = engine.forced_labels(groups, site)
        by_candidate = [
            _said_by(some, group.pairs, labels, stream) for group, labels in zip(groups, answers, strict=True)
        ]
        found += [list(of_example) for of_example in zip(*by_candidate, strict=True)]
    return found


def _said_by(
    examples: Sequence[Example], pairs: Sequence[ForcedPair], labels: ForcedLabels, stream: Random | None
) -> list[Said]:
    correct: list[bool] = labels.correct.tolist()
    entropies: list[float] = labels.cross_entropy.tolist()
    found, at = [], 0
    for example in examples:
        places = range(at, at + 2 + len(example.others))
        at = places.stop
        flags = [correct[i] for i in places]
        if stream is not None:
            chances = [float(torch.tensor(-entropies[i] * len(pairs[i].label_ids)).exp()) for i in places]
            first = stream.random()
            flags = [first < chances[0], chances[0] <= first < chances[0] + chances[1]]
            flags += [stream.random() < chance for chance in chances[2:]]
        # Of two answers of which one begins with the other the longer was said.
        both = flags[0] and flags[1]
        longer = len(example.swapped) > len(example.unchanged)
        found.append(
            Said(flags[0] and not (both and not longer), flags[1] and not (both and longer), tuple(flags[2:]))
        )
    return found


def kept_pairs(
    examples: Sequence[Example], said: Sequence[Sequence[Said]], config: CandidateConfig, target: str
) -> tuple[list[Kept], list[TrainingPair]]:
    """Return the best candidate of each example that is good enough, and pairs to train on: what was said
    under it, as far as it was what is wanted, with the candidate's source."""
    scores = [[one.score(config) for one in of_example] for of_example in said]
    kept = best_candidates(scores, threshold=config.threshold, share=config.kept_share)
    pairs: list[TrainingPair] = []
    for one in kept:
        example, answers = examples[one.example], said[one.example][one.candidate]
        source = example.sources[one.candidate]
        if answers.swapped:
            pairs.append(TrainingPair(ForcedPair(example.base, source, example.swapped), "cause", target))
        pairs += [
            TrainingPair(
                ForcedPair(other.prompt, source, other.label_ids), "isolate", str(other.prompt.attribute)
            )
            for other, kept_answer in zip(example.others, answers.others, strict=True)
            if kept_answer
        ]
    return kept, pairs
