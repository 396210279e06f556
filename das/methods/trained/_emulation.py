"""Emulators of all attributes at one site, and the subspaces that are fitted on them; asks the model where
those lead. It decides neither rounds nor budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch
from torch import Tensor, optim

from das.engine.base.backward import add_gradients
from das.engine.base.protocol import Engine, FeaturizedPairs, ForcedPair
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import random_columns
from das.methods.common.base import Problem
from das.methods.common.labelled import training_prompts
from das.methods.common.recombined import Groups, Recombination, Recombined
from das.methods.common.tasks import ISOLATE_SHARE
from das.methods.trained._emulator import AnswerTokens, Asked, Emulator, Labels, Teaching, teach
from das.sites import Site
from das.training.examples import training_pair
from das.training.objective import PairKind
from das.training.schedules import learning_rate_at
from das.training.trainable import TrainableSubspace
from ravel.common.seeds import derive_seed
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import TRAIN_SPLIT

_WARM_UP = 0.05
_TOGETHER = 64
"""Pairs that the model is asked in one go."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a subspace is fitted on emulators."""

    steps: int
    """Optimiser steps."""
    learning_rate: float
    """Peak rate of AdamW."""
    batch_size: int
    """Pairs of a step."""
    bound: float
    """What bounds the loss of a pair, as in `bounded`."""

    def rate_at(self, step: int) -> float:
        """Return the rate of a step: a short warm-up, then a cosine."""
        return learning_rate_at(
            step,
            peak=self.learning_rate,
            total_steps=self.steps,
            warmup_fraction=_WARM_UP,
            schedule="cosine",
        )


@dataclass
class _Questions:
    """The training pairs that ask for one attribute, and what is known of the answers."""

    keeping: list[ForcedPair]
    """The pairs with the bases' own labels forced."""
    swapping: list[ForcedPair]
    """The same with the labels if swapped."""
    bases: Tensor
    """Rows of the bases' vectors, [n]."""
    sources: Tensor
    """Rows of the sources' vectors, [n]."""
    answers: AnswerTokens
    """The tokens of all labels."""
    kept: Labels
    """The bases' own labels."""
    swapped: Labels
    """The labels if swapped."""
    natural: tuple[Tensor, Labels]
    """Vectors of training prompts that ask for the attribute, with what is said of them."""
    recombined: Recombination
    """Pairs to fit on, for these cost no pass."""
    asked: list[Asked] = field(default_factory=list)
    """What the model was asked."""

    def labels(self, *, cause: bool) -> Labels:
        """Return the labels of cause pairs, or of isolate pairs."""
        return self.swapped if cause else self.kept


