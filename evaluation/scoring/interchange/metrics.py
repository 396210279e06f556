"""Cause, isolate and disentangle as pure functions of outcomes; it knows no model, no method and no
resampling.

Averages are macro at each level: pair -> template -> attribute. Nothing is rounded, unless
`rounding="reference"` asks for the public implementation's habit of rounding every template's accuracy to two
decimals first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.records.scores import Outcome
from evaluation.scoring.mean import mean, midpoint
from ravel.common.seeds import grouped

Answer = Literal["swapped", "unchanged"]
Rounding = Literal["none", "reference"]
REFERENCE_METRIC = "v2"
"""The metric version that rounds as RAVEL's public code does (Huang et al. 2024, arXiv 2402.17700)."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of pairs and how many pairs it rests on."""

    value: float | None
    """From 0 to 1; None exactly if `n` is 0."""
    n: int
    """Number of pairs."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The three scores of one target attribute."""

    cause: float | None
    """None exactly if `n_cause` is 0."""
    isolate: float | None
    """None exactly if `n_isolate` is 0."""
    disentangle: float | None
    """Mean of the two; None if one of them is."""
    n_cause: int
    """Number of cause pairs."""
    n_isolate: int
    """Number of isolate pairs."""


def template_accuracies(
    outcomes: Iterable[Outcome], attribute: str, answer: Answer, *, rounding: Rounding = "none"
) -> dict[str, Share]:
    """Return, per base template that asks for `attribute`, the share of pairs that gave this answer,
    templates sorted."""
    counts: dict[str, list[int]] = {}
    for outcome in outcomes:
        if outcome.attribute != attribute:
            continue
        count = counts.setdefault(outcome.base_template, [0, 0])
        count[0] += outcome.said_swapped if answer == "swapped" else outcome.said_unchanged
        count[1] += 1
    return {t: Share(rounded(right / n, rounding), n) for t, (right, n) in sorted(counts.items())}


def cause(outcomes: Iterable[Outcome], attribute: str, *, rounding: Rounding = "none") -> Share:
    """Cause(A): mean over A's templates of the share of pairs that gave the source entity's answer."""
    return mean_share(template_accuracies(outcomes, attribute, "swapped", rounding=rounding).values())


def isolate_from(outcomes: Iterable[Outcome], other: str, *, rounding: Rounding = "none") -> Share:
    """Isolate(A, A*): mean over A*'s templates of the share of pairs that kept the base entity's answer.

    `outcomes` are those of the featurizer of A; `other` is A*.
    """
    return mean_share(template_accuracies(outcomes, other, "unchanged", rounding=rounding).values())


def isolate(outcomes: Sequence[Outcome], attribute: str, *, rounding: Rounding = "none") -> Share:
    """Isolate(A): unweighted mean of Isolate(A, A*) over every other attribute A* that has pairs."""
    asked = grouped(outcomes, lambda outcome: outcome.attribute)
    others = sorted(asked.keys() - {attribute})
    return mean_share([isolate_from(asked[other], other, rounding=rounding) for other in others])


def scores(outcomes: Sequence[Outcome], attribute: str, *, rounding: Rounding = "none") -> Scores:
    """Return all three scores of target `attribute` with their numbers of pairs."""
    caused = cause(outcomes, attribute, rounding=rounding)
    isolated = isolate(outcomes, attribute, rounding=rounding)
    both = midpoint(caused.value, isolated.value)
    return Scores(caused.value, isolated.value, both, n_cause=caused.n, n_isolate=isolated.n)


def mean_share(parts: Collection[Share]) -> Share:
    """Return the unweighted mean of those shares that have pairs, and the number of pairs of all."""
    return Share(mean([p.value for p in parts if p.value is not None]), sum(p.n for p in parts))


def rounded(value: float, rounding: Rounding) -> float:
    """Return a template's share as a way of rounding has it."""
    return round(value, 2) if rounding == "reference" else value
