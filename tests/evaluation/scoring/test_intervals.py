"""Intervals have known limits and laws; differences are paired."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from outcome_world import constant, estimated, noisy, outcome, rectangle
from scipy import stats

from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.estimates import estimate_kept, estimate_scores
from evaluation.scoring.interchange.metrics import scores
from evaluation.scoring.intervals import Estimate, difference
from ravel.common.errors import SuiteError

NOISY = rectangle(noisy("A", cause=0.6, isolate=0.8, seed=1))


def paired_difference(first: list[Outcome], second: list[Outcome]) -> dict[str, Estimate]:
    clusters = clusters_of(first)
    return difference(estimate_scores(first, "A", clusters), estimate_scores(second, "A", clusters))


@pytest.mark.parametrize(("rule", "cause"), [("unchanged", 0.0), ("swapped", 1.0)])
def test_a_score_on_which_all_pairs_agree_is_near_certain_but_not_certain(rule: str, cause: float) -> None:
    """Wilson's limit of 0 of n is z^2 / (n + z^2), about four over n; the rule of three is for one side."""
    found = {name: one.interval for name, one in estimated(rectangle(constant(rule))).items()}
    z_squared = stats.norm.ppf(0.975) ** 2
    few, many = z_squared / (48 + z_squared), z_squared / (96 + z_squared)
    ends = {0.0: (0.0, few), 1.0: (1 - few, 1.0)}[cause]
    others = {0.0: (1 - many, 1.0), 1.0: (0.0, many)}[cause]
    assert found["cause"] == pytest.approx(ends)
    assert found["isolate"] == pytest.approx(others)
    both = found["disentangle"]
    assert both is not None
    assert both[0] < 0.5 < both[1]
    assert both[1] - both[0] < few + many


def test_the_order_of_outcomes_changes_nothing() -> None:
    ours, theirs = estimated(NOISY), estimated(NOISY[::-1])
    assert {n: one.interval for n, one in theirs.items()} == {n: one.interval for n, one in ours.items()}


def test_the_interval_holds_the_score_and_narrows_with_more_clusters() -> None:
    def width(n_entities: int, n_templates: int) -> float:
        rule = noisy("A", cause=0.5, isolate=0.5, seed=2)
        outcomes = rectangle(rule, n_entities=n_entities, n_templates=n_templates)
        found, point = estimated(outcomes)["cause"].interval, scores(outcomes, "A").cause
        assert found is not None
        assert point is not None
        assert found[0] <= point <= found[1]
        return found[1] - found[0]

    assert width(80, 20) < 0.6 * width(20, 5)


def test_entities_that_succeed_together_widen_the_interval() -> None:
    """Sixteen pairs an entity, all alike, are as uncertain as one pair an entity."""
    lucky = rectangle(
        lambda a, t, e: "swapped" if int(e[1:]) % 2 else "neither", n_entities=40, n_templates=16
    )
    mixed = rectangle(noisy("A", cause=0.5, isolate=0.5, seed=0), n_entities=40, n_templates=16)
    wide = estimated(lucky)["cause"].interval
    narrow = estimated(mixed)["cause"].interval
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] == pytest.approx(4 * (0.25 / 40) ** 0.5, rel=0.15)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_without_pairs_there_is_no_interval() -> None:
    only_a = [o for o in NOISY if o.attribute == "A"]
    found = estimated(only_a)
    assert found["cause"].interval is not None
    assert (found["isolate"].interval, found["disentangle"].interval) == (None, None)
    assert estimated([])["cause"].interval is None


def test_what_a_target_keeps_by_hand() -> None:
    # Template A1 keeps 3 of 4, A2 keeps 1 of 2: (3/4 + 1/2) / 2 = 5/8. What B keeps counts for nothing.
    told = {"A1": "unchanged unchanged swapped unchanged", "A2": "neither unchanged", "B1": "swapped"}
    outcomes = [
        outcome(template[0], template, f"e{entity}", said)
        for template, answers in told.items()
        for entity, said in enumerate(answers.split())
    ]
    found = estimate_kept(outcomes, "A", clusters_of(outcomes))
    assert (found.value, found.n) == (5 / 8, 6)
    nothing = estimate_kept(outcomes, "C", clusters_of(outcomes))
    assert (nothing.value, nothing.n, nothing.interval) == (None, 0, None)


def test_what_a_target_keeps_has_the_interval_that_cause_would_have() -> None:
    outcomes = rectangle(noisy("B", cause=0.5, isolate=0.7, seed=3))
    exchanged = [replace(o, said_swapped=o.said_unchanged, said_unchanged=o.said_swapped) for o in outcomes]
    kept, cause = estimate_kept(outcomes, "A", clusters_of(outcomes)), estimated(exchanged)["cause"]
    assert (kept.value, kept.n, kept.interval) == (cause.value, cause.n, cause.interval)


def test_a_single_pair_says_little() -> None:
    lone = [outcome("A", "A1", "e0", "swapped"), *(o for o in NOISY if o.attribute == "B")]
    found = estimated(lone)["cause"].interval
    assert found is not None
    assert found[0] < 0.25
    assert found[1] == 1


def test_a_method_compared_with_itself_differs_by_exactly_nothing() -> None:
    found = paired_difference(NOISY, NOISY)
    assert found["disentangle"].value == 0
    assert found["disentangle"].p_value == 1
    # One pair of 144 that differs can't be ruled out.
    ends = found["cause"].interval
    assert ends == pytest.approx((-1.96 / 48, 1.96 / 48), rel=1e-3)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    """Two methods that fail on the same entities differ by a hair, which only pairing shows."""
    hard = {f"e{i}": i // 2 for i in range(0, 40, 2)}
    worse = rectangle(lambda a, t, e: "neither" if e in hard else "swapped", n_entities=40)
    better = rectangle(
        lambda a, t, e: "neither" if e in hard and (hard[e] + int(t[1:])) % 4 else "swapped", n_entities=40
    )
    found = paired_difference(better, worse)
    paired, unpaired = found["cause"].interval, estimated(worse)["cause"].interval
    assert found["cause"].value == pytest.approx(0.125)
    assert paired is not None
    assert unpaired is not None
    assert paired[0] > 0
    assert paired[1] - paired[0] < 0.5 * (unpaired[1] - unpaired[0])
    assert (scores(better, "A").cause or 0) < unpaired[1]


def test_outcomes_of_other_clusters_are_refused() -> None:
    with pytest.raises(SuiteError, match="'e99', which is in none of them"):
        estimate_scores([outcome("A", "A1", "e99", "swapped")], "A", clusters_of(NOISY))


def test_two_thousand_outcomes_take_a_blink() -> None:
    many = rectangle(noisy("A", cause=0.5, isolate=0.5, seed=0), n_templates=7, n_entities=96)
    assert len(many) > 2000
    start = time.process_time()
    assert estimated(many)["cause"].interval is not None
    assert time.process_time() - start < 0.3
