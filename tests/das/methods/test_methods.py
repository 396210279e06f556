"""Each method of the suite by itself: what it looks at, what it depends on, which mistakes it names."""

from __future__ import annotations

import pytest
import torch
from planted_world import SITE, WIDTH, PlantedWorld
from safetensors.torch import save

from das.featurizers.base import Featurizer
from das.methods.bounds.full_vector import FullVector
from das.methods.bounds.no_op import NoOp
from das.methods.bounds.random_subspace import RandomSubspace
from das.methods.common.base import Method, Problem
from das.methods.common.tasks import CausePairsConfig, MixedPairsConfig
from das.methods.registry import METHODS
from das.methods.trained.das import Das
from das.methods.trained.mdas import Mdas
from das.sites import Site
from das.training.objective import LossWeights
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance
from ravel.terms.schema import InterchangePair

TRAINED = (
    Das(CausePairsConfig(epochs=2, batch_size=32, cause_pairs=60)),
    Mdas(MixedPairsConfig(epochs=2, batch_size=32, cause_pairs=60, isolate_pairs_per_attribute=40)),
)
SIZED = (*TRAINED, RandomSubspace())


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0, n_entities=60)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=80, n_held_out=20).without_test()


def _name(method: Method) -> str:
    return method.name


def _fit(method: Method, world: PlantedWorld, problem: Problem) -> Featurizer:
    return method.fit(problem, world, SilentWorkspace())


def _bytes(featurizer: Featurizer) -> bytes:
    return save(dict(featurizer.state_dict()))


def _without(instance: Instance, unwanted: tuple[str, str]) -> Instance:
    """The instance without the pairs of one (split, attribute)."""

    def kept(split: str) -> tuple[InterchangePair, ...]:
        return tuple(p for p in instance.pairs(split) if (split, p.attribute) != unwanted)

    return Instance.from_parts(
        entity_type=instance.entity_type,
        model_name=instance.model_name,
        model_fingerprint=instance.model_fingerprint,
        prompts=instance.prompts(),
        pairs={split: kept(split) for split in instance.splits()},
    )


def test_the_methods_of_the_suite_are_registered() -> None:
    assert {"das", "mdas", "no_op", "full_vector", "random_subspace"} <= set(METHODS.names())


@pytest.mark.parametrize("size", [0, 5, WIDTH])
def test_no_op_changes_nothing_and_full_vector_everything(
    world: PlantedWorld, instance: Instance, size: int
) -> None:
    problem = Problem(instance, "A", SITE, size, 0)
    base, source = torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(0))
    no_op, full = _fit(NoOp(), world, problem), _fit(FullVector(), world, problem)
    assert (no_op.size, full.size) == (0, WIDTH)
    assert torch.equal(no_op.interchange(base, source), base)
    torch.testing.assert_close(full.interchange(base, source), source)


