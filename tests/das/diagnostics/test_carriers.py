"""Positions that carry a token's activation: by hand, with hooks written out, and where a planted fact is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from das.diagnostics.carriers import RowSwap, position_weights, weights_entropy
from das.diagnostics.sharpness import answer_signs, contextual_entropy
from das.featurizers import MaskedBasis
from das.methods.common.base import NotApplicableError
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.errors import SuiteError

ROWS = [(5, 6, 7), (9, 8, 7, 6, 5, 4, 3), (11,), (20, 21, 22, 23)]
PLACES = [1, 2, 0, 3]


def test_entropy_of_weights_by_hand() -> None:
    assert float(weights_entropy(torch.full((4,), 0.25))) == pytest.approx(1.386294, abs=1e-6)
    assert float(weights_entropy(torch.tensor([0.75, 0.25, 0.0]))) == pytest.approx(0.562335, abs=1e-6)
    row = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(weights_entropy(row.softmax(-1))) == pytest.approx(float(contextual_entropy(row)))


def test_weights_of_the_likeliest_token_have_the_entropy_of_its_signs(small_target: TargetModel) -> None:
    signs = answer_signs(small_target, ROWS, (0, 2))
    found = position_weights(small_target, ROWS, signs.tokens.tolist(), (0, 2), batch_tokens=16)
    for weights, row, entropy in zip(found, ROWS, signs.entropy, strict=True):
        assert weights.shape == (2, len(row))
        assert torch.allclose(weights.sum(-1), torch.ones(2, dtype=torch.float64))
        assert weights_entropy(weights).tolist() == pytest.approx(entropy.tolist(), abs=1e-5)


def swap_of(target: TargetModel, mask: torch.Tensor, layer: int) -> RowSwap:
    width = target.width(Site(layer))
    sources = 3 * torch.randn(len(ROWS), width, generator=torch.Generator().manual_seed(1))
    return RowSwap(Site(layer), PLACES, sources, MaskedBasis(mask))


def test_an_empty_swap_moves_nothing_and_no_swap_what_stands_before(small_target: TargetModel) -> None:
    width, layers = small_target.width(Site(1)), (0, 1, 2)
    plain = position_weights(small_target, ROWS, [1, 2, 3, 4], layers)
    empty = swap_of(small_target, torch.zeros(width), 1)
    for one, same in zip(
        plain, position_weights(small_target, ROWS, [1, 2, 3, 4], layers, swap=empty), strict=True
    ):
        assert torch.equal(one, same)
    full = swap_of(small_target, torch.ones(width), 1)
    moved = position_weights(small_target, ROWS, [1, 2, 3, 4], layers, swap=full)
    for one, other in zip(plain, moved, strict=True):
        assert torch.equal(one[0], other[0])
    # A row of one token has all of anything at it.
    assert not torch.allclose(plain[1][1:], moved[1][1:])
    assert torch.equal(plain[2], moved[2])


def test_a_vector_that_is_the_token_carries_it_at_its_place(small_target: TargetModel) -> None:
    """The source's vector is far along the token's own row of the projection: planted, so known."""
    tokens, width = [1, 2, 3, 4], small_target.width(Site(1))
    rows = small_target.model.get_output_embeddings().weight[tokens].detach()
    far = 50 * rows / rows.square().sum(-1, keepdim=True)
    swap = RowSwap(Site(1), PLACES, far, MaskedBasis(torch.ones(width)))
    for weights, place in zip(
        position_weights(small_target, ROWS, tokens, (1,), swap=swap), PLACES, strict=True
    ):
        assert float(weights[0, place]) == pytest.approx(1, abs=1e-6)
        assert float(weights_entropy(weights)[0]) < 1e-6 < math.log(len(ROWS))


def test_what_is_not_there_is_refused(small_target: TargetModel) -> None:
    with pytest.raises(SuiteError, match="layer"):
        position_weights(small_target, ROWS, [1, 2, 3, 4], (9,))
    beyond = swap_of(small_target, torch.ones(small_target.width(Site(1))), 1)
    lost = RowSwap(Site(9), PLACES, beyond.sources, beyond.featurizer)
    with pytest.raises(SuiteError, match="layer"):
        position_weights(small_target, ROWS, [1, 2, 3, 4], (1,), swap=lost)


def test_a_projection_that_reads_no_states_is_refused_here_too(
    target_of: Callable[[str], TargetModel],
) -> None:
    with pytest.raises(NotApplicableError, match="reads 24 numbers"):
        position_weights(target_of("opt"), [(5, 6)], [1], (1,))
