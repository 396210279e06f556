"""HyperDAS without its choice of tokens: reflections, and one training for all attributes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from keeping_workspace import KeepingWorkspace
from planted_world import SITE, PlantedWorld
from torch import Tensor

from das.featurizers.geometry import principal_cosines
from das.featurizers.orthonormal import deviation, retract
from das.featurizers.subspace import Subspace
from das.methods.common.base import Problem
from das.methods.trained._hypernetwork import HyperNetwork, normed, reflected
from das.methods.trained.hyperdas import Hyperdas, HyperdasConfig
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance

RIGHT = 0.95
D, K = 12, 4


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(reflections: int, seed: int = 0) -> HyperNetwork:
    return HyperNetwork(normal(seed, D, K), instruction_width=5, hidden=7, reflections=reflections, seed=seed)


# --- the network


def test_a_reflection_by_hand() -> None:
    """I - 2 v v^T with v = (0.6, 0.8): (1, 0) becomes (0.28, -0.96)."""
    found = reflected(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(found, torch.tensor([[0.28], [-0.96]]))


@pytest.mark.parametrize("reflections", [1, 3, 40])
def test_every_instruction_s_columns_are_orthonormal(reflections: int) -> None:
    for columns in network(reflections)(normal(1, 6, 5)):
        assert columns.shape == (D, K)
        assert deviation(columns) < 1e-5


@pytest.mark.parametrize("reflections", [1, 2])
def test_each_reflection_takes_one_direction_from_what_two_instructions_share(reflections: int) -> None:
    first, second = (Subspace(c.detach()) for c in network(reflections)(normal(1, 2, 5)))
    cosines = principal_cosines(first, second)
    # A reflection of either moves its columns along one vector.
    assert int((cosines > 1 - 1e-6).sum()) >= K - 2 * reflections
    assert float(cosines.min()) < 0.999


def test_gradients_reach_columns_and_network_alike() -> None:
    made = network(2)
    (made(normal(1, 3, 5)) * normal(2, 3, D, K)).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_instructions_are_told_by_what_sets_them_apart() -> None:
    found = normed(torch.tensor([[101.0, 100.0], [99.0, 100.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]) * 2**0.5)
    assert torch.equal(normed(torch.tensor([[3.0, 4.0]])), torch.zeros(1, 2))


# --- fits


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0, n_entities=200)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=1600, n_held_out=100).without_test()


def fit(
    world: PlantedWorld, instance: Instance, attribute: str, workspace: Any, size: int = 2, **settings: Any
) -> Subspace:
    config = HyperdasConfig.from_mapping({"epochs": 6, "learning_rate": 0.03, **settings}, origin="test")
    found = Hyperdas(config).fit(Problem(instance, attribute, SITE, size, 0), world, workspace)
    assert isinstance(found, Subspace)
    return found


def test_one_training_finds_both_planes(world: PlantedWorld, instance: Instance) -> None:
    shared = KeepingWorkspace()
    for attribute in ("A", "B"):
        found = fit(world, instance, attribute, shared)
        assert min(world.scores(found, attribute)) >= RIGHT
        assert float(principal_cosines(found, Subspace(retract(world.plane(attribute)))).min()) > 0.97
    assert len(shared.kept) == 1


def test_a_lone_attribute_is_refused(world: PlantedWorld, instance: Instance) -> None:
    alone = Instance.from_parts(
        entity_type=instance.entity_type,
        model_name=instance.model_name,
        model_fingerprint=instance.model_fingerprint,
        prompts=list(instance.prompts()),
        pairs={
            split: [pair for pair in instance.pairs(split) if pair.attribute == "A"]
            for split in ("train", "context_val")
        },
        attribute_order=("A",),
    )
    with pytest.raises(SuiteError, match="attributes other than 'A'"):
        fit(world, alone, "A", SilentWorkspace())
