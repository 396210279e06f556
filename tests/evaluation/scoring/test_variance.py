"""Laws of intervals and p-values, and reaches worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_world import constant, estimated, noisy, rectangle
from scipy import stats

from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import Clusters, Counts, FloatArray
from evaluation.scoring.intervals import difference, mean_of
from evaluation.scoring.variance import Spread, _exceeded, contributions_of

ATTRIBUTES = "ABC"


def spread_of(templates: tuple[tuple[str, str], ...], right: FloatArray) -> Spread:
    """One pair of each entity under each template."""
    clusters = Clusters(tuple(f"e{i:02}" for i in range(len(right))), templates)
    return Spread((contributions_of(clusters, Counts(np.ones_like(right), right), {"A": 1.0}),), signed=True)


def made(seed: int, *, cause: float = 0.6, isolate: float = 0.8, keep: float = 0.7) -> list[Outcome]:
    """Lopsided outcomes: some pairs are missing."""
    stream = np.random.default_rng(seed)
    every = rectangle(noisy("A", cause=cause, isolate=isolate, seed=seed), n_templates=3, n_entities=15)
    return [o for o in every if stream.random() < keep]


SHARES = st.sampled_from([0.0, 0.02, 0.5, 0.95, 1.0])


class TestByHand:
    def test_templates_that_differ_are_worth_their_number(self) -> None:
        """Every entity is alike, so that templates of 1, 1 and 0 are a sample of three, with t of two."""
        right = np.array([[1.0, 1.0, 0.0]] * 50)
        templates = (("A", "x"), ("A", "y"), ("A", "z"))
        spread = spread_of(templates, right)
        t = stats.t.isf(0.025, 2)
        pseudo = (stats.norm.isf(0.025) / 150) ** 2
        expected = np.sqrt(t**2 * np.var([1, 1, 0], ddof=1) / 3 + pseudo)
        low, high = spread.limits(0.0, 0.95)
        assert (low, high) == pytest.approx((-expected, expected))

    def test_entities_that_differ_are_a_sample_of_entities(self) -> None:
        """Under two templates, alike, half of 40 entities are right: fixed is the variance of a mean of
        40."""
        right = np.array([[i % 2, i % 2] for i in range(40)], dtype=float)
        templates = (("A", "x"), ("A", "y"))
        spread = spread_of(templates, right)
        # Each template's residuals are widened by 40 / 39, their sum over entities by as much.
        fixed = 0.25 / 40 * (40 / 39) ** 2 + (1 / 80) ** 2
        t = stats.t.isf(0.025, 2 * 40)
        assert spread.limits(0.0, 0.95)[1] == pytest.approx(t * np.sqrt(fixed))

    def test_a_wilson_interval_where_pairs_are_independent(self) -> None:
        """One template, one pair an entity: n pairs that are nearly Bernoulli trials."""
        outcomes = [
            o for o in rectangle(constant("swapped"), n_templates=1, n_entities=400) if o.attribute == "A"
        ]
        mixed = [replace(o, said_swapped=i % 10 == 0) for i, o in enumerate(outcomes)]
        found = estimated(mixed)["cause"].interval
        wilson = stats.binomtest(40, 400).proportion_ci(method="wilson")
        assert found == pytest.approx((wilson.low, wilson.high), rel=0.02)


class TestLaws:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10_000), SHARES, SHARES)
    def test_intervals_hold_the_score_and_stay_between_0_and_1(
        self, seed: int, cause: float, isolate: float
    ) -> None:
        scored = estimated(made(seed, cause=cause, isolate=isolate))
        for one in scored.values():
            assert one.value is not None
            low, high = one.interval or (1.0, 0.0)
            assert 0 <= low <= one.value <= high <= 1
            assert low < high

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 10_000))
    def test_names_of_entities_and_templates_mean_nothing(self, seed: int) -> None:
        outcomes = made(seed)
        entities = sorted({o.base_entity for o in outcomes})
        renamed = dict(zip(entities, np.random.default_rng(seed).permutation(entities).tolist(), strict=True))
        other = [
            replace(o, base_entity=renamed[o.base_entity], base_template="x" + o.base_template[::-1])
            for o in outcomes
        ]
        ours, theirs = estimated(outcomes), estimated(other)
        for name in ("cause", "disentangle"):
            assert theirs[name].interval == pytest.approx(ours[name].interval)

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 10_000))
    def test_a_minus_b_is_the_mirror_of_b_minus_a(self, seed: int) -> None:
        first = made(seed)
        second = [replace(o, said_swapped=not o.said_swapped) if i % 3 else o for i, o in enumerate(first)]
        one = difference(estimated(first), estimated(second))
        other = difference(estimated(second), estimated(first))
        low, high = one["disentangle"].interval or (0.0, 0.0)
        assert other["disentangle"].interval == pytest.approx((-high, -low))
        assert one["disentangle"].p_value == other["disentangle"].p_value

    def test_a_mean_of_a_score_with_itself_is_that_score(self) -> None:
        one = estimated(made(1))
        twice = mean_of([one, one])
        for name in ("cause", "disentangle"):
            assert twice[name].interval == pytest.approx(one[name].interval)

    def test_asking_every_pair_twice_tells_nothing_new(self) -> None:
        """The second answer of a pair is in the same clusters; only the pairs that are added for safety
        weigh half."""
        once = made(2)
        twice = [*once, *(replace(o, pair_id=o.pair_id + " again") for o in once)]
        ours, theirs = estimated(once)["cause"].interval, estimated(twice)["cause"].interval
        assert ours is not None
        assert theirs is not None
        assert theirs[1] - theirs[0] == pytest.approx(ours[1] - ours[0], rel=0.06)

    def test_scores_of_the_same_pairs_keep_what_they_share(self) -> None:
        """Two targets that fail on the same entities are no surer together than one of them."""
        by_entity = rectangle(lambda a, t, e: "swapped" if int(e[1:]) % 2 else "neither", n_entities=40)
        one = estimated(by_entity, "A")["cause"].interval
        both = mean_of([estimated(by_entity, a) for a in ATTRIBUTES])["cause"].interval
        assert one is not None
        assert both is not None
        assert both[1] - both[0] == pytest.approx(one[1] - one[0], rel=0.05)

    def test_different_splits_are_independent(self) -> None:
        outcomes = rectangle(lambda a, t, e: "swapped" if int(e[1:]) % 2 else "neither", n_entities=40)
        other = [replace(o, base_entity="other " + o.base_entity) for o in outcomes]
        one = estimated(outcomes)["cause"].interval
        both = mean_of([estimated(outcomes), estimated(other)])["cause"].interval
        assert one is not None
        assert both is not None
        assert both[1] - both[0] == pytest.approx((one[1] - one[0]) / 2**0.5, rel=0.05)


class TestStudent:
    """The reach of a fixed part alone is Student's t of its degrees of freedom, as scipy has it."""

    def test_few_degrees_of_freedom_reach_far(self) -> None:
        """Two of 40 entities are right: the effective number of entities is small, and t with it."""
        right = np.array([[float(i < 2)] for i in range(40)])
        spread = spread_of((("A", "x"),), right)
        within = (right[:, 0] - 0.05) / 40 * np.sqrt(40 / 39)
        df = 2 * np.sum(within**2) ** 2 / np.sum(within**4)
        fixed = np.sum(within**2) * 40 / 39 + (1 / 40) ** 2
        assert df < 5
        assert spread.limits(0.0, 0.95)[1] == pytest.approx(
            stats.t.isf(0.025, df) * np.sqrt(fixed), rel=1e-12
        )

    def test_one_and_two_degrees_of_freedom_have_closed_forms(self) -> None:
        assert _exceeded(0.025, 1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-10)
        assert _exceeded(0.025, 2) == pytest.approx(0.95 / math.sqrt(2 * 0.975 * 0.025), rel=1e-10)

    def test_endless_degrees_of_freedom_are_the_normal_distribution(self) -> None:
        spread = spread_of((("A", "x"),), np.ones((50, 1)))
        assert spread.limits(0.0, 0.95)[1] == pytest.approx(stats.norm.isf(0.025) / 50, rel=1e-12)

    def test_beyond_ten_thousand_degrees_intervals_of_older_versions_differ_on_purpose(self) -> None:
        """They took z + (z^3 + z) / 4 df there, which lies below by something of the order of z^5 / df^2."""
        for share in (0.025, 1e-4, 5e-13):
            z = stats.norm.isf(share)
            former = z + (z**3 + z) / (4 * 10_001)
            assert 1e-9 < 1 - former / _exceeded(share, 10_001) < 2e-6


