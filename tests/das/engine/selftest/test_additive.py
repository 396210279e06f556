"""Whether a block adds what its modules return as it is, measured on the weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from das.engine.selftest.additive import BlockTerms, adds_as_is, block_terms
from das.models import FAMILIES
from das.models.base import TargetModel

NOT_AS_IS = {"gemma2", "gemma3", "granite", "olmo2"}
"""Families with norms or a factor between a module and the stream."""


@pytest.mark.parametrize("family", FAMILIES.names())
def test_it_holds_where_nothing_stands_between(family: str, target_of: Callable[[str], TargetModel]) -> None:
    assert adds_as_is(target_of(family), 1) == (family not in NOT_AS_IS)


def test_the_miss_by_hand() -> None:
    terms = BlockTerms(
        *(torch.tensor([[row]]) for row in ([1.0, 100.0], [2.0, 0.0], [-1.0, 0.5], [2.0, 100.0]))
    )
    # 2 against 1 + 2 - 1 is right; 100 against 100.5 is off by .5 of 100.5.
    assert terms.miss() == pytest.approx(0.5 / 100.5)


def test_a_few_huge_coordinates_hide_nothing(small_target: TargetModel) -> None:
    terms = block_terms(small_target, 2)
    assert terms.miss() < 1e-5
    terms.before[:, 0, 0] += 1e6
    terms.after[:, 0, 0] += 1e6
    assert terms.miss() < 1e-5
    terms.after[1, 3] += 0.1 * terms.mlp[1, 3]
    assert terms.miss() > 1e-2


def hooks_of(model: nn.Module) -> list[tuple[list[int], list[int]]]:
    """Return which hooks each part has; transformers leaves its own where hidden states were asked for."""
    return [(list(part._forward_hooks), list(part._forward_pre_hooks)) for part in model.modules()]


def test_no_hook_stays_and_no_weight_moves(small_target: TargetModel) -> None:
    model: nn.Module = small_target.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = hooks_of(model)
    adds_as_is(small_target, 0)
    assert hooks_of(model) == hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
