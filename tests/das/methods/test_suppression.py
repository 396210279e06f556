"""Edits that are trained to take a value away: what they are taught, where they begin, and what they do."""

from __future__ import annotations

import math

import pytest
import torch
from planted_world import SITE, PlantedWorld
from torch import Tensor

from das.detectors.directions import Directions
from das.edits.base import Edit
from das.edits.found import erasing_edit_of
from das.finding import Finding
from das.methods.common.base import Problem
from das.methods.common.concepts import concept_vectors, has_tensor
from das.methods.common.edit_objectives import loss_by
from das.methods.registry import METHODS
from das.methods.steering._suppression import SuppressionConfig, suppression_lessons
from das.methods.steering.reps_suppress import MovingNull
from das.training.workspace import SilentWorkspace
from ravel.instance import Instance, concepts_of, entity_values

ROWS = ("reps_suppress", "loreft_suppress")


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(3, n_entities=120)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=200, n_held_out=40).without_test()


def known_of(world: PlantedWorld, instance: Instance) -> tuple[tuple[str, ...], Tensor, Tensor]:
    told = concepts_of(instance, "A").values
    known = concept_vectors(instance, "A", SITE, world)
    return told, known.vectors, has_tensor(known, told)


def found(name: str, world: PlantedWorld, instance: Instance, **settings: object) -> Finding:
    method = METHODS.get(name)
    config = method.config_class.from_mapping(settings, origin="here")
    return method(config).fit(Problem(instance, "A", SITE, 0, seed=11), world, SilentWorkspace())


def erasing(finding: Finding, world: PlantedWorld, instance: Instance) -> Edit:
    told, known, has = known_of(world, instance)
    edit = erasing_edit_of(finding, "A", told, known, has)
    assert edit is not None
    return edit


def shares(edit: Edit, world: PlantedWorld) -> tuple[float, float, float]:
    """Forget, keep and isolate over all entities and values, at strength 1."""
    own = [world.readout(world.vectors, [a] * len(world.vectors)).argmax(dim=1) for a in "AB"]
    sums = torch.zeros(3)
    for place, value in enumerate(edit.values):
        edited = edit.edited(world.vectors, place, 1.0)
        said = [world.readout(edited, [a] * len(edited)).argmax(dim=1) for a in "AB"]
        has = own[0] == int(value)
        stays = [(one == other).float() for one, other in zip(said, own, strict=True)]
        sums += torch.stack([1 - stays[0][has].mean(), stays[0][~has].mean(), stays[1][has].mean()])
    forget, keep, isolate = (sums / len(edit.values)).tolist()
    return forget, keep, isolate


def test_lessons_are_of_three_kinds(world: PlantedWorld, instance: Instance) -> None:
    told = concepts_of(instance, "A").values
    config = SuppressionConfig(cause_pairs=12, keep_pairs=8, isolate_pairs=6)
    known = entity_values(instance, "A", ("train",))
    lessons = suppression_lessons(Problem(instance, "A", SITE, 0, seed=1), told, config, 1)
    assert [lesson.brings for lesson in lessons] == [True] * 12 + [False] * 14
    for number, lesson in enumerate(lessons):
        value = told[lesson.place]
        own = (world.label_id(lesson.base.attribute, int(lesson.base.entity[1:])),)
        assert lesson.base.attribute == ("A" if number < 20 else "B")
        assert (known.get(lesson.base.entity) == value) == (number < 12 or number >= 20)
        assert (lesson.unwanted if lesson.brings else lesson.wanted) == own
        if 12 <= number < 20:
            assert lesson.unwanted == (int(value),)


def test_the_loss_is_that_of_the_formula(world: PlantedWorld, instance: Instance) -> None:
    told, known, has = known_of(world, instance)
    config = SuppressionConfig(cause_pairs=5, keep_pairs=5, isolate_pairs=5)
    lessons = suppression_lessons(Problem(instance, "A", SITE, 0, seed=1), told, config, 1)
    moving = MovingNull("A", told, known, has)
    loss_of = loss_by(config.suppression(), moving, lessons, engine=world, site=SITE, seed=0)
    edit, strength = moving.nulling(1.0)
    total = 0.0
    for lesson in lessons:
        vector = world.collect([lesson.base], [SITE])[SITE]
        nulled = world.readout(edit.edited(vector, lesson.place, strength), [lesson.base.attribute])
        logs = nulled.log_softmax(dim=1)[0].detach()
        won, lost = float(logs[lesson.wanted[0]]), float(logs[lesson.unwanted[0]])
        total += math.log1p(math.exp(lost - won)) if lesson.brings else -won
    assert float(loss_of(lessons).detach()) == pytest.approx(total / len(lessons), rel=1e-5)


def test_training_begins_at_the_null_of_the_difference_of_means(
    world: PlantedWorld, instance: Instance
) -> None:
    begun = erasing(found("reps_suppress", world, instance, steps=1, learning_rate=1e-9), world, instance)
    plain = erasing(found("diff_mean", world, instance), world, instance)
    for place in range(len(begun.values)):
        edited = [edit.edited(world.vectors, place, 1.0) for edit in (begun, plain)]
        torch.testing.assert_close(*edited, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ROWS)
def test_what_is_trained_forgets_the_value_and_keeps_the_rest(
    name: str, world: PlantedWorld, instance: Instance
) -> None:
    finding = found(name, world, instance, steps=60, learning_rate=0.05)
    before = found(name, world, instance, steps=1, learning_rate=1e-9)
    after, start = (shares(erasing(one, world, instance), world) for one in (finding, before))
    assert after[0] > 0.85
    assert min(after[1:]) > 0.75
    assert sum(after) > sum(start)


def test_what_is_nulled_can_be_nulled_twice(world: PlantedWorld, instance: Instance) -> None:
    finding = found("reps_suppress", world, instance, steps=5)
    assert isinstance(finding, Directions)
    edit = erasing(finding, world, instance)
    for place in range(len(edit.values)):
        once = edit.edited(world.vectors, place, 1.0)
        torch.testing.assert_close(edit.edited(once, place, 1.0), once, atol=1e-4, rtol=1e-4)
        levels = finding.of_vectors(once)[:, place]
        torch.testing.assert_close(levels, finding.of_vectors(world.vectors)[:, place].clamp(max=0))
