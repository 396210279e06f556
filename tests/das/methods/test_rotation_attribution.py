"""Coordinates of rotations ranked by gradients, in a world whose plane is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from keeping_workspace import KeepingWorkspace
from planted_world import SITE, WIDTH, PlantedWorld

from das.featurizers import MaskedBasis, Subspace
from das.methods.common.base import Problem
from das.methods.masks.rotation_attribution import RotationAttribution, RotationAttributionConfig
from das.methods.trained.mdas import Mdas
from ravel.common.errors import SuiteError
from ravel.instance import Instance

FAST: dict[str, Any] = {"epochs": 4, "batch_size": 64, "attribution_pairs": 200}


@pytest.fixture(scope="module")
def planted() -> PlantedWorld:
    return PlantedWorld(0)


@pytest.fixture(scope="module")
def instance(planted: PlantedWorld) -> Instance:
    return planted.instance(n_pairs=1600, n_held_out=100).without_test()


def found_by(
    world: PlantedWorld, instance: Instance, size: int, log: KeepingWorkspace | None = None, **settings: Any
) -> MaskedBasis:
    method = RotationAttribution(RotationAttributionConfig(**FAST, **settings))
    found = method.fit(Problem(instance, "A", SITE, size, 0), world, log or KeepingWorkspace())
    assert isinstance(found, MaskedBasis)
    return found


def basis_of(found: MaskedBasis) -> torch.Tensor:
    assert found.basis is not None
    return found.basis


@pytest.mark.parametrize("rotation", ["mdas", "das"])
def test_trained_columns_rank_highest_and_are_the_planted_plane(
    rotation: str, planted: PlantedWorld, instance: Instance
) -> None:
    found = found_by(planted, instance, 2, rotation=rotation, fitted_size=2)
    assert found.mask().nonzero()[:, 0].tolist() == [0, 1]
    assert min(planted.scores(found)) >= 0.9
    drawn = found_by(planted, instance, 2, rotation="random")
    assert sum(planted.scores(found)) > sum(planted.scores(drawn)) + 0.3


def test_the_rotation_begins_with_what_mdas_finds(planted: PlantedWorld, instance: Instance) -> None:
    settings = {name: FAST[name] for name in ("epochs", "batch_size")}
    mdas = Mdas(Mdas.config_class(**settings)).fit(
        Problem(instance, "A", SITE, 3, 0), planted, KeepingWorkspace()
    )
    assert isinstance(mdas, Subspace)
    found = found_by(planted, instance, 2, rotation="mdas", fitted_size=3)
    assert torch.allclose(basis_of(found)[:, :3], mdas.basis, atol=1e-5)


def test_one_ranking_serves_every_size_and_gradient_is_a_setting(
    planted: PlantedWorld, instance: Instance
) -> None:
    log = KeepingWorkspace()
    sizes = [found_by(planted, instance, size, log, rotation="random") for size in (2, 5, WIDTH)]
    chosen = [set(found.mask().nonzero()[:, 0].tolist()) for found in sizes]
    assert chosen[0] < chosen[1] < chosen[2] == set(range(WIDTH))
    assert all(torch.equal(basis_of(one), basis_of(sizes[0])) for one in sizes)
    integrated = found_by(planted, instance, 2, rotation="random", gradient="integrated")
    assert torch.equal(basis_of(integrated), basis_of(sizes[0]))


def test_a_swap_of_everything_is_the_source_whatever_the_rotation(
    planted: PlantedWorld, instance: Instance
) -> None:
    found = found_by(planted, instance, WIDTH, rotation="random")
    base, source = torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found.interchange(base, source), source, atol=1e-5)


def test_unknown_targets_and_sizes_beyond_the_width_are_refused(
    planted: PlantedWorld, instance: Instance
) -> None:
    method = RotationAttribution()
    with pytest.raises(SuiteError, match="attribute of this planted instance"):
        method.fit(Problem(instance, "C", SITE, 2, 0), planted, KeepingWorkspace())
    with pytest.raises(SuiteError, match="a size from 1 to 16"):
        method.fit(Problem(instance, "A", SITE, 17, 0), planted, KeepingWorkspace())
    with pytest.raises(SuiteError, match="rotation"):
        RotationAttributionConfig.from_mapping({"rotation": "pca"}, origin="a file")
