"""Row and null parts: the published toy by hand, and laws of any basis against any linear reader."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from das.diagnostics.linear_patch import LinearPatch
from das.diagnostics.patches import (
    PATCHES,
    energy_tolerance,
    null_share,
    patches,
    row_space,
    soft_null_share,
    split,
)
from das.featurizers import Subspace, retract
from ravel.common.errors import SuiteError

TOY_READER = torch.tensor([[0.0, 2.0, 1.0]])
TOY_BASIS = torch.tensor([[0.0], [0.0], [1.0]])
TOY_DELTA = torch.tensor([4.0, 0.0, 4.0])
"""A change of 4 along W1 = [1, 0, 1]."""


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def a_basis(seed: int, d: int, k: int) -> Tensor:
    return retract(drawn(seed, d, k))


shapes = st.tuples(
    st.integers(0, 10_000), st.integers(2, 9), st.integers(0, 9), st.integers(1, 12), st.integers(1, 12)
).map(lambda t: (t[0], t[1], min(t[2], t[1]), t[3], t[4]))
"""Seed, width, columns, the reader's rows and a bound of its rank."""


def a_reader(seed: int, n_out: int, rank: int, d: int) -> Tensor:
    return drawn(seed + 1, n_out, rank) @ drawn(seed + 2, rank, d)