class Emulation:
    """The state of one emulation: questions, emulators, subspaces."""

    def __init__(self, problem: Problem, engine: Engine, label_tokens: int, hidden: int) -> None:
        """Read the vectors of all training prompts at the problem's site. `label_tokens` bounds labels."""
        self._engine, self._site, self._hidden = engine, problem.site, hidden
        self._seed = derive_seed(problem.seed, "emulation", str(problem.site), str(problem.size))
        self._stream = torch.Generator().manual_seed(self._seed)
        records = training_prompts(problem.instance)
        self._vectors = engine.collect([r.prompt for r in records], [problem.site])[problem.site].cpu()
        entities = Groups([record.prompt.entity for record in records])
        self._shape = (self._vectors.shape[1], problem.size)
        found = {
            attribute: _questions(
                problem.instance,
                records,
                self._vectors,
                Recombination(records, attribute, entities),
                attribute,
                label_tokens,
            )
            for attribute in problem.instance.attributes
        }
        self._questions = {attribute: asking for attribute, asking in found.items() if asking is not None}
        self.columns: dict[str, Tensor] = {}
        """Columns of each attribute's subspace, [width, size], once they were fitted."""

    def refit(self, teaching: Teaching, fitting: FitSettings) -> None:
        """Teach all emulators anew with what is known by now, and fit all subspaces on them."""
        emulators = {attribute: self._taught(attribute, teaching) for attribute in self._questions}
        self.columns = self._fitted(emulators, fitting)

    def ask(self, queries: int) -> None:
        """Ask the model, for each attribute's subspace, half of the queries about the attribute itself and
        the other half, in equal parts, about the others."""
        others = max(1, len(self._questions) - 1)
        for target, columns in self.columns.items():
            for attribute, questions in self._questions.items():
                share = queries // 2 if attribute == target else queries // (2 * others)
                chosen = torch.randperm(len(questions.keeping), generator=self._stream)[:share]
                if len(chosen):
                    questions.asked.append(self._answered(questions, chosen, columns, attribute == target))

    def _taught(self, attribute: str, teaching: Teaching) -> Emulator:
        questions = self._questions[attribute]
        stream = torch.Generator().manual_seed(derive_seed(self._seed, "emulator", attribute))
        emulator = Emulator(questions.answers, self._vectors, self._hidden, stream)
        asked = Asked.joined(questions.asked) if questions.asked else None
        teach(emulator, questions.natural, asked, teaching, stream)
        return emulator.requires_grad_(False)

    def _fitted(self, emulators: dict[str, Emulator], fitting: FitSettings) -> dict[str, Tensor]:
        """Return the columns of all subspaces, fitted side by side: none learns anything of another."""
        moving = {
            target: TrainableSubspace(random_columns(*self._shape, seed=derive_seed(self._seed, target)))
            for target in self._questions
        }
        parameters = [p for trainable in moving.values() for p in trainable.parameters()]
        optimiser = optim.AdamW(parameters, lr=fitting.learning_rate, weight_decay=0.0)
        stream = torch.Generator().manual_seed(derive_seed(self._seed, "order"))
        for step in range(fitting.steps):
            for group in optimiser.param_groups:
                group["lr"] = fitting.rate_at(step)
            optimiser.zero_grad(set_to_none=True)
            now = {target: trainable.current() for target, trainable in moving.items()}
            self._loss(emulators, now, fitting, stream).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            for trainable in moving.values():
                trainable.after_step((step + 1) / fitting.steps)
        return {target: trainable.finished().basis for target, trainable in moving.items()}

    def _loss(
        self,
        emulators: dict[str, Emulator],
        featurizers: dict[str, Subspace],
        fitting: FitSettings,
        stream: torch.Generator,
    ) -> Tensor:
        """Return the sum over targets of the pooled objective of MDAS on a batch of pairs, by the emulators:
        what all targets ask of one emulator goes through it together."""
        parts: dict[str, list[tuple[Tensor, Labels]]] = {attribute: [] for attribute in self._questions}
        for target, featurizer in featurizers.items():
            drawn = self._drawn(target, fitting.batch_size, stream)
            bases, sources = (
                self._vectors[torch.cat([getattr(pairs, name) for pairs in drawn.values()])]
                for name in ("bases", "sources")
            )
            sizes = [len(pairs.answers) for pairs in drawn.values()]
            swapped = featurizer.interchange(bases, sources).split(sizes)
            for (attribute, pairs), vectors in zip(drawn.items(), swapped, strict=True):
                _, said = self._questions[attribute].natural
                parts[attribute].append((vectors, said.at(pairs.answers)))
        found = [
            emulators[attribute].cross_entropy(
                torch.cat([vectors for vectors, _ in asked]), Labels.joined([labels for _, labels in asked])
            )
            for attribute, asked in parts.items()
        ]
        return bounded(torch.cat(found), fitting.bound).mean() * len(featurizers)

    def _drawn(self, target: str, batch_size: int, stream: torch.Generator) -> dict[str, Recombined]:
        """Return the pairs of each attribute that are taken for a target."""
        causes = max(1, round(batch_size / (1 + ISOLATE_SHARE)))
        each = max(1, round(ISOLATE_SHARE * causes / max(1, len(self._questions) - 1)))
        return {
            attribute: questions.recombined.causes(causes, stream)
            if attribute == target
            else questions.recombined.isolates(each, stream)
            for attribute, questions in self._questions.items()
        }

    def _answered(self, questions: _Questions, chosen: Tensor, columns: Tensor, cause: bool) -> Asked:
        forced = questions.swapping if cause else questions.keeping
        pairs = [forced[i] for i in chosen.tolist()]
        base, source = self._vectors[questions.bases[chosen]], self._vectors[questions.sources[chosen]]
        subspace = Subspace(columns)
        found, slopes = slopes_at(pairs, self._engine, self._site, subspace, source - base)
        labels = questions.labels(cause=cause).at(chosen)
        return Asked(subspace.interchange(base, source), labels, found, slopes)


