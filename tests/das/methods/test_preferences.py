"""Preferences between two answers: numbers worked out by hand, invariances, and that they can be learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from linear_world import LinearWorld
from planted_world import SITE, PlantedWorld
from torch import Tensor

from das.detectors.directions import Directions
from das.edits.base import Edit
from das.edits.found import edit_of, erasing_edit_of
from das.methods.common.base import Problem
from das.methods.common.edit_objectives import Bipo, Language, Objective, Reps, loss_by
from das.methods.common.edit_training import EditTrainingConfig, Lesson, steering_lessons
from das.methods.common.preferences import Both, bipo_margin, preference_loss, reps_margin
from das.methods.detection._trained_vectors import MovingVectors
from das.methods.registry import METHODS
from das.methods.steering.reps import MovingReps
from das.training.workspace import SilentWorkspace
from ravel.instance import Instance, concepts_of


def both(wanted: float, unwanted: float) -> Both:
    return Both(torch.tensor([wanted]), torch.tensor([unwanted]))


class TestByHand:
    plain = both(-8.0, -3.0)
    """The value's answer, then the model's own."""
    two = both(2.0, 2.0)
    there = torch.tensor([True])

    def test_reps(self) -> None:
        # beta is max(-3 - -8, 1) = 5: 5 / 2 * -4 + 6 / 2.
        steered = reps_margin(both(-4.0, -6.0), self.plain, self.two)
        assert float(steered) == pytest.approx(-7.0)
        # Nulled the model's own is preferred, and beta is 1: -3.5 / 2 + 7 / 2.
        nulled = both(-7.0, -3.5).turned(self.there)
        other = reps_margin(nulled, self.plain.turned(self.there), self.two)
        assert float(other) == pytest.approx(1.75)
        total = float(preference_loss(steered) + preference_loss(other))
        assert total == pytest.approx(7.161136, abs=1e-6)

    def test_beta_is_1_where_both_are_as_likely_and_no_gradient_flows_into_it(self) -> None:
        plain = Both(torch.tensor([-3.0], requires_grad=True), torch.tensor([-3.0], requires_grad=True))
        now = both(-2.0, -5.0)
        for one in (plain, plain.turned(self.there)):
            margin = reps_margin(now, one, self.two)
            assert float(margin) == pytest.approx(-1.0 + 2.5)
            assert not margin.requires_grad

    def test_doubled_answers_change_nothing_by_their_own_lengths(self) -> None:
        now, plain = both(-2.0, -5.0), both(-3.0, -3.0)

        def doubled(one: Both) -> Both:
            return Both(2 * one.wanted, 2 * one.unwanted)

        own = reps_margin(now, plain, self.two)
        torch.testing.assert_close(reps_margin(doubled(now), plain, doubled(self.two)), own)
        # With six tokens of a prompt counted in, they do.
        longer = both(8.0, 8.0), both(10.0, 10.0)
        apart = reps_margin(doubled(now), plain, longer[1]) - reps_margin(now, plain, longer[0])
        assert abs(float(apart)) > 0.1

    def test_bipo(self) -> None:
        # 0.1 ((-4 + 8) - (-6 + 3)) = 0.7.
        margin = bipo_margin(both(-4.0, -6.0), self.plain, beta=0.1)
        assert float(margin) == pytest.approx(0.7)
        assert float(preference_loss(margin)) == pytest.approx(math.log(1 + math.exp(-0.7)), abs=1e-6)
        assert float(bipo_margin(self.plain, self.plain, beta=3.0)) == 0.0


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return LinearWorld(3, n_entities=120)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=200, n_held_out=40).without_test()


def logs(world: PlantedWorld, lesson: Lesson, edit: Edit | None, strength: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the wanted answer and the other, straight from the world."""
    vector = world.collect([lesson.base], [SITE])[SITE]
    if edit is not None:
        vector = edit.edited(vector, lesson.place, strength)
    found = world.readout(vector, [lesson.base.attribute]).log_softmax(dim=1)[0]
    return found[lesson.wanted[0]], found[lesson.unwanted[0]]


