"""What training minimises: the cross entropy of forced labels, pooled over pairs; it knows no featurizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from das.engine.protocol import ForcedPair

__all__ = ["ForcedLabels", "LossWeights", "PairKind", "TrainingPair", "forced_labels", "pooled_loss"]

PairKind = Literal["cause", "isolate"]


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """A pair with the label that the target attribute asks for already forced."""

    forced: ForcedPair
    """Base, source and label: that is the source entity's answer (cause) or the base's own (isolate)."""
    kind: PairKind
    """Which of the two tasks the pair belongs to."""
    attribute: str
    """What the base template asks for."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much one pair of each kind counts in the pooled mean; (1, 1) is the plain mean over all pairs."""

    cause: float = 1.0
    """Weight of one cause pair."""
    isolate: float = 1.0
    """Weight of one isolate pair."""

    @classmethod
    def from_shares(cls, *, cause: float, isolate: float, n_cause: int, n_isolate: int) -> LossWeights:
        """Return weights under which the cause pairs together count `cause` and the isolate pairs `isolate`.

        Over all `n_cause + n_isolate` pairs the pooled loss is then `(cause * mean over cause pairs + isolate
        * mean over isolate pairs) / (cause + isolate)`, whatever the counts.
        """
        scale = (n_cause + n_isolate) / (cause + isolate)
        return cls(
            cause=scale * cause / n_cause if n_cause else 0.0,
            isolate=scale * isolate / n_isolate if n_isolate else 0.0,
        )

    def of(self, pairs: Sequence[TrainingPair]) -> list[float]:
        """Return each pair's weight, in order."""
        return [self.cause if pair.kind == "cause" else self.isolate for pair in pairs]


@dataclass(frozen=True, slots=True)
class ForcedLabels:
    """How a batch's forced labels fared."""

    cross_entropy: Tensor
    """Mean over the label's own tokens, in nats, [n_pairs]; carries the gradient."""
    correct: Tensor
    """True where the argmax equals the label at each of its tokens, bool [n_pairs]."""


def forced_labels(logits: Tensor, labels: Sequence[tuple[int, ...]]) -> ForcedLabels:
    """Judge logits [n_pairs, longest label, vocabulary] against labels of their own lengths (none empty).

    Each pair counts once, however long its label: the mean is over the label's tokens first.
    """
    longest = logits.shape[1]
    ids = torch.tensor([[*label, *[0] * (longest - len(label))] for label in labels], device=logits.device)
    lengths = torch.tensor([len(label) for label in labels], device=logits.device)
    real = torch.arange(longest, device=logits.device)[None, :] < lengths[:, None]
    # Flat rows: over a transposed table the softmax would stride through memory.
    flat = functional.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none")
    per_token = flat.view_as(ids)
    # `where` rather than a product: a filled position must not pass on a gradient, whatever stands there.
    per_pair = torch.where(real, per_token, per_token.new_zeros(())).sum(dim=1) / lengths
    with torch.no_grad():
        correct = ((logits.argmax(dim=-1) == ids) | ~real).all(dim=1)
    return ForcedLabels(cross_entropy=per_pair, correct=correct)


def pooled_loss(cross_entropy: Tensor, weights: Sequence[float]) -> Tensor:
    """Return `mean(weights * cross_entropy)` over a batch, a scalar; both [n_pairs].

    With weights of 1 this is the count-weighted mean of the two task losses, as in the joint objective of
    RAVEL (Huang et al. 2024, arXiv 2402.17700): one cross entropy over the pooled pairs.
    """
    return (cross_entropy * cross_entropy.new_tensor(list(weights))).mean()
