"""Student's t against scipy's, and against what is known without it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.scoring.student import exceeded, tail

DFS = (1.0, 1.4, 2.0, 3.7, 10.0, 123.4, 9_999.0, 10_000.0, 1e7)


@pytest.mark.parametrize("df", DFS)
def test_tails_are_those_of_scipy(df: float) -> None:
    for t in (-3.0, 0.0, 1e-3, 0.4, 1.0, 1.96, 4.3):
        assert tail(t, df) == pytest.approx(stats.t.sf(t, df), rel=1e-5)


@pytest.mark.parametrize("df", DFS)
def test_a_value_is_exceeded_with_the_chance_asked_for(df: float) -> None:
    for share in (0.5, 0.3, 0.025, 1e-4, 1e-9):
        assert exceeded(share, df) == pytest.approx(stats.t.isf(share, df), rel=1e-5, abs=1e-12)


def test_one_two_and_infinite_degrees_of_freedom_have_closed_forms() -> None:
    assert exceeded(0.025, 1) == pytest.approx(math.tan(math.pi * 0.475))
    assert exceeded(0.025, 2) == pytest.approx(0.95 / math.sqrt(2 * 0.975 * 0.025))
    assert exceeded(0.025, math.inf) == pytest.approx(1.959963984540054)
    assert tail(math.inf, 3) == 0


def test_there_is_no_step_where_the_formula_changes() -> None:
    below, above = exceeded(0.025, 9_999.999), exceeded(0.025, 10_000.0)
    assert below == pytest.approx(above, rel=1e-7)


@given(st.floats(-30, 30), st.floats(1, 500), st.floats(0.51, 0.999))
@settings(max_examples=60, deadline=None)
def test_tails_and_quantiles_are_those_of_scipy_anywhere(t: float, df: float, share: float) -> None:
    assert tail(t, df) == pytest.approx(stats.t.sf(t, df), rel=1e-8, abs=1e-12)
    assert exceeded(1 - share, df) == pytest.approx(stats.t.ppf(share, df), rel=1e-8)


def test_endless_freedom_is_the_normal_distribution() -> None:
    assert exceeded(0.025, math.inf) == pytest.approx(stats.norm.ppf(0.975), rel=1e-8)
    assert tail(2.0, math.inf) == pytest.approx(stats.norm.sf(2.0), rel=1e-8)
