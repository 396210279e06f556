"""Variants of MDAS by what each claims of itself: the limit in which it is MDAS, and what it alone brings."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from keeping_workspace import KeepingWorkspace
from planted_world import SITE, PlantedWorld
from token_world import token_instance
from torch import Tensor

from das.engine import make_engine
from das.engine.base.protocol import FeaturizedPairs
from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from das.methods.closed_form.mean_difference import mean_directions
from das.methods.common.alignment import random_columns
from das.methods.common.base import Method, NotApplicableError, Problem
from das.methods.common.labelled import labelled_vectors
from das.methods.common.tasks import MixedPairsConfig, mixed_pairs
from das.methods.masks.budget_mask import BudgetMask, BudgetMaskConfig
from das.methods.trained.counterfactual_latent import (
    CounterfactualLatent,
    CounterfactualLatentConfig,
    swap_targets,
)
from das.methods.trained.mdas import Mdas
from das.methods.trained.null_mdas import NullMdas, NullMdasConfig, null_space
from das.methods.trained.soft_mdas import SoftMdas, SoftMdasConfig
from das.models import FAMILIES
from das.models.miniature import miniature
from das.sites import Site
from das.training.soft_targets import with_soft_labels
from das.training.trainable import TrainableSubspace
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance

SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 32, "cause_pairs": 60}
RIGHT = 0.97


class SharpWorld(PlantedWorld):
    """A planted world that is sure of every answer."""

    def readout(self, vectors: Tensor, attributes: Any) -> Tensor:
        return 60.0 * super().readout(vectors, attributes)


class BalancedWorld(PlantedWorld):
    """A planted world in which every pair of values is as frequent, so that means of B say nothing of A."""

    def __init__(self, seed: int, *, n_entities: int) -> None:
        super().__init__(seed, n_entities=n_entities)
        places = torch.arange(n_entities)
        self.values = torch.stack([places % 4, places // 4 % 4], dim=1)
        coordinates = self.vectors @ self.directions
        coordinates[:, :4] = torch.cat([self.codewords[i][self.values[:, i]] for i in range(2)], dim=1)
        self.vectors = coordinates @ self.directions.T


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0, n_entities=200)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=1600, n_held_out=100).without_test()


def _fit(method: Method, world: PlantedWorld, instance: Instance, size: int = 3) -> Subspace:
    found = method.fit(Problem(instance, "A", SITE, size, 0), world, SilentWorkspace())
    assert isinstance(found, Subspace)
    return found


def _like_mdas(method: type[Method]) -> type[Method]:
    """The method with the random streams of mdas, which go by the name."""

    class Same(method):  # type: ignore[misc,valid-type]
        name: ClassVar[str] = "mdas"

    return Same


# --- soft_mdas


def test_soft_mdas_is_mdas_where_the_model_is_sure() -> None:
    world = SharpWorld(0, n_entities=60)
    instance = world.instance(n_pairs=80, n_held_out=20).without_test()
    hard = _fit(Mdas(MixedPairsConfig(**SHORT)), world, instance)
    soft = _fit(_like_mdas(SoftMdas)(SoftMdasConfig(**SHORT)), world, instance)
    torch.testing.assert_close(soft.basis, hard.basis, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("divergence", ["cross_entropy", "jensen_shannon"])
@pytest.mark.parametrize("named", [2, 64])
def test_soft_mdas_finds_the_planted_plane(
    world: PlantedWorld, instance: Instance, divergence: str, named: int
) -> None:
    config = SoftMdasConfig.from_mapping(
        {"epochs": 6, "learning_rate": 0.03, "divergence": divergence, "named_tokens": named}, origin="test"
    )
    assert min(world.scores(_fit(SoftMdas(config), world, instance))) >= RIGHT


def test_engines_judge_distributions_alike_and_beside_labels() -> None:
    target = miniature(FAMILIES.get("qwen2"))
    problem = Problem(token_instance(target.fingerprint), "A", Site(layer=1), 4, seed=0)
    limits: dict[str, Any] = {"cause_limit": 6, "isolate_limit_each": 6, "seed": 0, "label_tokens": 3}
    hard = [pair for kind in mixed_pairs(problem, "train", **limits) for pair in kind]
    width = target.width(problem.site)
    featurizer = TrainableSubspace(random_columns(width, 4, 0)).finished()
    found = []
    for name in ("reference", "direct", "resume"):
        engine = make_engine(name, target)
        soft = with_soft_labels(
            hard, problem.instance, engine, problem.site, most=5, divergence="jensen_shannon"
        )
        groups = [FeaturizedPairs([pair.forced for pair in pairs], featurizer) for pairs in (soft, hard)]
        beside = engine.forced_labels(groups, problem.site)
        (alone,) = engine.forced_labels(groups[:1], problem.site)
        assert name == "reference" or torch.equal(alone.cross_entropy, beside[0].cross_entropy)
        assert bool((beside[0].cross_entropy != beside[1].cross_entropy).any())
        found.append(alone.cross_entropy)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=1e-4)


# --- null_mdas


def test_null_mdas_moves_nothing_along_another_attribute_s_means() -> None:
    world = BalancedWorld(0, n_entities=320)
    instance = world.instance(n_pairs=1600, n_held_out=100).without_test()
    config = NullMdasConfig.from_mapping({"epochs": 6, "learning_rate": 0.03}, origin="test")
    found = _fit(NullMdas(config), world, instance, size=6)
    other = labelled_vectors(Problem(instance, "B", SITE, 2, 0), world, limit=10**6)
    assert float((mean_directions(other)["basis"][:, :2].T @ found.basis).abs().max()) < 1e-5
    assert min(world.scores(found)) >= RIGHT


def test_what_several_attributes_share_is_left_out_once() -> None:
    columns = torch.eye(5)[:, [0, 1, 1]]
    found = null_space(columns)
    torch.testing.assert_close(found @ found.mT, torch.diag(torch.tensor([0.0, 0, 1, 1, 1])))


def test_no_room_beside_the_others_is_no_fault_of_the_user(world: PlantedWorld, instance: Instance) -> None:
    # Four values of B span three of the sixteen directions: two, and one of chance.
    with pytest.raises(NotApplicableError, match="outside the class means"):
        _fit(NullMdas(NullMdasConfig(spread=1.0)), world, instance, size=14)


# --- budget_mask


def test_one_training_gives_every_size_of_a_mask() -> None:
    world = PlantedWorld(0, rotated=False)
    instance = world.instance(n_pairs=1600, n_held_out=20).without_test()
    shared = KeepingWorkspace()
    method = BudgetMask(BudgetMaskConfig(over="neurons", batch_size=64))
    masks = []
    for size in (1, 2, 5):
        found = method.fit(Problem(instance, "A", SITE, size, 0), world, shared)
        assert isinstance(found, MaskedBasis)
        masks.append({int(i) for i in found.mask().nonzero()[:, 0]})
        assert len(masks[-1]) == size
        if size == 2:
            assert min(world.scores(found)) >= RIGHT
    assert masks[0] < masks[1] < masks[2]
    assert len(shared.kept) == 1


@pytest.mark.parametrize("over", ["neurons", "components"])
@pytest.mark.parametrize("size", [0, 17])
def test_a_budget_that_the_width_does_not_hold_is_refused(
    world: PlantedWorld, instance: Instance, over: Any, size: int
) -> None:
    with pytest.raises(SuiteError, match="a size from 1 to 16"):
        BudgetMask(BudgetMaskConfig(over=over)).fit(
            Problem(instance, "A", SITE, size, 0), world, SilentWorkspace()
        )


# --- counterfactual_latent


def test_without_weight_the_latent_loss_leaves_mdas(world: PlantedWorld, instance: Instance) -> None:
    plain = _fit(Mdas(MixedPairsConfig(**SHORT)), world, instance)
    config = CounterfactualLatentConfig(**SHORT, latent_weight=0.0)
    assert torch.equal(_fit(_like_mdas(CounterfactualLatent)(config), world, instance).basis, plain.basis)


def test_the_latent_loss_brings_swaps_nearer_to_natural_states(
    world: PlantedWorld, instance: Instance
) -> None:
    states = swap_targets(Problem(instance, "A", SITE, 6, 0), world, limit=200)
    # Each wanted state has the source's value of A and the base's of B, for all combinations are there.
    planes = torch.cat([world.plane("A"), world.plane("B")], dim=1)
    true = torch.cat([states.source @ world.plane("A"), states.base @ world.plane("B")], dim=1)
    torch.testing.assert_close(states.wanted @ planes, true, atol=1e-4, rtol=1e-4)
    distances = []
    for weight in (0.0, 1.0):
        settings = {"epochs": 6, "learning_rate": 0.03, "latent_weight": weight}
        config = CounterfactualLatentConfig.from_mapping(settings, origin="test")
        found = _fit(CounterfactualLatent(config), world, instance, size=6)
        assert min(world.scores(found)) >= RIGHT
        distances.append(float(states.distance(found)))
    assert distances[1] < distances[0]
