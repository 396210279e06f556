"""Methods that find edits: laws of what they find, and what it does in a planted world."""

from __future__ import annotations

import pytest
import torch
from planted_world import SITE, WIDTH, PlantedWorld

from das.edits.base import Edit
from das.edits.forms import Clamp, LowRank, Replacement
from das.featurizers.orthonormal import deviation
from das.methods.common.base import Method, NotApplicableError, Problem
from das.methods.registry import METHODS
from das.methods.steering.direft import Direft, DireftConfig
from das.methods.steering.loreft import Loreft, LoreftConfig
from das.training.workspace import SilentWorkspace
from ravel.instance import Instance, concepts_of, entity_values, steered_pairs

FINDERS = [method for method in METHODS if method.finds == "edit"]


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(3, n_entities=120)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=200, n_held_out=40).without_test()


LOW_RANK = {"consreft", "direft", "lobireft", "loreft", "loreft_reps", "noreft"}
QUICK = {name: {"steps": 5} for name in LOW_RANK | {"loreft_suppress"}}
"""Settings for what holds however long a fit goes on."""


def quick(method: type[Method]) -> Method:
    return method(method.config_class.from_mapping(QUICK.get(method.name, {}), origin="here"))


def found(method: Method, world: PlantedWorld, instance: Instance, attribute: str = "A") -> Edit:
    edit = method.fit(Problem(instance, attribute, SITE, 0, seed=11), world, SilentWorkspace())
    assert isinstance(edit, Edit)
    return edit


def shares(edit: Edit, world: PlantedWorld, strength: float = 1.0) -> tuple[float, float]:
    """Cause and isolate over all entities and values: what is read of A and of B after the edit."""
    own = [world.readout(world.vectors, [a] * len(world.vectors)).argmax(dim=1) for a in "AB"]
    cause, isolate = [], []
    for place, value in enumerate(edit.values):
        edited = edit.edited(world.vectors, place, strength)
        said = [world.readout(edited, [a] * len(edited)).argmax(dim=1) for a in "AB"]
        cause.append(float((said[0] == int(value)).double().mean()))
        isolate.append(float((said[1] == own[1]).double().mean()))
    return sum(cause) / len(cause), sum(isolate) / len(isolate)


def test_every_row_is_here() -> None:
    assert {m.name for m in FINDERS} == LOW_RANK | {"loreft_suppress", "real_entity", "sae_clamp"}


@pytest.mark.parametrize("method", FINDERS, ids=lambda method: method.name)
class TestEvery:
    def test_it_is_about_the_concepts_of_its_target(
        self, method: type[Method], world: PlantedWorld, instance: Instance
    ) -> None:
        edit = found(quick(method), world, instance, "B")
        assert (edit.attribute, edit.values) == ("B", concepts_of(instance, "B").values)
        for value in edit.state_dict().values():
            assert not value.requires_grad
            assert value.device.type == "cpu"

    def test_equal_problems_give_equal_bits(
        self, method: type[Method], world: PlantedWorld, instance: Instance
    ) -> None:
        first = found(quick(method), world, instance)
        torch.manual_seed(99)
        second = found(quick(method), world, instance)
        for name, tensor in first.state_dict().items():
            assert torch.equal(tensor, second.state_dict()[name])

    def test_too_few_entities_are_a_refusal(self, method: type[Method]) -> None:
        few = PlantedWorld(3, n_entities=20)
        with pytest.raises(NotApplicableError, match="training entities have"):
            found(quick(method), few, few.instance(n_pairs=40, n_held_out=10).without_test())


def test_a_real_entity_brings_its_value_and_all_else(world: PlantedWorld, instance: Instance) -> None:
    edit = found(METHODS.get("real_entity")(), world, instance)
    assert isinstance(edit, Replacement)
    cause, isolate = shares(edit, world)
    assert cause == 1.0
    assert isolate < 0.6
    for column in edit.vectors.mT:
        assert bool((world.vectors == column).all(dim=1).any())


def test_loreft_that_keeps_the_others_gives_the_value_and_leaves_them(
    world: PlantedWorld, instance: Instance
) -> None:
    settings = {"rank": 2, "steps": 200, "learning_rate": 0.03}
    both = found(Loreft(LoreftConfig(**settings)), world, instance)
    alone = found(Loreft(LoreftConfig(**settings, isolate_pairs=0)), world, instance)
    for edit in (both, alone):
        assert isinstance(edit, LowRank)
        for part in edit.rotation.split(edit.rank):
            assert deviation(part.mT) < 1e-5
    assert shares(both, world)[0] > 0.9
    assert shares(alone, world)[0] > 0.9
    assert shares(both, world)[1] > 0.75
    assert shares(alone, world)[1] < shares(both, world)[1]


@pytest.mark.parametrize("name", sorted(LOW_RANK - {"consreft"}))
def test_before_any_step_it_is_nearly_the_identity(
    name: str, world: PlantedWorld, instance: Instance
) -> None:
    method = METHODS.get(name)
    config = method.config_class.from_mapping({"steps": 1, "learning_rate": 1e-9}, origin="here")
    edit = found(method(config), world, instance)
    torch.testing.assert_close(edit.edited(world.vectors, 0, 1.0), world.vectors, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(LOW_RANK - {"loreft"}))
def test_every_form_learns_to_give_the_value(name: str, world: PlantedWorld, instance: Instance) -> None:
    method = METHODS.get(name)
    settings = {"rank": 4, "steps": 60, "learning_rate": 0.05, "isolate_pairs": 0}
    edit = found(method(method.config_class.from_mapping(settings, origin="here")), world, instance)
    assert isinstance(edit, LowRank)
    assert edit.form == name.removesuffix("_reps")
    # A quarter of the entities has each value to begin with. A constant vector can do the least.
    assert shares(edit, world)[0] > (0.3 if name == "lobireft" else 0.6)


def test_what_pyreft_calls_direft_has_an_r_of_orthonormal_rows(
    world: PlantedWorld, instance: Instance
) -> None:
    for orthonormal in (True, False):
        config = DireftConfig(orthonormal=orthonormal, steps=5, rank=2, learning_rate=0.1)
        edit = found(Direft(config), world, instance)
        assert isinstance(edit, LowRank)
        apart = max(deviation(part.mT) for part in edit.rotation.split(edit.rank))
        assert (apart < 1e-5) == orthonormal


def test_a_clamped_latent_has_a_level_of_its_own(world: PlantedWorld, instance: Instance) -> None:
    edit = found(METHODS.get("sae_clamp")(), world, instance)
    assert isinstance(edit, Clamp)
    assert edit.readers.shape == edit.writers.shape == (WIDTH, len(edit.values))
    assert bool((edit.levels > 0).all())


def test_bases_have_another_value_than_they_are_to_get(instance: Instance) -> None:
    for target in instance.attributes:
        known = entity_values(instance, target, ("train",))
        wanted = steered_pairs(instance, "train", target)
        assert wanted
        for pair, value in wanted:
            assert known.get(pair.base_entity) != value == known[pair.source_entity]
            if pair.attribute == target:
                assert pair.if_swapped.strip() == value