class TestPValues:
    @pytest.mark.parametrize("changed", [0, 1, 3, 8, 20, 60])
    def test_p_is_below_5_percent_exactly_if_0_is_outside_the_interval(self, changed: int) -> None:
        first = made(5, keep=1.0)
        second = [replace(o, said_swapped=False) if i < changed else o for i, o in enumerate(first)]
        minus = difference(estimated(first), estimated(second))
        low, high = minus["disentangle"].interval or (0.0, 0.0)
        p = minus["disentangle"].p_value
        assert p is not None
        assert (p < 0.05) == (not low <= 0 <= high)

    def test_p_is_that_of_student(self) -> None:
        """One template and no fixed part but the pair that is added: the normal tail."""
        outcomes = [
            o for o in rectangle(constant("swapped"), n_templates=1, n_entities=100) if o.attribute == "A"
        ]
        spread = estimated(outcomes)["cause"].spread
        assert spread is not None
        signed = replace(spread, signed=True)
        assert signed.p_value(0.025) == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-4)
        assert signed.p_value(-0.025) == signed.p_value(0.025)
        assert signed.p_value(0.0) == 1
        assert 0 < signed.p_value(5.0) <= 1e-12

    def test_equal_outcomes_have_p_1(self) -> None:
        scored = estimated(made(3))
        assert difference(scored, scored)["disentangle"].p_value == 1
