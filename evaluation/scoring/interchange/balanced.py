"""Class-balanced cause, isolate and disentangle: every expected answer weighs the same; it runs no model.

Pair -> class of the expected answer -> template -> attribute, unweighted means at each level. Where one value
is common, always saying it scores well on plain averages, and 1 over the number of classes on these. Within
one template, cause is the balanced accuracy of `sklearn.metrics.balanced_accuracy_score`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evaluation.records.scores import AverageRecord, Outcome
from evaluation.scoring.averages import mean_of_seeds
from evaluation.scoring.interchange.estimates import estimates_of
from evaluation.scoring.interchange.metrics import Answer, Scores, Share, mean_share
from evaluation.scoring.interchange.strata import Strata, verdicts_of
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.mean import mean, midpoint
from evaluation.scoring.summary import SeedOutcomes, SplitContext, average_records, estimate_methods_by
from evaluation.scoring.variance import Spread
from ravel.checking.values import normalised
from ravel.common.errors import SuiteError
from ravel.common.seeds import grouped
from ravel.terms.schema import InterchangePair

Classes = Mapping[str, tuple[str, str]]
"""{pair id: (class of `if_swapped`, class of `if_unchanged`)}"""


def classes_of(pairs: Iterable[InterchangePair]) -> dict[str, tuple[str, str]]:
    """Return the classes of both answers of each pair: the model's labels, `normalised`."""
    return {p.pair_id: (normalised(p.if_swapped), normalised(p.if_unchanged)) for p in pairs}


def balanced_cause(outcomes: Iterable[Outcome], attribute: str, classes: Classes) -> Share:
    """Cause(A), balanced: mean over A's templates of the mean over classes of the source's answer of the
    share of pairs that gave it."""
    return _balanced(outcomes, attribute, "swapped", classes)


def balanced_isolate_from(outcomes: Iterable[Outcome], other: str, classes: Classes) -> Share:
    """Isolate(A, A*), balanced: as `balanced_cause` of A*'s pairs, over classes of the base's answer that
    should stay."""
    return _balanced(outcomes, other, "unchanged", classes)


def balanced_isolate(outcomes: Sequence[Outcome], attribute: str, classes: Classes) -> Share:
    """Isolate(A), balanced: unweighted mean of Isolate(A, A*) over every other attribute that has pairs."""
    asked = grouped(outcomes, lambda outcome: outcome.attribute)
    others = sorted(asked.keys() - {attribute})
    return mean_share([balanced_isolate_from(asked[other], other, classes) for other in others])


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

    def records(self, seed_outcomes: Sequence[SeedOutcomes[Outcome]]) -> list[AverageRecord]:
        """Return every method's balanced scores: per attribute the mean over seeds, and over attributes.

        Records are as those of `averages.jsonl`, with intervals of the same kind. Raises SuiteError unless
        the outcomes hold an outcome for each pair.
        """
        estimates = estimate_methods_by(self._mean_over_seeds, seed_outcomes, self._split.track.criterion)
        return average_records(estimates, self._split)

    def estimate(self, outcomes: Sequence[Outcome], attribute: str) -> dict[str, Estimate]:
        """Score one target on the outcomes, with what the intervals come from."""
        point, said = balanced_scores(outcomes, attribute, self._classes), verdicts_of(outcomes, self._ids)
        right = np.where([pair.attribute == attribute for pair in self._pairs], said.swapped, said.unchanged)
        apart, asked = self._sorted(attribute).deviations(right), {pair.attribute for pair in self._pairs}
        return estimates_of(point, lambda weights: Spread((apart.weighted(weights),)), attribute, asked)

    def _sorted(self, target: str) -> Strata:
        """Return the pairs in the classes of what is expected for this target."""
        if target not in self._strata:
            expected = [self._classes[p.pair_id][0 if p.attribute == target else 1] for p in self._pairs]
            self._strata[target] = Strata(self._pairs, expected, self._split.clusters)
        return self._strata[target]

    def _mean_over_seeds(self, seed_outcomes: SeedOutcomes[Outcome]) -> dict[str, Estimate]:
        return mean_of_seeds(
            [self.estimate(outcomes, seed_outcomes.attribute) for outcomes in seed_outcomes.read()]
        )


def _balanced(outcomes: Iterable[Outcome], attribute: str, answer: Answer, classes: Classes) -> Share:
    counts: dict[str, dict[str, list[int]]] = {}
    for outcome in outcomes:
        if outcome.attribute != attribute:
            continue
        name = _class(outcome, answer, classes)
        count = counts.setdefault(outcome.base_template, {}).setdefault(name, [0, 0])
        count[0] += outcome.said_swapped if answer == "swapped" else outcome.said_unchanged
        count[1] += 1
    per_template = [mean([right / n for right, n in by_class.values()]) for by_class in counts.values()]
    total = sum(n for by_class in counts.values() for _, n in by_class.values())
    return Share(mean([value for value in per_template if value is not None]), total)


def _class(outcome: Outcome, answer: Answer, classes: Classes) -> str:
    if outcome.pair_id not in classes:
        raise SuiteError(
            expected="outcomes of the pairs whose classes are known",
            came=f"an outcome of pair {outcome.pair_id!r}, which is not among them",
            todo="use outcomes and instance of one run",
        )
    return classes[outcome.pair_id][0 if answer == "swapped" else 1]
