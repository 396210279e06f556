"""Distances from natural states: hand-computed numbers, scikit-learn's shrinkage, laws of percentiles."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from torch import Tensor

from das.diagnostics.natural import NaturalStates, dormant_share, variance_share
from das.featurizers import retract
from ravel.common.errors import SuiteError

CROSS = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) + 5
"""Variance 18/4 along the first axis, 2/4 along the second."""


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_share_of_variance_by_hand() -> None:
    assert variance_share(torch.eye(2)[:, :1], CROSS).share == pytest.approx(0.9)
    assert variance_share(torch.eye(2)[:, 1:], CROSS).share == pytest.approx(0.1)
    tilted = torch.tensor([[0.6], [0.8]])
    found = variance_share(tilted, CROSS)
    assert found.share == pytest.approx(0.36 * 0.9 + 0.64 * 0.1)
    assert found.chance == 0.5
    assert variance_share(torch.eye(2)[:, :0], CROSS).share == 0.0


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_shares_of_a_basis_and_its_complement_add_to_one(seed: int, d: int, k: int) -> None:
    whole = retract(drawn(seed, d, d))
    natural = drawn(seed + 1, 20, d)
    k = min(k, d)
    parts = [variance_share(columns, natural).share for columns in (whole[:, :k], whole[:, k:])]
    assert sum(parts) == pytest.approx(1.0)
    moved = variance_share(whole[:, :k], 3.0 * natural + 7.0).share
    assert moved == pytest.approx(parts[0], abs=1e-9)


def test_the_dormant_share_by_hand() -> None:
    # The average variance is 2.5; the second axis has 0.2 of it.
    change = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    found = dormant_share(change, CROSS, fraction=0.25)
    assert found.share == pytest.approx(16 / 25)
    assert (found.chance, found.directions) == (0.5, 1)
    assert dormant_share(change, CROSS, fraction=0.15).share == 0.0
    assert dormant_share(0 * change, CROSS, fraction=0.25).share == 0.0


def test_changes_between_natural_states_are_hardly_dormant() -> None:
    spread = torch.logspace(0, -3, 12, dtype=torch.float64)
    natural = drawn(1, 400, 12) * spread
    between = natural[:200] - natural[200:]
    off = drawn(2, 200, 12)
    assert dormant_share(between, natural).share < 0.05
    assert dormant_share(off, natural).share > 0.5


@pytest.mark.parametrize(("n", "d"), [(5, 3), (30, 8), (8, 20)])
def test_shrinkage_is_that_of_ledoit_and_wolf(n: int, d: int) -> None:
    natural = drawn(n, n, d) * torch.linspace(0.2, 3.0, d)
    states = NaturalStates.fit(natural, natural[:2])
    oracle = LedoitWolf().fit(natural.numpy())
    assert states.shrinkage == pytest.approx(oracle.shrinkage_)
    torch.testing.assert_close(states.covariance, torch.from_numpy(oracle.covariance_))
    others = drawn(9, 4, d)
    expected = torch.from_numpy(oracle.mahalanobis(others.numpy())).sqrt()
    torch.testing.assert_close(states.mahalanobis(others), expected)


def test_distances_to_neighbours_by_hand() -> None:
    natural = torch.tensor([[0.0, 0.0], [2.0, 0.0], [6.0, 0.0]])
    held_out = torch.tensor([[1.0, 0.0], [0.0, 1.0], [6.0, 1.0]])
    states = NaturalStates.fit(natural, held_out)
    one = states.neighbours(torch.tensor([[0.0, 3.0], [6.0, 0.0]]), k=1)
    assert one.tolist() == pytest.approx([3.0, 0.0])  # the unit is 1
    two = states.neighbours(torch.tensor([[2.0, 0.0]]), k=2)
    unit = sorted([1.0, (1 + math.sqrt(5)) / 2, (1 + math.sqrt(17)) / 2])[1]
    assert two.tolist() == pytest.approx([1.0 / unit])


def test_percentiles_say_how_many_held_out_states_are_nearer() -> None:
    natural = torch.tensor([[0.0], [2.0], [6.0]])
    held_out = torch.tensor([[1.0], [-2.0], [9.0], [6.5]])  # distances 1, 2, 3, 0.5
    states = NaturalStates.fit(natural, held_out)
    found = states.neighbour_percentiles(torch.tensor([[20.0], [-1.0], [-1.5], [0.0]]), k=1)
    assert found.tolist() == [100.0, 37.5, 50.0, 0.0]


@given(st.integers(0, 1000), st.integers(2, 5), st.integers(4, 30), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_held_out_states_are_at_fifty_on_average(seed: int, d: int, n: int, k: int) -> None:
    states = NaturalStates.fit(drawn(seed, n, d), drawn(seed + 1, 11, d))
    for found in (
        states.mahalanobis_percentiles(states.held_out),
        states.neighbour_percentiles(states.held_out, k),
    ):
        assert float(found.mean()) == pytest.approx(50.0)
    far = 1e3 * torch.ones(2, d)
    assert states.mahalanobis_percentiles(far).tolist() == [100.0, 100.0]
    assert states.neighbour_percentiles(far, k).tolist() == [100.0, 100.0]


def test_moving_and_turning_everything_changes_no_distance() -> None:
    natural, held_out, others = drawn(1, 50, 6), drawn(2, 20, 6), 3 * drawn(3, 7, 6)
    turn = retract(drawn(4, 6, 6))
    plain = NaturalStates.fit(natural, held_out)
    moved = NaturalStates.fit(natural @ turn + 3, held_out @ turn + 3)
    shifted = others @ turn + 3
    torch.testing.assert_close(plain.mahalanobis(others), moved.mahalanobis(shifted))
    torch.testing.assert_close(plain.neighbours(others), moved.neighbours(shifted))


def test_no_states_have_no_distances() -> None:
    states = NaturalStates.fit(drawn(1, 5, 3), drawn(2, 3, 3))
    assert states.mahalanobis(torch.zeros(0, 3)).shape == (0,)
    assert states.neighbours(torch.zeros(0, 3)).shape == (0,)


def test_mistakes_are_named() -> None:
    with pytest.raises(SuiteError, match="at least two natural vectors"):
        variance_share(torch.eye(2), CROSS[:1])
    with pytest.raises(SuiteError, match="that vary"):
        dormant_share(CROSS, torch.ones(4, 2))
    with pytest.raises(SuiteError, match="fraction of the average variance"):
        dormant_share(CROSS, CROSS, fraction=0.0)
    with pytest.raises(SuiteError, match=r"natural vectors .* of one width"):
        variance_share(torch.eye(3), CROSS)
    with pytest.raises(SuiteError, match="held out for percentiles"):
        NaturalStates.fit(CROSS, CROSS[:0])
    states = NaturalStates.fit(CROSS, CROSS)
    with pytest.raises(SuiteError, match="neighbours from 1 to 4"):
        states.neighbours(CROSS, k=5)
    with pytest.raises(SuiteError, match=r"vectors of shape \[n, 2\]"):
        states.mahalanobis(torch.zeros(1, 3))