@pytest.mark.parametrize("method", SIZED, ids=_name)
@pytest.mark.parametrize("size", [1, 6, WIDTH])
def test_the_size_is_as_asked_and_everything_is_a_full_swap(
    world: PlantedWorld, instance: Instance, method: Method, size: int
) -> None:
    found = _fit(method, world, Problem(instance, "A", SITE, size, 0))
    assert (found.size, found.width) == (size, WIDTH)
    if size == WIDTH:
        base, source = torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(found.interchange(base, source), source, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", SIZED, ids=_name)
def test_seed_and_size_change_the_draw(world: PlantedWorld, instance: Instance, method: Method) -> None:
    found = {_bytes(_fit(method, world, Problem(instance, "A", SITE, 3, seed))) for seed in (0, 1, 2)}
    assert len(found) == 3


def test_the_random_subspace_is_blind_to_the_target(world: PlantedWorld, instance: Instance) -> None:
    first, second = (
        _fit(RandomSubspace(), world, Problem(instance, name, SITE, 3, 0)) for name in ("A", "B")
    )
    assert _bytes(first) == _bytes(second)


def test_das_looks_at_cause_pairs_only_and_mdas_at_both(world: PlantedWorld, instance: Instance) -> None:
    other = _without(_without(instance, ("context_val", "B")), ("train", "B"))
    fewer = Instance.from_parts(
        entity_type=instance.entity_type,
        model_name=instance.model_name,
        model_fingerprint=instance.model_fingerprint,
        prompts=instance.prompts(),
        pairs={
            split: [p for i, p in enumerate(instance.pairs(split)) if p.attribute == "A" or i % 2]
            for split in instance.splits()
        },
    )
    das, mdas = TRAINED
    problem = Problem(instance, "A", SITE, 3, 0)
    assert _bytes(_fit(das, world, problem)) == _bytes(_fit(das, world, Problem(other, "A", SITE, 3, 0)))
    assert _bytes(_fit(mdas, world, problem)) != _bytes(_fit(mdas, world, Problem(fewer, "A", SITE, 3, 0)))


def test_training_reads_no_test_split(world: PlantedWorld) -> None:
    whole = world.instance(n_pairs=40, n_held_out=10)
    for method in TRAINED:
        seen = _fit(method, world, Problem(whole, "A", SITE, 2, 0))
        blind = _fit(method, world, Problem(whole.without_test(), "A", SITE, 2, 0))
        assert _bytes(seen) == _bytes(blind)


# --- mistakes


@pytest.mark.parametrize("method", SIZED, ids=_name)
@pytest.mark.parametrize(
    ("size", "todo"), [(WIDTH + 1, "smaller --dim"), (0, "at least 1"), (-3, "at least 1")]
)
def test_a_size_the_model_does_not_have(
    world: PlantedWorld, instance: Instance, method: Method, size: int, todo: str
) -> None:
    with pytest.raises(
        SuiteError, match=f"a size from 1 to 16, the width of planted at .*; got {size}.*{todo}"
    ):
        _fit(method, world, Problem(instance, "A", SITE, size, 0))


@pytest.mark.parametrize("method", [*SIZED, NoOp(), FullVector()], ids=_name)
def test_a_layer_the_model_does_not_have(world: PlantedWorld, instance: Instance, method: Method) -> None:
    with pytest.raises(SuiteError, match=r"a layer from 0 to 0.* got layer 1 in block_output.1@entity_last"):
        _fit(method, world, Problem(instance, "A", Site(layer=1), 2, 0))


@pytest.mark.parametrize("method", TRAINED, ids=_name)
def test_an_attribute_the_instance_does_not_have(
    world: PlantedWorld, instance: Instance, method: Method
) -> None:
    with pytest.raises(SuiteError, match=r"attribute of this planted instance; got 'Z'.* known: A, B"):
        _fit(method, world, Problem(instance, "Z", SITE, 2, 0))


@pytest.mark.parametrize("method", TRAINED, ids=_name)
def test_a_target_without_training_pairs(world: PlantedWorld, instance: Instance, method: Method) -> None:
    poor = _without(instance, ("train", "A"))
    with pytest.raises(SuiteError, match="'A'"):
        _fit(method, world, Problem(poor, "A", SITE, 2, 0))


def test_mdas_with_a_single_attribute(world: PlantedWorld, instance: Instance) -> None:
    alone = _without(_without(instance, ("train", "B")), ("context_val", "B"))
    with pytest.raises(SuiteError, match=r"attributes other than 'A'.*use das"):
        _fit(TRAINED[1], world, Problem(alone, "A", SITE, 2, 0))


def test_a_config_of_another_method_is_refused() -> None:
    with pytest.raises(TypeError, match="das takes a CausePairsConfig, not a MixedPairsConfig"):
        Das(MixedPairsConfig())


# --- configs


@pytest.mark.parametrize("method", list(METHODS), ids=lambda method: method.name)
def test_configs_survive_yaml_and_refuse_unknown_keys(method: type[Method]) -> None:
    config = method.config_class()
    assert method.config_class.from_yaml(config.to_yaml()) == config
    with pytest.raises(SuiteError, match="only known settings in here; got 'learning_rat'"):
        method.config_class.from_yaml("learning_rat: 1", origin="here")


@pytest.mark.parametrize("text", ["cause_weight: 1.0", "isolate_weight: 1.0"])
def test_weights_come_in_pairs(text: str) -> None:
    with pytest.raises(SuiteError, match=r"'isolate_weight'.*both or neither"):
        MixedPairsConfig.from_yaml(text)


@pytest.mark.parametrize("text", ["learning_rate: 0", "epochs: 0", "warmup_fraction: 1.0", "schedule: step"])
def test_settings_out_of_range_are_named(text: str) -> None:
    with pytest.raises(SuiteError, match=f"a valid value for '{text.split(':')[0]}'"):
        CausePairsConfig.from_yaml(text)


def test_weights_are_counts_unless_given() -> None:
    assert MixedPairsConfig().weights(40, 60) == LossWeights(1.0, 1.0)
    given = MixedPairsConfig(cause_weight=3.0, isolate_weight=1.0).weights(40, 60)
    # 100 pairs: cause pairs share 75 among 40, isolate pairs 25 among 60.
    assert (given.cause, given.isolate) == pytest.approx((75 / 40, 25 / 60))
