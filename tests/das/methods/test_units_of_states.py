"""Vectors that are learned reach the size of the states they are added to, whatever that is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from linear_world import LinearWorld
from planted_world import SITE, PlantedWorld
from torch import Tensor

from das.methods.common.base import Problem
from das.methods.registry import METHODS
from das.training.workspace import SilentWorkspace

TIMES = 64.0


class LargeWorld(LinearWorld):
    """The same world in states of many times the size."""

    def __init__(self, seed: int, *, n_entities: int) -> None:
        super().__init__(seed, n_entities=n_entities)
        self.vectors = TIMES * self.vectors

    def readout(self, vectors: Tensor, attributes: Sequence[str | None]) -> Tensor:
        """Logits [n, 8], as of the states before."""
        return super().readout(vectors / TIMES, attributes)


def found(name: str, world: PlantedWorld) -> dict[str, Tensor]:
    instance = world.instance(n_pairs=200, n_held_out=40).without_test()
    method = METHODS.get(name)
    config = method.config_class.from_mapping({"steps": 10, "batch_size": 8}, origin="here")
    finding = method(config).fit(Problem(instance, "A", SITE, 0, seed=11), world, SilentWorkspace())
    return finding.state_dict()


@pytest.mark.parametrize(("name", "part"), [("ssv", "readers"), ("bipo", "readers"), ("lobireft", "offset")])
def test_in_larger_states_larger_vectors_are_learned(name: str, part: str) -> None:
    small, large = found(name, LinearWorld(3, n_entities=120)), found(name, LargeWorld(3, n_entities=120))
    torch.testing.assert_close(large[part], TIMES * small[part], rtol=2e-3, atol=2e-2)
    assert float(small[part].abs().max()) > 0.02