def effects(basis: Tensor, reader: Tensor, base: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """By how much a reader's outputs move under each patch and, as `full`, under the whole basis."""
    made = {**patches(basis, reader), "full": Subspace(basis)}
    return {name: (f.interchange(base, base + delta) - base) @ reader.mT for name, f in made.items()}


def test_the_toy_by_hand() -> None:
    parts = split(TOY_BASIS, TOY_READER)
    assert parts.row[:, 0].tolist() == pytest.approx([0.0, 0.4, 0.2])
    assert parts.null[:, 0].tolist() == pytest.approx([0.0, -0.4, 0.8])
    found = effects(TOY_BASIS, TOY_READER, torch.tensor([0.3, -1.0, 2.0]), TOY_DELTA)
    assert tuple(found) == (*PATCHES, "full")
    expected = {"row": 4, "row_unnormalised": 0.8, "null": 0, "null_unnormalised": 0, "cross": 3.2, "full": 4}
    assert {name: float(e) for name, e in found.items()} == pytest.approx(expected, abs=1e-5)


@given(shapes)
@settings(max_examples=60, deadline=None)
def test_projections_on_row_and_null_space_are_idempotent_and_make_the_whole(
    shape: tuple[int, int, int, int, int],
) -> None:
    seed, d, _, n_out, rank = shape
    reader = a_reader(seed, n_out, rank, d)
    parts = split(torch.eye(d), reader)
    unit = torch.eye(d, dtype=torch.float64)
    torch.testing.assert_close(parts.row + parts.null, unit)
    for projection in (parts.row, parts.null):
        torch.testing.assert_close(projection @ projection, projection, atol=1e-9, rtol=0)
        torch.testing.assert_close(projection, projection.mT, atol=1e-9, rtol=0)
    assert row_space(reader).shape[1] == min(n_out, rank, d)
    torch.testing.assert_close(reader @ parts.null, torch.zeros_like(reader), atol=1e-8, rtol=0)


@given(shapes)
@settings(max_examples=60, deadline=None)
def test_a_full_effect_is_the_row_parts_and_the_cross_parts(shape: tuple[int, int, int, int, int]) -> None:
    seed, d, k, n_out, rank = shape
    reader, basis = a_reader(seed, n_out, rank, d), a_basis(seed + 3, d, k)
    found = effects(basis, reader, drawn(seed + 5, 4, d), drawn(seed + 4, 4, d))
    within = 1e-4 * float(1 + reader.norm())
    parts = found["row_unnormalised"] + found["cross"]
    torch.testing.assert_close(found["full"], parts, atol=within, rtol=0)
    for name in ("null", "null_unnormalised"):
        assert float(found[name].abs().max()) < within


def test_normalised_parts_have_no_column_where_nothing_is_left() -> None:
    reader = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    made = patches(torch.eye(3)[:, [0, 2]], reader)
    assert made["row"].size == 1
    assert made["null"].size == 1
    seen = patches(torch.eye(3)[:, [0]], reader)
    assert seen["row"].size == 1
    assert seen["null"].size == 0
    everything = patches(torch.eye(3)[:, [0, 2]], torch.eye(3))
    assert everything["row"].size == 2
    assert everything["null"].size == 0
    base = torch.ones(3)
    assert torch.equal(seen["null"].interchange(base, -base), base)


def test_a_reader_of_nothing_leaves_everything_in_the_null_part() -> None:
    made = patches(TOY_BASIS, torch.zeros(2, 3))
    assert made["row"].size == 0
    assert made["null"].size == 1
    assert null_share(TOY_BASIS, torch.zeros(2, 3)).share == 1.0


def test_null_shares_by_hand() -> None:
    found = null_share(TOY_BASIS, TOY_READER)
    assert found.share == pytest.approx(0.8)  # |n|^2 = 0.16 + 0.64
    assert found.chance == pytest.approx(2 / 3)
    assert found.directions == 2
    assert null_share(torch.eye(3)[:, :0], TOY_READER).share == 0.0


def test_the_soft_null_share_takes_as_many_directions_as_hold_the_energy() -> None:
    reader = torch.diag(torch.tensor([3.0, 1.0, 0.1]))  # energies 9, 1, 0.01 of 10.01
    basis = torch.tensor([[0.6, 0.0, 0.8]]).mT
    assert null_share(basis, reader).share == 0.0
    assert soft_null_share(basis, reader, 0.01).share == pytest.approx(0.64)
    assert soft_null_share(basis, reader, 0.01).directions == 1
    assert soft_null_share(basis, reader, 0.11).directions == 2
    assert soft_null_share(basis, reader, 0.0).directions == 0


def test_equal_singular_values_stay_together() -> None:
    assert soft_null_share(torch.eye(4)[:, :1], torch.eye(4), 0.3).directions == 0
    assert energy_tolerance(torch.eye(4), 0.3) == energy_tolerance(torch.zeros(2, 4), 0.3) == 1e-6


@given(shapes, st.floats(0, 0.99))
@settings(max_examples=60, deadline=None)
def test_soft_null_directions_hold_at_most_that_energy(
    shape: tuple[int, int, int, int, int], energy: float
) -> None:
    seed, d, k, n_out, rank = shape
    reader = a_reader(seed, n_out, rank, d)
    null = split(torch.eye(d), reader, energy_tolerance(reader, energy)).null
    total = float(reader.square().sum())
    assert float((reader @ null).square().sum()) <= energy * total + 1e-9 * total
    found = soft_null_share(a_basis(seed, d, k), reader, energy)
    assert 0.0 <= found.share <= 1.0
    assert found.directions == round(float(null.diagonal().sum()))


def test_the_rows_of_a_wide_reader_can_be_given_by_their_triangular_factor() -> None:
    reader, basis = drawn(1, 40, 6), a_basis(2, 6, 2)
    factor = torch.linalg.qr(reader, mode="r").R
    for soft in (1e-6, 0.5):
        torch.testing.assert_close(split(basis, reader, soft).row, split(basis, factor, soft).row)


def test_a_linear_patch_reads_and_writes_as_told() -> None:
    patch = LinearPatch(writers=torch.tensor([[2.0], [0.0]]), readers=torch.tensor([[0.0], [3.0]]))
    assert patch.width == 2
    assert patch.size == 1
    moved = patch.interchange(torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 2.0]]))
    assert moved.tolist() == [[7.0, 1.0]]
    x = torch.tensor([[0.1, 0.7]], dtype=torch.bfloat16)
    assert torch.equal(patch.interchange(x, x), x)


def test_mistakes_are_named() -> None:
    with pytest.raises(SuiteError, match=r"one shape \[d_model, k\]"):
        LinearPatch(torch.eye(3), torch.eye(2))
    with pytest.raises(SuiteError, match="of one width"):
        split(torch.eye(4)[:, :1], TOY_READER)
    with pytest.raises(SuiteError, match="orthonormal columns"):
        split(2 * TOY_BASIS, TOY_READER)
    with pytest.raises(SuiteError, match="finite numbers"):
        split(TOY_BASIS, torch.tensor([[0.0, float("nan"), 1.0]]))
    with pytest.raises(SuiteError, match="share of energy"):
        soft_null_share(TOY_BASIS, TOY_READER, 1.0)
