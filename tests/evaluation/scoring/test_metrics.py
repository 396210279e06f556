"""Scores that a reader can add up, and laws that hold for any outcomes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome_world import constant, outcome, rectangle

from evaluation.records.scores import Outcome
from evaluation.scoring.interchange.metrics import (
    Share,
    cause,
    isolate,
    isolate_from,
    scores,
    template_accuracies,
)

# Target A. Template A1: 2 of 3 swapped; A2: 0 of 1. Cause = (2/3 + 0) / 2 = 1/3.
# B: template B1 1 of 2 kept. C: templates C1 1 of 1, C2 3 of 4. Isolate = (1/2 + (1 + 3/4) / 2) / 2 = 11/16.
BY_HAND = [
    outcome("A", "A1", "e1", "swapped"),
    outcome("A", "A1", "e2", "swapped"),
    outcome("A", "A1", "e3", "unchanged"),
    outcome("A", "A2", "e1", "neither"),
    outcome("B", "B1", "e1", "unchanged"),
    outcome("B", "B1", "e2", "swapped"),
    outcome("C", "C1", "e1", "unchanged"),
    outcome("C", "C2", "e1", "unchanged"),
    outcome("C", "C2", "e2", "unchanged"),
    outcome("C", "C2", "e3", "unchanged"),
    outcome("C", "C2", "e4", "neither"),
]

said = st.sampled_from(["swapped", "unchanged", "neither"])
some_outcomes = st.lists(
    st.builds(outcome, st.sampled_from("ABC"), st.sampled_from("xyz"), st.sampled_from(["e1", "e2"]), said),
    max_size=30,
)


def test_scores_by_hand() -> None:
    assert cause(BY_HAND, "A") == Share(pytest.approx(1 / 3), 4)
    assert isolate_from(BY_HAND, "B") == Share(0.5, 2)
    assert isolate_from(BY_HAND, "C") == Share(0.875, 5)
    assert isolate(BY_HAND, "A") == Share(pytest.approx(11 / 16), 7)
    assert scores(BY_HAND, "A").disentangle == pytest.approx((1 / 3 + 11 / 16) / 2)


def test_the_same_outcomes_score_another_target() -> None:
    # Target B: cause 1 of 2. A keeps 1/3 and 0 -> 1/6; C 7/8. Isolate = (1/6 + 7/8) / 2.
    found = scores(BY_HAND, "B")
    assert (found.cause, found.n_cause, found.n_isolate) == (0.5, 2, 9)
    assert found.isolate == pytest.approx((1 / 6 + 7 / 8) / 2)


def test_reference_rounding_rounds_each_template_first() -> None:
    assert template_accuracies(BY_HAND, "A", "swapped", rounding="reference")["A1"].value == 0.67
    assert cause(BY_HAND, "A", rounding="reference").value == pytest.approx(0.335)


def test_templates_weigh_alike_however_many_pairs_they_have() -> None:
    few = [outcome("A", "rare", "e1", "swapped")]
    many = [outcome("A", "common", f"e{i}", "neither") for i in range(99)]
    assert cause(few + many, "A").value == 0.5


def test_attributes_weigh_alike_however_many_templates_they_have() -> None:
    b = [outcome("B", "B1", "e1", "unchanged")]
    c = [outcome("C", f"C{i}", "e1", "neither") for i in range(9)]
    assert isolate(b + c, "A").value == 0.5


@pytest.mark.parametrize(("rule", "expected"), [("unchanged", (0, 1, 0.5)), ("swapped", (1, 0, 0.5))])
def test_doing_nothing_and_swapping_all(rule: str, expected: tuple[float, float, float]) -> None:
    found = scores(rectangle(constant(rule)), "A")
    assert (found.cause, found.isolate, found.disentangle) == expected


def test_an_empty_score_is_none_with_count_zero() -> None:
    only_a = [o for o in BY_HAND if o.attribute == "A"]
    assert isolate(only_a, "A") == Share(None, 0)
    assert cause(only_a, "B") == Share(None, 0)
    assert scores(only_a, "A").disentangle is None
    assert scores([], "A").cause is None


@given(some_outcomes)
def test_scores_are_shares_and_none_exactly_without_pairs(outcomes: list[Outcome]) -> None:
    found = scores(outcomes, "A")
    for value, n in ((found.cause, found.n_cause), (found.isolate, found.n_isolate)):
        assert (value is None) == (n == 0)
        assert value is None or 0 <= value <= 1
    assert found.n_cause + found.n_isolate == len(outcomes)
    if found.cause is not None and found.isolate is not None:
        assert found.disentangle == (found.cause + found.isolate) / 2


@given(some_outcomes, st.randoms())
def test_the_order_of_outcomes_does_not_matter(outcomes: list[Outcome], stream: random.Random) -> None:
    shuffled = list(outcomes)
    stream.shuffle(shuffled)
    assert scores(shuffled, "A") == scores(outcomes, "A")


@given(some_outcomes)
def test_reference_rounding_moves_no_score_by_more_than_half_a_percent(outcomes: list[Outcome]) -> None:
    exact, rounded = scores(outcomes, "A"), scores(outcomes, "A", rounding="reference")
    if exact.disentangle is not None:
        assert rounded.disentangle == pytest.approx(exact.disentangle, abs=0.005 + 1e-12)
