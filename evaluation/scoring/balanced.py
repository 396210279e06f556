"""Class-balanced cause, isolate and disentangle: every expected answer weighs the same; it runs no model.

Pair -> class of the expected answer -> template -> attribute, unweighted means at each level. Where one value
is common, always saying it scores well on plain averages, and 1 over the number of classes on these. Within
one template, cause is the balanced accuracy of `sklearn.metrics.balanced_accuracy_score`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from evaluation.records.scores import AverageRecord, Outcome
from evaluation.scoring.averages import average_attributes, mean_of
from evaluation.scoring.intervals import Sampled, Spreads
from evaluation.scoring.metrics import Answer, Measure, Scores, midpoint
from evaluation.scoring.strata import Strata, verdicts_of, without_draws
from evaluation.scoring.summary import Evidence, MethodSample, SplitContext, average_records
from ravel.checking.values import normalised
from ravel.common.errors import SuiteError
from ravel.terms.schema import InterchangePair

__all__ = [
    "BalancedScorer",
    "Classes",
    "balanced_cause",
    "balanced_isolate",
    "balanced_isolate_from",
    "balanced_scores",
    "classes_of",
]

Classes = Mapping[str, tuple[str, str]]
"""{pair id: (class of `if_swapped`, class of `if_unchanged`)}"""


def classes_of(pairs: Iterable[InterchangePair]) -> dict[str, tuple[str, str]]:
    """Return the classes of both answers of each pair: the model's labels, `normalised`."""
    return {p.pair_id: (normalised(p.if_swapped), normalised(p.if_unchanged)) for p in pairs}


def balanced_cause(outcomes: Iterable[Outcome], attribute: str, classes: Classes) -> Measure:
    """Cause(A), balanced: mean over A's templates of the mean over classes of the source's answer of the
    share of pairs that gave it."""
    return _balanced(outcomes, attribute, "swapped", classes)


def balanced_isolate_from(outcomes: Iterable[Outcome], other: str, classes: Classes) -> Measure:
    """Isolate(A, A*), balanced: as `balanced_cause` of A*'s pairs, over classes of the base's answer that
    should stay."""
    return _balanced(outcomes, other, "unchanged", classes)


def balanced_isolate(outcomes: Sequence[Outcome], attribute: str, classes: Classes) -> Measure:
    """Isolate(A), balanced: unweighted mean of Isolate(A, A*) over every other attribute that has pairs."""
    others = sorted({outcome.attribute for outcome in outcomes} - {attribute})
    parts = [balanced_isolate_from(outcomes, other, classes) for other in others]
    return Measure(_mean([p.value for p in parts if p.value is not None]), sum(p.n for p in parts))


def balanced_scores(outcomes: Sequence[Outcome], attribute: str, classes: Classes) -> Scores:
    """Return the three balanced scores of target `attribute` with their numbers of pairs.

    Raises SuiteError for an outcome whose pair has no classes.
    """
    caused = balanced_cause(outcomes, attribute, classes)
    isolated = balanced_isolate(outcomes, attribute, classes)
    both = midpoint(caused.value, isolated.value)
    return Scores(caused.value, isolated.value, both, n_cause=caused.n, n_isolate=isolated.n)


class BalancedScorer:
    """Balanced scores of any methods on one split, whose classes are found once."""

    def __init__(self, pairs: Sequence[InterchangePair], split: SplitContext) -> None:
        """`pairs` are all of the split."""
        self._split = split
        self._pairs = pairs
        self._classes = classes_of(pairs)
        self._ids = [pair.pair_id for pair in pairs]
        self._strata: dict[str, Strata] = {}

    def records(self, evidence: Sequence[Evidence]) -> list[AverageRecord]:
        """Return every method's balanced scores: per attribute the mean over seeds, and over attributes.

        Records are as those of `averages.jsonl`, with intervals of the same kind. Raises SuiteError unless
        the evidence holds an outcome for each pair.
        """
        samples = []
        for method in dict.fromkeys(e.method for e in evidence):
            own = [e for e in evidence if e.method == method]
            attributes = {e.attribute: self._mean_over_seeds(e) for e in own}
            seeds = {e.attribute: e.seeds for e in own}
            samples.append(MethodSample(method, attributes, seeds, average_attributes(attributes)))
        return average_records(samples, self._split)

    def sampled(self, outcomes: Sequence[Outcome], attribute: str) -> Sampled:
        """Score one target on the outcomes, with what the intervals come from."""
        point, said = balanced_scores(outcomes, attribute, self._classes), verdicts_of(outcomes, self._ids)
        asked = {pair.attribute for pair in self._pairs}
        others = sorted(asked - {attribute})
        right = np.where([pair.attribute == attribute for pair in self._pairs], said.swapped, said.unchanged)
        cause = {attribute: 1.0} if attribute in asked else {}
        isolate = {name: 1 / len(others) for name in others}
        both = {n: weight / 2 for n, weight in (cause | isolate).items()} if cause and isolate else {}
        strata = self._sorted(attribute)
        spreads = (strata.spread(right, part) if part else None for part in (cause, isolate, both))
        return without_draws(point, Spreads(*spreads))

    def _sorted(self, target: str) -> Strata:
        """Return the pairs in the classes of what is expected for this target."""
        if target not in self._strata:
            expected = [self._classes[p.pair_id][0 if p.attribute == target else 1] for p in self._pairs]
            self._strata[target] = Strata(self._pairs, expected, self._split.resamples.clusters)
        return self._strata[target]

    def _mean_over_seeds(self, evidence: Evidence) -> Sampled:
        parts = [self.sampled(outcomes, evidence.attribute) for outcomes in evidence.read()]
        mean, one = mean_of(parts), parts[0].point
        # The pairs of all seeds are the same, so their number is that of one.
        return replace(mean, point=replace(mean.point, n_cause=one.n_cause, n_isolate=one.n_isolate))


def _balanced(outcomes: Iterable[Outcome], attribute: str, answer: Answer, classes: Classes) -> Measure:
    counts: dict[str, dict[str, list[int]]] = {}
    for outcome in outcomes:
        if outcome.attribute != attribute:
            continue
        name = _class(outcome, answer, classes)
        count = counts.setdefault(outcome.base_template, {}).setdefault(name, [0, 0])
        count[0] += outcome.said_swapped if answer == "swapped" else outcome.said_unchanged
        count[1] += 1
    per_template = [_mean([right / n for right, n in by_class.values()]) for by_class in counts.values()]
    total = sum(n for by_class in counts.values() for _, n in by_class.values())
    return Measure(_mean([value for value in per_template if value is not None]), total)


def _class(outcome: Outcome, answer: Answer, classes: Classes) -> str:
    if outcome.pair_id not in classes:
        raise SuiteError(
            expected="outcomes of the pairs whose classes are known",
            came=f"an outcome of pair {outcome.pair_id!r}, which is not among them",
            todo="use outcomes and instance of one run",
        )
    return classes[outcome.pair_id][0 if answer == "swapped" else 1]


def _mean(values: Sequence[float]) -> float | None:
    # fsum: the score must depend neither on the order of outcomes nor on the names of classes.
    return math.fsum(values) / len(values) if values else None
