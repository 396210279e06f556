"""Our swaps against pyvene's own interventions, and its two traps: lost hooks and one location for a whole
batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyvene
import torch

from das.engine.engines.reference import ReferenceEngine
from das.featurizers import MaskedBasis, Subspace, retract
from das.models import TargetModel
from das.sites import Site

PromptMaker = Callable[..., Any]


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_subspace_swaps_as_pyvenes_low_rank_rotation_does() -> None:
    basis, base, source = retract(normal(0, 12, 4)), normal(1, 5, 12), normal(2, 5, 12)
    theirs = pyvene.LowRankRotatedSpaceIntervention(embed_dim=12, low_rank_dimension=4)
    theirs.rotate_layer.weight = basis
    with torch.no_grad():
        torch.testing.assert_close(Subspace(basis).interchange(base, source), theirs(base, source))


def test_a_full_mask_swaps_as_pyvenes_vanilla_intervention_does() -> None:
    base, source = normal(1, 5, 12), normal(2, 5, 12)
    theirs = pyvene.VanillaIntervention(embed_dim=12)
    torch.testing.assert_close(
        MaskedBasis(torch.ones(12)).interchange(base, source), theirs(base, source), rtol=0, atol=1e-6
    )


def test_each_row_of_a_batch_has_its_own_location(
    small_target: TargetModel, make_prompt: PromptMaker
) -> None:
    """Were one location taken for all, a row would change with its neighbours."""
    prompts = [
        make_prompt("%s is", "Ulm"),
        make_prompt("In the city of %s", "Kyoto"),
        make_prompt("%s", "Rome"),
    ]
    site = Site(2)
    together = ReferenceEngine(small_target).collect(prompts, [site])[site]
    for row, prompt in zip(together, prompts, strict=True):
        alone = ReferenceEngine(small_target).collect([prompt], [site])[site][0]
        torch.testing.assert_close(row, alone, rtol=0, atol=1e-5)
    assert not torch.allclose(together[0], together[1])
