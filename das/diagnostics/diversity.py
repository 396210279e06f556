"""Whether swapped states vary as natural ones do that say the same; it knows no model, map or attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ravel.common.seeds import grouped

_FEWEST = 3
"""States that an answer needs, or their spread is chance."""


@dataclass(frozen=True, slots=True)
class Diversity:
    """The diversity ratio of some interchanges."""

    ratio: float | None
    """Spread of swapped states that should give one answer over that of natural ones; None if no answer is
    wanted often enough, or natural states with one answer are all the same."""
    n: int
    """Pairs behind it."""


def diversity_ratio(swapped: Tensor, natural: Tensor, answers: Sequence[str]) -> Diversity:
    """Return the diversity ratio of interchanges: near 0 a map gives one state per answer, whatever the base,
    as a table of answers would; near 1 what an answer leaves open varies as it does in natural states.

    `swapped` [n, d] holds states after interchanges, `natural` [n, d] the sources' own states, `answers` [n]
    what each pair should give. For each answer that at least three pairs want, the standard deviation over
    its states, averaged over coordinates; then the mean over answers of the swapped states' over that of the
    natural ones'. Source: the intervention diversity of Tower 2026 ("When Does Linear Causal Abstraction
    Work?", code and paper at github.com/elliottower/causal-geometry-grokking), which found it near 0 for
    unconstrained maps.
    """
    groups = grouped(range(len(answers)), lambda place: answers[place])
    kept = [places for places in groups.values() if len(places) >= _FEWEST]
    spreads = [[_spread(states[places]) for places in kept] for states in (swapped, natural)]
    changed, own = (sum(found) for found in spreads)
    return Diversity(changed / own if own > 0 else None, sum(map(len, kept)))


def _spread(states: Tensor) -> float:
    """Return the standard deviation over states [n, d], averaged over coordinates, in float64."""
    deviations: Tensor = torch.std(states.double(), dim=0, correction=1)
    return float(deviations.mean())
