"""Which of several candidates are kept: the best of each example, if it is good enough; what they are is not
known here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SUPERCHARGED = 1 / 3
"""The share of kept examples that ReSet-S goes on with."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The best candidate of an example."""

    example: int
    """Place of the example."""
    candidate: int
    """Place of the candidate among the example's."""
    score: float
    """Its score."""


def weighted_score(scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the sum of weights times scores, over the names of `weights`. Raises KeyError for a name without
    a score."""
    return math.fsum(weight * scores[name] for name, weight in weights.items())


def best_candidates(
    scores: Sequence[Sequence[float]], *, threshold: float | None = None, share: float = 1.0
) -> list[Kept]:
    """Return the best candidate of each example, of equal ones the first, if its score is at least
    `threshold`; of those the `share` with the highest scores, rounded up, of equal ones the first again. In
    the order of the examples; an example without candidates has none (ReSet, arXiv 2407.21417)."""
    best = [
        Kept(example, own.index(max(own)), max(own)) for example, own in enumerate(map(list, scores)) if own
    ]
    good = [kept for kept in best if threshold is None or kept.score >= threshold]
    # A third of 3 must be 1, whatever the product rounds to.
    most = math.ceil(len(good) * share - 1e-9)
    chosen = sorted(good, key=lambda kept: (-kept.score, kept.example))[:most]
    return sorted(chosen, key=lambda kept: kept.example)
