"""Shares inside readout directions, and agreement over seeds: by hand and by law."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from das.diagnostics.agreement import agreement, subspace_of
from das.diagnostics.linear_patch import LinearPatch
from das.diagnostics.readout import readout_share
from das.featurizers import Activation, Dictionary, MaskedBasis, Subspace, retract
from ravel.common.errors import SuiteError

UNITS = torch.eye(4)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_readout_share_by_hand() -> None:
    directions = torch.tensor([[2.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 5.0, 0, 0]])  # two of four dimensions
    basis = torch.tensor([[0.6, 0, 0.8, 0], [0, 0, 0, 1.0]]).mT
    found = readout_share(basis, directions)
    assert found.share == pytest.approx(0.18)  # (0.36 + 0) / 2
    assert (found.chance, found.directions) == (0.5, 2)
    assert readout_share(UNITS[:, :0], directions).share == 0.0
    assert readout_share(UNITS[:, :1], torch.zeros(3, 4)).share == 0.0


def test_a_random_basis_has_the_share_of_chance() -> None:
    directions = drawn(0, 5, 20)
    shares = [readout_share(retract(drawn(seed, 20, 3)), directions).share for seed in range(1, 200)]
    assert sum(shares) / len(shares) == pytest.approx(0.25, abs=0.02)


def test_agreement_by_hand() -> None:
    turned = torch.stack([UNITS[:, 0], math.cos(0.3) * UNITS[:, 1] + math.sin(0.3) * UNITS[:, 2]], dim=1)
    found = agreement([Subspace(UNITS[:, :2]), Subspace(turned)])
    assert found.mean_angle == pytest.approx(math.degrees(0.15), abs=1e-3)
    assert found.overlap == pytest.approx((1 + math.cos(0.3) ** 2) / 2, abs=1e-6)
    assert (found.chance, found.pairs) == (0.5, 1)


def test_agreement_averages_over_all_pairs() -> None:
    first, second = Subspace(UNITS[:, :1]), Subspace(UNITS[:, 1:2])
    found = agreement([first, first, second])
    assert found.mean_angle == pytest.approx(60.0)
    assert found.overlap == pytest.approx(1 / 3)
    assert found.pairs == 3
    nothing = agreement([Subspace(UNITS[:, :0]), first])
    assert (nothing.mean_angle, nothing.overlap, nothing.pairs) == (None, None, 0)


def test_random_subspaces_agree_by_chance() -> None:
    found = agreement([Subspace(retract(drawn(seed, 30, 6)).float()) for seed in range(12)])
    assert found.chance == pytest.approx(0.2)
    assert found.overlap == pytest.approx(0.2, abs=0.03)


def test_what_swaps_no_projection_has_no_subspace() -> None:
    assert torch.equal(subspace_of(MaskedBasis(torch.tensor([1.0, 0, 0.9, 0]))), UNITS[:, [0, 2]].double())
    assert torch.equal(subspace_of(Subspace(UNITS[:, :2])), UNITS[:, :2].double())
    dictionary = Dictionary(
        encoder=UNITS,
        encoder_bias=torch.zeros(4),
        decoder=UNITS,
        decoder_bias=torch.zeros(4),
        mask=torch.ones(4),
        activation=Activation(),
    )
    for other in (dictionary, LinearPatch(UNITS, UNITS)):
        with pytest.raises(SuiteError, match=f"a {other.kind}, whose swap is no projection"):
            subspace_of(other)
    with pytest.raises(SuiteError, match="a dictionary"):
        agreement([Subspace(UNITS), dictionary])


def test_mistakes_are_named() -> None:
    with pytest.raises(SuiteError, match="at least two fits"):
        agreement([Subspace(UNITS)])
    with pytest.raises(SuiteError, match="of one width"):
        readout_share(UNITS, torch.ones(2, 3))
