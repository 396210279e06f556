"""Averages over seeds and attributes: hand numbers, and what shared entities must give."""

from __future__ import annotations

import pytest
from outcome_world import TRACK, constant, macro_average, noisy, rectangle

from evaluation.scoring.averages import check_same_cases, mean_over_seeds
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.estimates import estimate_scores
from evaluation.scoring.interchange.metrics import scores
from evaluation.scoring.intervals import difference
from ravel.common.errors import SuiteError

CLUSTERS = clusters_of(rectangle(constant("neither")))


def test_the_macro_average_is_the_plain_mean_of_the_attributes_scores() -> None:
    a = rectangle(noisy("A", cause=0.9, isolate=0.5, seed=1))
    b = rectangle(noisy("B", cause=0.4, isolate=0.7, seed=2))
    macro = macro_average({"A": [a], "B": [b]}, CLUSTERS)
    one, two = scores(a, "A"), scores(b, "B")
    assert macro.attributes == ("A", "B")
    assert one.cause is not None
    assert two.cause is not None
    assert macro.mean["cause"].value == pytest.approx((one.cause + two.cause) / 2)
    assert macro.mean["cause"].n == one.n_cause + two.n_cause
    found = macro.mean["disentangle"].interval
    assert found is not None
    assert macro.mean["disentangle"].value is not None
    assert found[0] < macro.mean["disentangle"].value < found[1]


def test_no_op_and_full_swap_average_to_near_certainties() -> None:
    """All 144 cause pairs agree, so that Wilson's limit is z^2 / (144 + z^2) from the end."""
    few = 1.959964**2 / (144 + 1.959964**2)
    nothing = macro_average({a: [rectangle(constant("unchanged"))] for a in "ABC"}, CLUSTERS).mean
    everything = macro_average({a: [rectangle(constant("swapped"))] for a in "ABC"}, CLUSTERS).mean
    assert nothing["cause"].interval == pytest.approx((0.0, few), rel=1e-5)
    assert nothing["isolate"].interval == pytest.approx((1 - few, 1.0), rel=1e-5)
    assert everything["cause"].interval == pytest.approx((1 - few, 1.0), rel=1e-5)
    assert everything["isolate"].interval == pytest.approx((0.0, few), rel=1e-5)


def test_what_attributes_share_is_not_averaged_away() -> None:
    """An entity that fails everywhere fails in all attributes at once: three are no surer than one."""
    by_entity = rectangle(lambda a, t, e: "swapped" if int(e[1:]) % 2 else "neither")
    macro = macro_average({a: [by_entity] for a in "ABC"}, CLUSTERS).mean
    one, all_three = estimate_scores(by_entity, "A", CLUSTERS)["cause"].interval, macro["cause"].interval
    assert one is not None
    assert all_three is not None
    assert all_three[1] - all_three[0] == pytest.approx(one[1] - one[0], rel=0.1)


def test_an_attribute_without_cause_pairs_is_left_out_and_named() -> None:
    without_c = [o for o in rectangle(constant("unchanged")) if o.attribute != "C"]
    macro = macro_average({"A": [without_c], "C": [without_c]}, CLUSTERS)
    assert (macro.attributes, macro.left_out) == (("A",), ("C",))
    assert macro.mean["cause"].value == 0


def test_nothing_to_average_is_none() -> None:
    only_b = [o for o in rectangle(constant("unchanged")) if o.attribute == "B"]
    macro = macro_average({"A": [only_b]}, CLUSTERS)
    assert (macro.attributes, macro.left_out) == ((), ("A",))
    assert macro.mean["cause"].value is None
    assert macro.mean["cause"].interval is None


def test_seeds_are_averaged_before_attributes_and_do_not_add_pairs() -> None:
    good, bad = rectangle(constant("swapped")), rectangle(constant("unchanged"))
    mean = mean_over_seeds([good, bad], "A", CLUSTERS, TRACK)
    assert (mean["cause"].value, mean["isolate"].value) == (0.5, 0.5)
    assert mean["cause"].n == scores(good, "A").n_cause
    with pytest.raises(SuiteError, match="same cases"):
        mean_over_seeds([good, bad[1:]], "A", CLUSTERS, TRACK)
    with pytest.raises(SuiteError, match="same cases"):
        check_same_cases(good, [*good, good[0]])


def test_a_difference_is_that_of_the_averages_and_exact_against_itself() -> None:
    first = {a: [rectangle(noisy(a, cause=0.9, isolate=0.9, seed=ord(a)))] for a in "ABC"}
    second = {a: [rectangle(noisy(a, cause=0.5, isolate=0.9, seed=ord(a) + 9))] for a in "ABC"}
    one, other = macro_average(first, CLUSTERS).mean, macro_average(second, CLUSTERS).mean
    found, a, b = difference(one, other), one["cause"].value, other["cause"].value
    assert a is not None
    assert b is not None
    assert found["cause"].value == pytest.approx(a - b)
    clear = found["cause"].interval
    assert clear is not None
    assert clear[0] > 0
    itself = difference(one, one)
    assert itself["cause"].value == 0
    ends = itself["cause"].interval
    assert ends is not None
    assert ends[0] == -ends[1]
    assert ends[1] == pytest.approx(1.96 / 144, rel=1e-3)