class TestLosses:
    """What a batch's loss is, beside the formulas written out lesson by lesson."""

    def made(self, world: PlantedWorld, instance: Instance) -> tuple[list[Lesson], MovingReps, Sequence[str]]:
        told = concepts_of(instance, "A").values
        config = EditTrainingConfig(cause_pairs=12, isolate_pairs=6)
        problem = Problem(instance, "A", SITE, 0, seed=1)
        lessons = steering_lessons(problem, told, config, 1)
        vectors = torch.randn(16, len(told), generator=torch.Generator().manual_seed(2))
        moving = MovingReps("A", told, vectors)
        with torch.no_grad():
            moving.offset += 0.3
        return lessons, moving, told

    def test_lessons_are_of_both_kinds(self, world: PlantedWorld, instance: Instance) -> None:
        lessons, _, told = self.made(world, instance)
        assert [lesson.brings for lesson in lessons] == [True] * 12 + [False] * 6
        for lesson in lessons:
            entity = int(lesson.base.entity[1:])
            assert lesson.base.attribute == ("A" if lesson.brings else "B")
            own = (world.label_id(lesson.base.attribute, entity),)
            assert (lesson.unwanted if lesson.brings else lesson.wanted) == own
            if lesson.brings:
                assert lesson.wanted == (int(told[lesson.place]),) != own

    def test_reps(self, world: PlantedWorld, instance: Instance) -> None:
        lessons, moving, _ = self.made(world, instance)
        loss_of = loss_by(Reps(factors=(0.5,)), moving, lessons, engine=world, site=SITE, seed=0)
        found = float(loss_of(lessons[::-1]).detach())
        total = 0.0
        for lesson in lessons:
            p0 = logs(world, lesson, None, 0)
            up = logs(world, lesson, *moving.steering(0.5))
            down = logs(world, lesson, *moving.nulling(0.5))
            if lesson.brings:
                down, q0 = down[::-1], p0[::-1]
            else:
                q0 = p0
            for (won, lost), (won0, lost0) in ((up, p0), (down, q0)):
                margin = max(float(lost0 - won0), 1.0) * won - lost
                total += float(torch.nn.functional.softplus(-margin).detach())
        assert found == pytest.approx(total / len(lessons), rel=1e-5)

    def test_bipo(self, world: PlantedWorld, instance: Instance) -> None:
        lessons, moving, _ = self.made(world, instance)
        loss_of = loss_by(Bipo(beta=0.7), moving, lessons, engine=world, site=SITE, seed=0)
        wanted = []
        for sign in (1.0, -1.0):
            total = 0.0
            for lesson in lessons:
                p0, now = logs(world, lesson, None, 0), logs(world, lesson, moving.edit(), sign)
                gained = float(((now[0] - p0[0]) - (now[1] - p0[1])).detach())
                turned = lesson.brings and sign < 0
                total += math.log1p(math.exp(-0.7 * (-gained if turned else gained)))
            wanted.append(total / len(lessons))
        # Which of the two signs is drawn.
        found = [float(loss_of(lessons).detach()) for _ in range(8)]
        assert {min(wanted, key=lambda one: abs(one - loss)) for loss in found} == set(wanted)
        assert all(min(abs(one - loss) for one in wanted) < 1e-4 for loss in found)

    def test_gradients_reach_what_moves_and_the_edits_at_factor_0_are_two(
        self, world: PlantedWorld, instance: Instance
    ) -> None:
        lessons, moving, _ = self.made(world, instance)
        loss_by(Reps(), moving, lessons, engine=world, site=SITE, seed=0)(lessons).backward()  # type: ignore[no-untyped-call]
        assert moving.vectors.grad is not None
        assert moving.offset.grad is not None
        assert bool(moving.offset.grad.any())
        with torch.no_grad():
            moving.offset.zero_()
            nothing, nulled = moving.steering(0.0)[0], moving.nulling(0.0)[0]
        vectors = world.vectors[:20]
        torch.testing.assert_close(nothing.edited(vectors, 0, 1.0), vectors)
        assert not torch.equal(nulled.edited(vectors, 0, 1.0), vectors)


@pytest.mark.parametrize("objective", [Language(), Reps(), Bipo()], ids=["language", "reps", "bipo"])
def test_one_step_against_the_gradient_lowers_the_loss(
    objective: Objective, world: PlantedWorld, instance: Instance
) -> None:
    told = concepts_of(instance, "A").values
    problem = Problem(instance, "A", SITE, 0, seed=1)
    lessons = steering_lessons(problem, told, EditTrainingConfig(cause_pairs=20, isolate_pairs=10), 1)
    moving = MovingVectors("A", told, torch.zeros(16, len(told)) + 0.01)
    made = [loss_by(objective, moving, lessons, engine=world, site=SITE, seed=3) for _ in range(2)]
    before = made[0](lessons)
    before.backward()  # type: ignore[no-untyped-call]
    assert moving.vectors.grad is not None
    with torch.no_grad():
        moving.vectors -= 0.01 * moving.vectors.grad
    # The other draws alike, so that its first factor is the same.
    assert float(made[1](lessons).detach()) < float(before.detach())


@pytest.mark.parametrize(("name", "least"), [("reps", 0.6), ("bipo", 0.95)])
def test_what_is_learned_lies_in_the_plane_steers_and_is_undone(name: str, least: float) -> None:
    # Adam moves each number alike where slopes keep their sign: off the plane, unless axes span it.
    world = LinearWorld(3, n_entities=120, rotated=False)
    instance = world.instance(n_pairs=200, n_held_out=40).without_test()
    method = METHODS.get(name)
    settings = {"steps": 40, "batch_size": 16, "learning_rate": 0.05}
    config = method.config_class.from_mapping(settings, origin="here")
    found = method(config).fit(Problem(instance, "A", SITE, 0, seed=11), world, SilentWorkspace())
    assert isinstance(found, Directions)
    assert found.to_scale
    # What RePS nulls by is read from whole vectors, so that it learns a little of the rest as well; a random
    # vector has a third of its length in the plane.
    units = found.writers / found.writers.norm(dim=0)
    assert float((world.plane("A").mT @ units).norm(dim=0).min()) > least
    has = torch.zeros(2, len(found.values), dtype=torch.bool)
    shares = []
    for of, strength in ((edit_of, 3.0), (erasing_edit_of, 1.0)):
        edit = of(found, "A", found.values, world.vectors[:2], has)
        assert edit is not None
        hits = []
        for place, value in enumerate(found.values):
            edited = edit.edited(world.vectors, place, strength)
            said = world.readout(edited, ["A"] * len(edited)).argmax(dim=1)
            hits.append(float((said == int(value)).double().mean()))
        shares.append(sum(hits) / len(hits))
    own = world.readout(world.vectors, ["A"] * len(world.vectors)).argmax(dim=1)
    before = sum(float((own == int(value)).double().mean()) for value in found.values) / len(found.values)
    assert shares[0] > before + 0.15
    assert shares[1] < before
