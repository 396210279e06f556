"""Non-linear DAS: where it starts, what it finds on planted worlds, bent ones too, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from keeping_workspace import KeepingWorkspace
from planted_world import SITE, WIDTH, PlantedWorld
from torch import Tensor

from das.featurizers.coordinate_maps import MapForm
from das.featurizers.orthonormal import deviation
from das.featurizers.reversible import ReversibleMap
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import random_columns
from das.methods.common.base import NotApplicableError, Problem
from das.methods.common.tasks import MixedPairsConfig
from das.methods.trained import nonlinear_das
from das.methods.trained._reversible import TrainableMap, monotone_start, revnet_start
from das.methods.trained.mdas import Mdas
from das.methods.trained.nonlinear_das import NonlinearDas, NonlinearDasConfig
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance

FORMS: tuple[MapForm, ...] = ("revnet", "monotone")
RIGHT = 0.96
UNITS = {"centre": torch.ones(6), "scale": torch.tensor(2.0)}


def _start(form: str, rotation: Tensor) -> TrainableMap:
    if form == "revnet":
        return TrainableMap(revnet_start(UNITS, rotation, blocks=2, hidden=5, seed=0), 2)
    return TrainableMap(monotone_start(UNITS, rotation, blocks=2), 2)


def _fit(world: PlantedWorld, instance: Instance, form: str, size: int = 3, **settings: Any) -> ReversibleMap:
    config = NonlinearDasConfig.from_mapping({"map": form, **settings}, origin="test")
    found = NonlinearDas(config).fit(Problem(instance, "A", SITE, size, 0), world, SilentWorkspace())
    assert isinstance(found, ReversibleMap)
    return found


# --- under training


@pytest.mark.parametrize("form", FORMS)
def test_training_starts_at_a_linear_interchange(form: str) -> None:
    trainable = _start(form, random_columns(6, 6, 3))
    first = trainable.current().coordinates
    rotation = first.get_buffer(first.orthonormal).reshape(-1, 6, 6)[0]
    base, source = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        trainable.current().interchange(base, source),
        Subspace(rotation[:, :2].contiguous()).interchange(base, source),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rate", [1e-3, 1e-1, 10.0])
def test_matrices_stay_orthonormal_and_every_weight_learns(form: str, rate: float) -> None:
    trainable = _start(form, random_columns(6, 6, 3))
    before = {name: value.detach().clone() for name, value in trainable.named_parameters()}
    optimiser = torch.optim.AdamW(trainable.parameters(), lr=rate, weight_decay=0.0)
    for step in range(5):
        base, source, wanted = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(step))
        loss = (trainable.current().interchange(base, source) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        trainable.after_step(step / 5)
        coordinates = trainable.current().coordinates
        for matrix in coordinates.get_buffer(coordinates.orthonormal).reshape(-1, 6, 6):
            assert deviation(matrix) < 1e-5
    for name, value in trainable.named_parameters():
        assert not torch.equal(value, before[name]), name
    assert torch.equal(trainable.finished().coordinates.centre, UNITS["centre"])


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_finite_differences(form: str) -> None:
    trainable = _start(form, random_columns(6, 6, 3))
    with torch.no_grad():
        for at, weight in enumerate(trainable.weights.values()):
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(at))
    base, source, wanted = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(9))

    def loss() -> Tensor:
        return (trainable.current().interchange(base, source) - wanted).square().mean()

    loss().backward()
    for at, weight in enumerate(trainable.weights.values()):
        step = torch.randn(weight.shape, generator=torch.Generator().manual_seed(50 + at))
        assert weight.grad is not None
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * 1e-2 * step
                ends.append(float(loss()))
                weight -= sign * 1e-2 * step
        assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(float((weight.grad * step).sum()), abs=2e-2)


# --- worlds


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0, n_entities=200)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=1600, n_held_out=100).without_test()


@pytest.mark.parametrize("form", FORMS)
def test_the_planted_plane_is_found(world: PlantedWorld, instance: Instance, form: str) -> None:
    found = _fit(world, instance, form, epochs=6, learning_rate=0.03)
    assert min(world.scores(found)) >= RIGHT
    assert found.inverse_error(world.vectors) < 1e-5


class BentWorld(PlantedWorld):
    """A planted world whose vectors, and what reads them, are bent by couplings: no plane carries A."""

    def __init__(self, seed: int, bend: float = 2.0) -> None:
        super().__init__(seed)
        rotation = random_columns(WIDTH, WIDTH, seed + 1)
        units = {"centre": torch.zeros(WIDTH), "scale": torch.tensor(1.0)}
        start = revnet_start(units, rotation, blocks=1, hidden=8, seed=seed)
        writes = {
            name: bend * torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
            for name, value in start.named_buffers()
            if name.endswith("_out")
        }
        self.bend = type(start)({**dict(start.named_buffers()), **writes})
        self.vectors = self.bend.decode(self.vectors)

    def readout(self, vectors: Tensor, attributes: Sequence[str | None]) -> Tensor:
        return super().readout(self.bend.encode(vectors), attributes)


def test_a_bent_part_is_found_where_no_plane_is() -> None:
    world = BentWorld(0)
    instance = world.instance(n_pairs=2000, n_held_out=100).without_test()
    flat = Mdas(MixedPairsConfig(epochs=6, learning_rate=0.03))
    plane = flat.fit(Problem(instance, "A", SITE, 2, 0), world, SilentWorkspace())
    for form, isolate in (("revnet", 0.9), ("monotone", 0.84)):
        found = _fit(world, instance, form, size=2, epochs=6, learning_rate=0.02)
        scores = world.scores(found)
        assert scores[0] > 0.97
        assert scores[1] > isolate
        assert sum(scores) > sum(world.scores(plane)) + 0.04


# --- objective, refusals


def test_without_isolate_only_the_target_is_trained(world: PlantedWorld, instance: Instance) -> None:
    found = _fit(world, instance, "revnet", size=6, isolate=False, epochs=2)
    both = _fit(world, instance, "revnet", size=6, epochs=2)
    assert world.scores(found)[0] >= RIGHT
    assert world.scores(found)[1] < world.scores(both)[1]


def test_the_log_tells_the_error_of_the_way_back(world: PlantedWorld, instance: Instance) -> None:
    rows: list[dict[str, float | int | str]] = []

    class Logged(KeepingWorkspace):
        def log(self, row: dict[str, float | int | str]) -> None:
            rows.append(row)

    config = NonlinearDasConfig(epochs=1, cause_pairs=64)
    NonlinearDas(config).fit(Problem(instance, "A", SITE, 3, 0), world, Logged())
    assert rows[-1]["phase"] == "inverse"
    assert 0 < float(rows[-1]["error"]) < 1e-5


def test_a_size_that_leaves_nothing_in_place_is_no_fault_of_the_user(
    world: PlantedWorld, instance: Instance
) -> None:
    with pytest.raises(NotApplicableError, match="a size from 1 to 15"):
        _fit(world, instance, "revnet", size=WIDTH)
    for size in (0, WIDTH + 1):
        with pytest.raises(SuiteError, match="a size from 1 to 16"):
            _fit(world, instance, "revnet", size=size)


def test_equal_vectors_are_no_fault_of_the_user(instance: Instance) -> None:
    world = PlantedWorld(0, n_entities=200)
    world.vectors = world.vectors[:1].expand_as(world.vectors)
    with pytest.raises(NotApplicableError, match="differ between prompts"):
        _fit(world, instance, "monotone")


def test_a_map_that_does_not_come_back_is_refused(
    world: PlantedWorld, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonlinear_das, "INVERSE_TOLERANCE", 0.0)
    with pytest.raises(NotApplicableError, match="has become too steep"):
        _fit(world, instance, "revnet", epochs=1, cause_pairs=64)
