"""What training minimises: the cross entropy of forced labels, pooled over pairs; it knows no featurizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from das.engine.base.protocol import ForcedPair

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


def pooled_loss(cross_entropy: Tensor, weights: Sequence[float]) -> Tensor:
    """Return `mean(weights * cross_entropy)` over a batch, a scalar; both [n_pairs]. With weights of 1 it is
    the joint objective of RAVEL (Huang et al. 2024, arXiv 2402.17700)."""
    return (cross_entropy * cross_entropy.new_tensor(list(weights))).mean()
