"""MDAS with ReSet: what candidates are, what is kept of them, and that training goes on with just that."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from planted_world import SITE, PlantedWorld

from das.featurizers.subspace import Subspace
from das.methods.common.base import Problem
from das.methods.common.candidates import (
    CandidateConfig,
    Example,
    Interpolated,
    Intervention,
    OtherQuestion,
    Said,
    drawn_examples,
    drawn_interventions,
    judged,
    kept_pairs,
)
from das.methods.trained.mdas_reset import MdasReset, MdasResetConfig
from das.training.workspace import SilentWorkspace
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT

SHORT: dict[str, Any] = {"epochs": 4, "learning_rate": 0.03, "cause_pairs": 300, "reset_pairs": 40}


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0, n_entities=120)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=300, n_held_out=60).without_test()


class _Logging(SilentWorkspace):
    def __init__(self) -> None:
        self.rows: list[dict[str, float | int | str]] = []

    def log(self, row: dict[str, float | int | str]) -> None:
        self.rows.append(row)


def test_an_interpolation_goes_its_factor_of_the_way() -> None:
    base, source = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[5.0, 6.0, 7.0]])
    moved = Interpolated(torch.eye(3)[:, :2], Intervention((1,), 1.5)).interchange(base, source)
    assert moved.tolist() == [[1.0, 8.0, 3.0]]
    whole = Intervention((0, 1), 1.0)
    swapped = Interpolated(torch.eye(3)[:, :2], whole).interchange(base, source)
    assert torch.equal(swapped, Subspace(torch.eye(3)[:, :2]).interchange(base, source))
    assert torch.equal(Interpolated(torch.eye(3), whole).interchange(base, base), base)


def test_the_first_candidate_is_the_plain_interchange() -> None:
    config = CandidateConfig(candidates=30)
    drawn = drawn_interventions(8, config, random.Random(0))
    assert drawn[0] == Intervention(tuple(range(8)), 1.0)
    assert {len(one.columns) for one in drawn} == {4, 6, 8}
    assert {one.factor for one in drawn} == {0.5, 1.0, 1.5, 2.0}
    assert drawn_interventions(1, config, random.Random(0))[5].columns == (0,)


def test_sources_have_the_pair_s_value_and_all_prompts_are_of_training_pairs(
    world: PlantedWorld, instance: Instance
) -> None:
    problem = Problem(instance, "A", SITE, 2, 0)
    config = CandidateConfig(reset_pairs=50, candidates=5)
    examples = drawn_examples(problem, config, seed=3, label_tokens=3)
    known = {
        instance.prompt(prompt_id).prompt
        for pair in instance.pairs(TRAIN_SPLIT)
        for prompt_id in (pair.base, pair.source, pair.swapped)
    }
    assert len(examples) > 20
    for example in examples:
        values = {world.label_id("A", int(source.entity[1:])) for source in example.sources}
        assert values == {example.swapped[0]}
        assert {other.prompt.attribute for other in example.others} == {"B"}
        assert {other.prompt.entity for other in example.others} == {example.base.entity}
        assert known >= {example.base, *example.sources, *(other.prompt for other in example.others)}
    assert any(len(set(example.sources)) > 2 for example in examples)
    assert examples == drawn_examples(problem, config, seed=3, label_tokens=3)


def test_a_score_by_hand_and_what_is_trained_on() -> None:
    config = CandidateConfig()
    best, leaky, nothing = (
        Said(True, False, (True, False)),
        Said(True, False, (False, False)),
        Said(False, True, (True, True)),
    )
    assert [one.score(config) for one in (best, leaky, nothing)] == [2.0, 1.5, 1.5]
    assert Said(False, False, (True,)).score(config) == 1.0
    world = PlantedWorld(1, n_entities=6)
    base, own, third = (world.prompt("A", i) for i in range(3))
    others = tuple(OtherQuestion(world.prompt("B", 0, wording), (7,)) for wording in ("the", "its"))
    example = Example(base, (1,), (2,), others, (own, third, own))
    kept, pairs = kept_pairs([example] * 2, [[leaky, best, best], [nothing, leaky, leaky]], config, "A")
    assert [(one.example, one.candidate) for one in kept] == [(0, 1)]
    assert [(pair.kind, pair.attribute, pair.forced.source) for pair in pairs] == [
        ("cause", "A", third),
        ("isolate", "B", third),
    ]
    assert [pair.forced.label_ids for pair in pairs] == [(2,), (7,)]
    cause_only = CandidateConfig(isolate_score=0.0, fluency_score=0.0, threshold=1.0)
    kept, _ = kept_pairs([example], [[nothing, leaky, best]], cause_only, "A")
    assert [one.candidate for one in kept] == [1]


def test_what_is_said_under_the_true_plane(world: PlantedWorld, instance: Instance) -> None:
    problem = Problem(instance, "A", SITE, 2, 0)
    config = CandidateConfig(reset_pairs=20, candidates=2)
    examples = drawn_examples(problem, config, seed=0, label_tokens=3)
    around = [Intervention((0, 1), 1.0), Intervention((0, 1), 0.001)]
    said = judged(examples, world.plane("A"), around, world, SITE, config, seed=0)
    assert all(one[0] == Said(True, False, (True,)) for one in said)
    assert all(one[1] == Said(False, True, (True,)) for one in said)
    drawn = CandidateConfig(reset_pairs=20, candidates=2, sampled=True)
    chances = judged(examples, world.plane("A"), around, world, SITE, drawn, seed=0)
    assert sum(one[0].swapped for one in chances) > 10
    assert all(not (one.swapped and one.unchanged) for of_example in chances for one in of_example)


def test_training_goes_on_with_what_was_kept(world: PlantedWorld, instance: Instance) -> None:
    workspace = _Logging()
    method = MdasReset(MdasResetConfig(**SHORT))
    found = method.fit(Problem(instance, "A", SITE, 2, 0), world, workspace)
    (row,) = [row for row in workspace.rows if row["phase"] == "reset"]
    assert 0 < int(row["kept"]) <= int(row["examples"]) <= 40
    assert float(row["score_kept"]) >= float(row["score_plain"])
    assert int(row["judged"]) == int(row["examples"]) * 8 * 3
    phases = [row["phase"] for row in workspace.rows]
    assert "second train" in phases[phases.index("reset") :]
    assert min(world.scores(found)) >= 0.9
    untouched = _Logging()
    high = MdasReset(MdasResetConfig(**SHORT, threshold=99.0))
    plain = high.fit(Problem(instance, "A", SITE, 2, 0), world, untouched)
    assert isinstance(plain, Subspace)
    assert not any(str(row["phase"]).startswith("second") for row in untouched.rows)
    assert isinstance(found, Subspace)
    assert not torch.equal(plain.basis, found.basis)
