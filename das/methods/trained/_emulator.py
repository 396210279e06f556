"""A small network that answers as the model above a site does. It is taught by natural answers, and by how
the model fares, and with which slope, where vectors were swapped. It knows vectors and labels, no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from das.training.schedules import learning_rate_at

Label = tuple[int, ...]
"""Token ids of an answer, as far as it is forced."""

_RATE = 3e-3
_WEIGHT_DECAY = 1e-2
_BATCH = 256
"""Vectors of a step of teaching: half of them natural, half swapped."""
_SCATTER = 0.5
"""Spread of what a beginning of a label adds to the hidden units at first."""
_NEAR_ONE = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels laid out token by token; all [n, longest]."""

    tokens: Tensor
    """Each token's place among the answers' tokens."""
    prefixes: Tensor
    """Which beginning of a label the token follows."""
    weights: Tensor
    """One by the label's length where there is a token, else 0."""

    @staticmethod
    def joined(parts: Sequence[Labels]) -> Labels:
        """Return labels one after the other; they are equally wide."""
        names = ("tokens", "prefixes", "weights")
        return Labels(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def at(self, rows: Tensor) -> Labels:
        """Return the labels of some rows."""
        return Labels(self.tokens[rows], self.prefixes[rows], self.weights[rows])


class AnswerTokens:
    """The tokens that answers about one attribute are made of, and the beginnings that they may follow."""

    def __init__(self, labels: Sequence[Label]) -> None:
        """`labels` are all that will be asked about; none is empty."""
        different = sorted(set(labels))
        tokens = sorted({token for label in different for token in label})
        beginnings = sorted({label[:i] for label in different for i in range(len(label))})
        self._tokens = {token: i for i, token in enumerate(tokens)}
        self._prefixes = {prefix: i for i, prefix in enumerate(beginnings)}
        self._longest = max(map(len, different))
        self.counts = (len(tokens), len(beginnings))
        """How many different tokens there are, and how many beginnings, the empty one among them."""

    def laid_out(self, labels: Sequence[Label]) -> Labels:
        """Return labels token by token, as wide as the longest of all."""
        shape = (len(labels), self._longest)
        tokens, prefixes = (torch.zeros(shape, dtype=torch.long) for _ in range(2))
        weights = torch.zeros(shape)
        for row, label in enumerate(labels):
            for place, token in enumerate(label):
                tokens[row, place] = self._tokens[token]
                prefixes[row, place] = self._prefixes[label[:place]]
                weights[row, place] = 1 / len(label)
        return Labels(tokens, prefixes, weights)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the model said where vectors were swapped."""

    vectors: Tensor
    """What stood at the site, [n, width]."""
    labels: Labels
    """The label that was forced, of each."""
    cross_entropy: Tensor
    """The model's mean over the label's tokens, in nats, [n]."""
    slopes: Tensor
    """Its gradient in the vector, [n, width]."""

    @staticmethod
    def joined(parts: Sequence[Asked]) -> Asked:
        """Return all that was asked, one after the other; labels are as long in each part."""
        labels = Labels.joined([part.labels for part in parts])
        vectors, found, slopes = (
            torch.cat([getattr(p, name) for p in parts]) for name in ("vectors", "cross_entropy", "slopes")
        )
        return Asked(vectors, labels, found, slopes)


class Emulator(nn.Module):
    """Says which token of an answer comes next for a vector at the site: linear in it, and one hidden layer.

    Beside the answers' tokens it has one place for all others, for a swapped vector may make a model say
    anything.
    """

    def __init__(self, answers: AnswerTokens, natural: Tensor, hidden: int, stream: torch.Generator) -> None:
        """`natural` [n, width] says in which units vectors come; `hidden` is the number of hidden units."""
        super().__init__()
        (n_tokens, n_prefixes), width = answers.counts, natural.shape[1]
        self.register_buffer("center", natural.mean(dim=0))
        self.register_buffer("scale", natural.std(dim=0).mean().clamp_min(1e-12))

        def drawn(rows: int, columns: int, spread: float) -> nn.Parameter:
            return nn.Parameter(spread * torch.randn(rows, columns, generator=stream))

        self.into = drawn(width, hidden, 1 / math.sqrt(3 * width))
        self.after = drawn(n_prefixes, hidden, _SCATTER)
        self.out = drawn(hidden, n_tokens + 1, 1 / math.sqrt(3 * hidden))
        self.straight = drawn(width, n_tokens + 1, 1 / math.sqrt(3 * width))
        self.usual = nn.Parameter(torch.zeros(n_prefixes, n_tokens + 1))

    center: Tensor
    scale: Tensor

    def forward(self, vectors: Tensor, prefixes: Tensor) -> Tensor:
        """Return log probabilities [n, tokens + 1] of what follows each prefix [n] for vectors [n, width]."""
        units = (vectors - self.center) / self.scale
        hidden = functional.gelu(units @ self.into + self.after[prefixes])
        return functional.log_softmax(
            hidden @ self.out + units @ self.straight + self.usual[prefixes], dim=-1
        )

    def cross_entropy(self, vectors: Tensor, labels: Labels) -> Tensor:
        """Return the mean over each label's tokens, in nats, [n]."""
        rows, places = labels.weights.nonzero(as_tuple=True)
        said = self(vectors[rows], labels.prefixes[rows, places])
        own = said.gather(1, labels.tokens[rows, places][:, None])[:, 0]
        return torch.zeros(len(vectors)).index_add(0, rows, -own * labels.weights[rows, places])


@dataclass(frozen=True, slots=True)
class Teaching:
    """How an emulator is taught."""

    steps: int
    """Optimiser steps."""
    slope_weight: float
    """What the slopes count beside the answers."""


def teach(
    emulator: Emulator,
    natural: tuple[Tensor, Labels],
    asked: Asked | None,
    how: Teaching,
    stream: torch.Generator,
) -> None:
    """Teach an emulator on natural vectors with what is said of them, and on what was asked; in place.

    What was asked is matched in the probability of the forced label and in the slope of its cross entropy, as
    gradients are in Sobolev training (Czarnecki et al. 2017, arXiv 1706.04859).
    """
    optimiser = optim.AdamW(emulator.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    vectors, labels = natural
    for step in range(how.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(
                step, peak=_RATE, total_steps=how.steps, warmup_fraction=0.0, schedule="cosine"
            )
        rows = torch.randint(0, len(vectors), (_BATCH // 2,), generator=stream)
        loss = emulator.cross_entropy(vectors[rows], labels.at(rows)).mean()
        if asked is not None:
            loss = loss + _apart(emulator, asked, how.slope_weight, stream)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _apart(emulator: Emulator, asked: Asked, slope_weight: float, stream: torch.Generator) -> Tensor:
    """Return how far an emulator is from what the model said, on a batch."""
    rows = torch.randint(0, len(asked.vectors), (_BATCH // 2,), generator=stream)
    vectors = asked.vectors[rows].requires_grad_()
    found = emulator.cross_entropy(vectors, asked.labels.at(rows))
    (slopes,) = torch.autograd.grad(found.sum(), vectors, create_graph=True)
    said = torch.exp(-asked.cross_entropy[rows])
    unsaid = torch.log1p(-torch.exp(-found).clamp_max(_NEAR_ONE))
    answers = (said * found - (1 - said) * unsaid).mean()
    usual = asked.slopes.pow(2).sum(dim=1).mean().clamp_min(1e-12)
    return answers + slope_weight * (slopes - asked.slopes[rows]).pow(2).sum(dim=1).mean() / usual
