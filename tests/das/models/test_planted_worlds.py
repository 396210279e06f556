"""Worlds with a known answer: each method must find it, or fail to, as theory and earlier measurement say.

Bounds: 0.97 where a method must be right; a quarter is chance.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from planted_world import SITE, WIDTH, PlantedWorld

from das.featurizers.subspace import Subspace
from das.methods.bounds.full_vector import FullVector
from das.methods.bounds.no_op import NoOp
from das.methods.bounds.random_subspace import RandomSubspace
from das.methods.common.base import Method, Problem
from das.methods.common.tasks import CausePairsConfig, MixedPairsConfig
from das.methods.trained.das import Das
from das.methods.trained.mdas import Mdas
from das.training.workspace import SilentWorkspace
from ravel.instance import Instance

SEEDS = (0, 1, 2)
RIGHT = 0.97
DAS = Das(
    CausePairsConfig(
        epochs=16, batch_size=128, learning_rate=0.02, schedule="cosine", cause_pairs=3200, patience=16
    )
)
MDAS = Mdas(
    MixedPairsConfig(
        epochs=8,
        batch_size=128,
        learning_rate=0.02,
        schedule="cosine",
        cause_pairs=3200,
        isolate_pairs_per_attribute=3200,
        patience=8,
    )
)


@cache
def _world(seed: int) -> tuple[PlantedWorld, Instance]:
    world = PlantedWorld(seed)
    return world, world.instance(n_held_out=200).without_test()


def _scores(method: Method, seed: int, size: int) -> tuple[float, float]:
    world, instance = _world(seed)
    found = method.fit(Problem(instance, "A", SITE, size, seed), world, SilentWorkspace())
    return world.scores(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_mdas_isolates_even_with_too_many_dimensions(seed: int) -> None:
    assert min(_scores(MDAS, seed, 6)) >= RIGHT


def test_das_leaks_with_too_many_dimensions() -> None:
    scores = [_scores(DAS, seed, 6) for seed in SEEDS]
    assert min(cause for cause, _ in scores) >= RIGHT
    assert sum(isolate for _, isolate in scores) / len(SEEDS) < 0.9


@pytest.mark.parametrize(
    "method",
    [
        Das(
            CausePairsConfig(
                epochs=12,
                batch_size=128,
                learning_rate=0.3,
                schedule="constant",
                cause_pairs=6400,
                patience=12,
            )
        ),
        Mdas(
            MixedPairsConfig(
                epochs=6,
                batch_size=128,
                learning_rate=0.3,
                schedule="constant",
                cause_pairs=6400,
                isolate_pairs_per_attribute=6400,
                patience=6,
            )
        ),
    ],
    ids=["das", "mdas"],
)
def test_the_true_plane_is_recovered_at_its_own_size(method: Method) -> None:
    # In this world all codewords lie well apart in both directions of their plane. Where they nearly lie on a
    # line, the line is all that answers need, and the rest of the plane is learnt late or never.
    world = PlantedWorld(14, n_entities=2000)
    assert min(float(torch.pdist(words).min()) for words in world.codewords) > 2
    instance = world.instance(n_pairs=6400, n_held_out=200).without_test()
    found = method.fit(Problem(instance, "A", SITE, 2, 0), world, SilentWorkspace())
    assert isinstance(found, Subspace)
    cosines = torch.linalg.svdvals(world.plane("A").T @ found.basis)
    assert float(cosines.min()) >= 0.999
    assert min(world.scores(found)) >= RIGHT


@pytest.mark.parametrize("target", ["A", "B"])
def test_either_attribute_can_be_the_target(target: str) -> None:
    world, instance = _world(0)
    found = MDAS.fit(Problem(instance, target, SITE, 4, 3), world, SilentWorkspace())
    assert min(world.scores(found, target)) >= RIGHT


def test_random_subspaces_bring_little_and_disturb_more_with_size() -> None:
    floors = {size: [_scores(RandomSubspace(), seed, size) for seed in SEEDS] for size in (2, 6)}
    means = {size: torch.tensor(scores).mean(dim=0).tolist() for size, scores in floors.items()}
    assert means[2][0] < 0.4
    assert means[6][0] < 0.5
    assert means[6][1] < means[2][1]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_whole_vector_brings_everything(seed: int) -> None:
    cause, isolate = _scores(FullVector(), seed, WIDTH)
    assert cause >= RIGHT
    assert isolate == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_brings_nothing(seed: int) -> None:
    cause, isolate = _scores(NoOp(), seed, 0)
    assert cause == pytest.approx(0.25, abs=0.03)
    assert isolate == 1.0


def test_all_dimensions_are_the_whole_vector() -> None:
    assert _scores(RandomSubspace(), 0, WIDTH) == _scores(FullVector(), 0, WIDTH)