def bounded(cross_entropy: Tensor, q: float) -> Tensor:
    """Return the generalised cross entropy `(1 - p^q) / q` of each pair, p its label's probability: at most
    1 / q, so that pairs which no subspace gets right do not steer; with q = 0 the cross entropy itself
    (Zhang and Sabuncu 2018, arXiv 1805.07836, equation 6)."""
    return cross_entropy if q == 0 else -torch.expm1(-q * cross_entropy) / q


def _questions(
    instance: Instance,
    records: Sequence[PromptRecord],
    vectors: Tensor,
    recombined: Recombination,
    attribute: str,
    label_tokens: int,
) -> _Questions | None:
    """Return the questions about an attribute, or None if no training pair asks for it. `vectors` are those
    of `records`."""
    pairs = [pair for pair in instance.pairs(TRAIN_SPLIT) if pair.attribute == attribute]
    if not pairs:
        return None
    said = [records[row].label_ids[:label_tokens] for row in recombined.rows.tolist()]
    answers = AnswerTokens(said)

    def forced(kind: PairKind) -> list[ForcedPair]:
        return [training_pair(instance, pair, kind, label_tokens).forced for pair in pairs]

    keeping, swapping = forced("isolate"), forced("cause")
    rows = {record.prompt_id: row for row, record in enumerate(records)}
    return _Questions(
        keeping=keeping,
        swapping=swapping,
        bases=torch.tensor([rows[pair.base] for pair in pairs]),
        sources=torch.tensor([rows[pair.source] for pair in pairs]),
        answers=answers,
        kept=answers.laid_out([pair.label_ids for pair in keeping]),
        swapped=answers.laid_out([pair.label_ids for pair in swapping]),
        natural=(vectors[recombined.rows], answers.laid_out(said)),
        recombined=recombined,
    )


def slopes_at(
    pairs: Sequence[ForcedPair], engine: Engine, site: Site, featurizer: Featurizer, differences: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of each pair's label, [n], and its gradient in the swapped vector, [n, width],
    on the CPU. `differences` [n, width] are the sources' vectors less the bases'; where one is zero there is
    nothing to swap, and its slope is 0."""
    found: list[Tensor] = []
    slopes: list[Tensor] = []
    device = engine.target.device
    for start in range(0, len(pairs), _TOGETHER):
        chunk = slice(start, start + _TOGETHER)
        shifts = [torch.zeros_like(each, device=device, requires_grad=True) for each in differences[chunk]]
        groups = [
            FeaturizedPairs([pair], _Shifted(featurizer, difference, shift).to(device))
            for pair, difference, shift in zip(pairs[chunk], differences[chunk], shifts, strict=True)
        ]
        with torch.enable_grad():
            judged = partial(engine.forced_labels, groups, site)
            answers = judged()
            found.extend(answer.cross_entropy.detach().cpu() for answer in answers)
            ones = [torch.ones_like(answer.cross_entropy) for answer in answers]
            add_gradients(engine, answers, ones, shifts, judged)
        slopes.extend(torch.zeros_like(s) if s.grad is None else s.grad for s in shifts)
    return torch.cat(found), torch.stack(slopes).cpu()


@final
class _Shifted(Featurizer):
    """A featurizer for one pair, whose swapped vector is moved by `shift` besides, which is 0: its gradient
    is the slope at the swapped vector. It lives as long as one call of an engine and is never saved."""

    kind = "shifted"

    def __init__(self, inner: Featurizer, difference: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.inner, self.shift = inner, shift
        self.keeps_error = inner.keeps_error
        self.register_buffer("reader", difference / difference.pow(2).sum().clamp_min(1e-30))

    reader: Tensor
    """What the difference of source and base is 1 along."""

    @property
    def width(self) -> int:
        return self.inner.width

    @property
    def size(self) -> int:
        return self.inner.size

    def encode(self, vectors: Tensor) -> Tensor:
        return torch.cat([self.inner.encode(vectors), (vectors @ self.reader)[..., None]], dim=-1)

    def decode(self, features: Tensor) -> Tensor:
        return self.inner.decode(features[..., :-1]) + features[..., -1:] * self.shift

    def mask(self) -> Tensor:
        mask = self.inner.mask()
        return torch.cat([mask, mask.new_ones(1)])
