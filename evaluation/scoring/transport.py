"""Where attributes part, by optimal transport between what attributes should do and what sites do; it knows
no model and no fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EPSILON = 0.25
"""Weight of the entropy, in units of the cost, which a site that does nothing has 2 of."""
SITE_WEIGHT = 1.0
"""What it costs that sites are not used alike, in the same units."""
WORTH = 0.8
"""Share of the highest cause that a site must have to be worth fitting."""
_ROUNDS = 500


@dataclass(frozen=True, slots=True)
class PatchEffects:
    """What a swap of the whole vector at one site does to the pairs that ask for each attribute."""

    brought: Mapping[str, float]
    """By attribute, the share of its pairs that give the source's answer."""
    kept: Mapping[str, float]
    """By attribute, the share of its pairs that keep the base's."""


def transport_shares(
    effects: Mapping[str, PatchEffects], attributes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return by attribute the share of its mass that goes to each site, most to where it parts from the
    others.

    Progressive localisation by optimal transport (PLOT, arXiv 2605.06979), first stage. The effect of an
    attribute on a pair is (1, -1) if the pair asks for it, the source's answer gained and the base's lost,
    else (0, 0); that of a site is what a swap of its whole vector does. The cost of a site is the mean
    squared distance, each asked attribute weighing alike; entropic transport is one-sided: attributes send
    equal mass, sites receive equal mass at a price. Departures: verdicts on answers take the place of
    probabilities, for `full_vector` has them already; costs are means over pairs, whence weights of our own;
    an attribute sends nothing to sites where a swap brings it less than `WORTH` times as often as elsewhere,
    for the original leans to late layers, where a swap does little. Like the original it needs two attributes
    that can be told apart.
    """
    costs = [_costs(effects, target, attributes) for target in attributes]
    plan = one_sided_transport(costs, epsilon=EPSILON, weight=SITE_WEIGHT)
    return {
        attribute: {site: mass / sum(row) for site, mass in zip(effects, row, strict=True)}
        for attribute, row in zip(attributes, plan, strict=True)
    }


def _costs(effects: Mapping[str, PatchEffects], target: str, attributes: Sequence[str]) -> list[float]:
    """Return the cost of each site for an attribute; that of one which is not worth it is infinite."""
    least = WORTH * max(found.brought[target] for found in effects.values())
    return [
        _cost(found, target, attributes) if found.brought[target] >= least else math.inf
        for found in effects.values()
    ]


def _cost(effects: PatchEffects, target: str, attributes: Sequence[str]) -> float:
    """Return the squared distance between the effect of a site and that of an attribute; shares are means of
    squares, for a verdict is 0 or 1."""
    own = 1 - effects.brought[target] + effects.kept[target]
    others = (effects.brought[other] + 1 - effects.kept[other] for other in attributes if other != target)
    return own + sum(others)


def one_sided_transport(
    costs: Sequence[Sequence[float]], *, epsilon: float, weight: float
) -> list[list[float]]:
    """Return the plan [rows, columns] of least `sum(plan * costs) + epsilon KL(plan | a b^T) + weight
    KL(column sums | b)` with row sums a, where a and b are uniform; by Sinkhorn's scaling (Chizat et al.
    2018, arXiv 1607.05816)."""
    n_rows, n_columns = len(costs), len(costs[0])
    # A constant per row changes no plan whose row sums are fixed, and keeps the powers in range.
    kernel = [[math.exp((min(row) - cost) / epsilon) for cost in row] for row in costs]
    columns, exponent = [1.0] * n_columns, weight / (weight + epsilon)
    rows = [1.0] * n_rows
    for _ in range(_ROUNDS):
        rows = [1 / n_rows / _dot(row, columns) for row in kernel]
        received = [sum(r * row[at] for r, row in zip(rows, kernel, strict=True)) for at in range(n_columns)]
        columns = [(1 / n_columns / max(mass, 1e-300)) ** exponent for mass in received]
    rows = [1 / n_rows / _dot(row, columns) for row in kernel]
    return [
        [r * cell * column for cell, column in zip(row, columns, strict=True)]
        for r, row in zip(rows, kernel, strict=True)
    ]


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return max(math.fsum(a * b for a, b in zip(first, second, strict=True)), 1e-300)
