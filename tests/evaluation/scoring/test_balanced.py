"""Class-balanced scores by hand, by laws, against scikit-learn, and with intervals that hold them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence

import pytest
from outcome_world import TRACK, noisy, outcome, rectangle
from sklearn.metrics import balanced_accuracy_score

from evaluation.records.scores import AverageRecord, Outcome
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.balanced import BalancedScorer, balanced_scores, classes_of
from evaluation.scoring.interchange.metrics import scores
from evaluation.scoring.summary import SeedOutcomes, SplitContext, average_records, estimate_methods
from ravel.common.errors import SuiteError
from ravel.terms.schema import InterchangePair

Labels = Callable[[Outcome], tuple[str, str]]


def pairs_of(outcomes: Sequence[Outcome], labels: Labels) -> list[InterchangePair]:
    """The pairs behind outcomes, with the labels that the rule gives (swapped, unchanged)."""
    return [
        InterchangePair(
            pair_id=o.pair_id,
            base="b",
            source="s",
            swapped="w",
            attribute=o.attribute,
            base_entity=o.base_entity,
            source_entity=o.source_entity,
            base_template=o.base_template,
            source_kind=o.source_kind,
            if_unchanged=labels(o)[1],
            if_swapped=labels(o)[0],
        )
        for o in outcomes
    ]


def split_of(outcomes: Sequence[Outcome]) -> SplitContext:
    return SplitContext(TRACK, "city", "m", "context", "test", clusters_of(outcomes))


def record_of(outcomes: Sequence[Outcome], labels: Labels, target: str) -> AverageRecord:
    scorer = BalancedScorer(pairs_of(outcomes, labels), split_of(outcomes))
    seed_outcomes = SeedOutcomes("das", target, (0,), lambda: [outcomes])
    return scorer.records([seed_outcomes])[0]


def by_entity(o: Outcome) -> tuple[str, str]:
    """Three classes of source's answers, one of which half of the entities get; two of the base's."""
    number = int(o.base_entity[1:])
    return " maj." if number % 2 else f" {'mid' if number % 4 else 'low'}", f"base {number % 3 == 0}"


NOISY = rectangle(noisy("A", cause=0.6, isolate=0.8, seed=1))


def test_by_hand() -> None:
    """Template A1: male 3 of 4, female 0 of 1; A2: male 1 of 1. B1 keeps x 1 of 1 and y 1 of 3."""
    said = [
        *(("A", "A1", "male", s) for s in ("swapped", "swapped", "swapped", "neither")),
        ("A", "A1", "female", "unchanged"),
        ("A", "A2", "male", "swapped"),
        ("B", "B1", "x", "unchanged"),
        *(("B", "B1", "y", s) for s in ("unchanged", "swapped", "neither")),
    ]
    outcomes = [outcome(a, t, f"e{i}", s, number=i) for i, (a, t, _, s) in enumerate(said)]
    classes = {o.pair_id: (name, name) for o, (_, _, name, _) in zip(outcomes, said, strict=True)}
    found = balanced_scores(outcomes, "A", classes)
    assert found.cause == pytest.approx(((0.75 + 0.0) / 2 + 1.0) / 2)
    assert found.isolate == pytest.approx((1.0 + 1 / 3) / 2)
    assert found.disentangle == pytest.approx((0.6875 + 2 / 3) / 2)
    assert (found.n_cause, found.n_isolate) == (6, 4)
    assert scores(outcomes, "A").cause == pytest.approx((3 / 5 + 1) / 2)


def test_the_base_decides_the_class_of_isolate_and_the_source_that_of_cause() -> None:
    outcomes = [
        outcome(a, a, f"e{i}", s, number=i) for a in "AB" for i, s in enumerate(("swapped", "unchanged"))
    ]
    classes = {o.pair_id: ("one", f"class {o.base_entity}") for o in outcomes}
    assert balanced_scores(outcomes, "A", classes).cause == 0.5
    assert balanced_scores(outcomes, "B", classes).isolate == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_within_one_template_cause_is_scikit_learns_balanced_accuracy(seed: int) -> None:
    stream = random.Random(seed)
    expected = stream.choices(["r", "g", "b"], weights=[8, 3, 1], k=40)
    said = [stream.choice(["r", "g", "b", "other"]) for _ in expected]
    outcomes = [
        outcome("A", "t", f"e{i}", "swapped" if want == got else "neither", number=i)
        for i, (want, got) in enumerate(zip(expected, said, strict=True))
    ]
    classes = {o.pair_id: (name, "-") for o, name in zip(outcomes, expected, strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns of answers that are nowhere expected.
        reference = balanced_accuracy_score(expected, said)
    assert balanced_scores(outcomes, "A", classes).cause == pytest.approx(reference)


@pytest.mark.parametrize("target", ["A", "B"])
def test_equally_frequent_classes_give_the_plain_scores_and_intervals(target: str) -> None:
    """Twelve entities per template in three classes of four."""

    def labels(o: Outcome) -> tuple[str, str]:
        number = int(o.base_entity[1:])
        return f"to {number % 3}", f"from {number % 4}"

    found, plain = record_of(NOISY, labels, target), scores(NOISY, target)
    assert found.value("cause") == pytest.approx(plain.cause)
    assert found.value("isolate") == pytest.approx(plain.isolate)
    assert found.value("disentangle") == pytest.approx(plain.disentangle)
    split = split_of(NOISY)
    (usual, _) = average_records(
        estimate_methods([SeedOutcomes("das", target, (0,), lambda: [NOISY])], split), split
    )
    for name in TRACK.names:
        assert found.interval(name) == pytest.approx(usual.interval(name))


def test_one_class_is_the_plain_score() -> None:
    classes = {o.pair_id: ("x", "x") for o in NOISY}
    assert balanced_scores(NOISY, "A", classes) == scores(NOISY, "A")


def test_names_of_classes_change_nothing() -> None:
    first = record_of(NOISY, by_entity, "A")
    renamed = {" maj.": "zz", " mid": "aa", " low": "mm"}
    again = record_of(NOISY, lambda o: (renamed[by_entity(o)[0]], by_entity(o)[1].swapcase()), "A")
    assert first == again


def test_order_of_outcomes_changes_nothing_but_rounding() -> None:
    first, again = (record_of(outcomes, by_entity, "A") for outcomes in (NOISY, NOISY[::-1]))
    assert (first.value("cause"), first.value("isolate")) == (again.value("cause"), again.value("isolate"))
    assert first.interval("cause") == pytest.approx(again.interval("cause"))


def test_always_giving_the_common_answer_scores_one_over_the_classes() -> None:
    outcomes = [outcome("A", "t", f"e{i}", "swapped" if i else "neither", number=i) for i in range(10)]
    outcomes += [outcome("B", "u", "e0", "unchanged")]
    labels = {o.pair_id: ("common" if o.said_swapped else "rare", "-") for o in outcomes}
    assert scores(outcomes, "A").cause == 0.9
    assert balanced_scores(outcomes, "A", labels).cause == 0.5


def test_intervals_hold_the_score_and_uneven_classes_widen_them() -> None:
    uneven = record_of(NOISY, lambda o: ("rare" if o.base_entity == "e0" else "common", "-"), "A")
    even = record_of(NOISY, lambda o: ("-", "-"), "A")
    for record in (uneven, even):
        for name in ("cause", "isolate", "disentangle"):
            low, high = record.interval(name) or (1.0, 0.0)
            assert 0 <= low <= (record.value(name) or 0.0) <= high <= 1
    assert width(uneven.interval("cause")) > width(even.interval("cause"))
    assert uneven.interval("isolate") == even.interval("isolate")


def width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


def test_nothing_is_nan_where_a_target_has_no_cause_pairs_or_no_others() -> None:
    alone = [o for o in NOISY if o.attribute == "A"]
    without = record_of(alone, by_entity, "A")
    assert [without.value(name) for name in ("isolate", "disentangle")] == [None, None]
    assert (without.interval("isolate"), without.n("isolate")) == (None, 0)
    unasked = record_of(NOISY, by_entity, "Z")
    assert (unasked.value("cause"), unasked.interval("cause"), unasked.n("cause")) == (None, None, 0)
    assert unasked.value("isolate") is not None
    assert unasked.interval("isolate") is not None


def test_records_average_seeds_and_attributes() -> None:
    other = rectangle(noisy("A", cause=0.2, isolate=0.9, seed=5))
    pairs = pairs_of(NOISY, by_entity)
    scorer = BalancedScorer(pairs, split_of(NOISY))
    seed_outcomes = [
        SeedOutcomes("das", "A", (0, 1), lambda: [NOISY, other]),
        SeedOutcomes("das", "B", (0,), lambda: [NOISY]),
    ]
    a, b, macro = scorer.records(seed_outcomes)
    classes = classes_of(pairs)
    each = [balanced_scores(outcomes, "A", classes) for outcomes in (NOISY, other)]
    assert a.value("cause") == pytest.approx(sum(s.cause or 0.0 for s in each) / 2)
    assert (a.scope, a.attributes, a.seeds, a.n("cause")) == ("attribute", ("A",), (0, 1), each[0].n_cause)
    assert (macro.scope, macro.attributes) == ("macro", ("A", "B"))
    assert macro.value("disentangle") == pytest.approx(
        ((a.value("disentangle") or 0.0) + (b.value("disentangle") or 0.0)) / 2
    )


def test_outcomes_of_other_pairs_are_refused() -> None:
    scorer = BalancedScorer(pairs_of(NOISY, by_entity), split_of(NOISY))
    with pytest.raises(SuiteError, match="an outcome for each of the 144 pairs"):
        scorer.records([SeedOutcomes("das", "A", (0,), lambda: [NOISY[1:]])])
    with pytest.raises(SuiteError, match="an outcome of pair 'A-A0-e0-0'"):
        balanced_scores(NOISY, "A", {})
