"""Methods that find detectors: closed forms, laws of training, and what they find in a planted world."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_world import ConceptWorld, LinearWorld
from planted_world import SITE, WIDTH, PlantedWorld
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from torch import Tensor

from das.detectors.base import Detector
from das.detectors.directions import Directions
from das.edits.forms import Addition, Null
from das.edits.found import edit_of, erasing_edit_of
from das.methods.common.base import Method, NotApplicableError, Problem
from das.methods.detection import reft_r1
from das.methods.detection.concept_pca import first_component
from das.methods.detection.lat import unit_differences
from das.methods.detection.reft_r1 import Echo
from das.methods.detection.sae_latent import best_columns
from das.methods.detection.unit_probe import UnitProbeConfig, step_on_sphere, train_unit_directions
from das.methods.registry import METHODS
from das.training.workspace import SilentWorkspace
from ravel.instance import Instance, concepts_of, entity_values

FINDERS = [method for method in METHODS if method.finds == "detector"]
NAMES = {method.name for method in FINDERS}


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(3, n_entities=160)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=200, n_held_out=40).without_test()


QUICK: dict[str, dict[str, object]] = {
    "ssv": {"steps": 60, "learning_rate": 0.05, "batch_size": 16},
    "reft_r1": {"steps": 10},
    "bipo": {"steps": 5},
    "reps": {"steps": 5},
    "reps_suppress": {"steps": 5},
    "integrated_gradients": {"steps": 1},
}
"""Settings for what holds however long a fit goes on; with them ssv has learned as well."""


def found(method: type[Method], world: PlantedWorld, instance: Instance, attribute: str = "A") -> Detector:
    problem = Problem(instance, attribute, SITE, 0, seed=11)
    config = method.config_class.from_mapping(QUICK.get(method.name, {}), origin="here")
    detector = method(config).fit(problem, world, SilentWorkspace())
    assert isinstance(detector, Detector)
    return detector


def held_out_area(detector: Detector, world: PlantedWorld) -> float:
    """The mean area over values, on all entities of the world."""
    prompts = [world.prompt(detector.attribute, number) for number in range(len(world.values))]
    scores = detector.scores(prompts, world, SITE)
    truth = np.array([str(world.label_id(detector.attribute, n)) for n in range(len(prompts))])
    areas = [roc_auc_score(truth == v, scores[:, i]) for i, v in enumerate(detector.values)]
    return float(np.mean(areas))


def test_every_row_is_here() -> None:
    assert {
        *("bow", "concept_pca", "diff_mean", "input_x_gradient", "integrated_gradients", "lat", "probe"),
        *("prompt", "random_direction", "reft_r1", "sae_latent", "ssv", "unit_probe", "bipo", "reps"),
        "reps_suppress",
    } == NAMES


@pytest.mark.parametrize("method", FINDERS, ids=lambda method: method.name)
class TestEvery:
    def test_it_tells_the_concepts_of_its_target(
        self, method: type[Method], world: PlantedWorld, instance: Instance
    ) -> None:
        detector = found(method, world, instance)
        assert (detector.attribute, detector.values) == ("A", concepts_of(instance, "A").values)
        other = found(method, world, instance, "B")
        assert (other.attribute, other.values) == ("B", concepts_of(instance, "B").values)
        assert all(not value.requires_grad for value in detector.state_dict().values())

    def test_equal_problems_give_equal_bits(
        self, method: type[Method], world: PlantedWorld, instance: Instance
    ) -> None:
        first = found(method, world, instance)
        torch.manual_seed(99)
        second = found(method, world, instance)
        assert first.settings() == second.settings()
        for name, tensor in first.state_dict().items():
            assert torch.equal(tensor, second.state_dict()[name])

    def test_too_few_entities_are_a_refusal(self, method: type[Method]) -> None:
        few = PlantedWorld(3, n_entities=20)
        with pytest.raises(NotApplicableError, match="training entities have"):
            found(method, few, few.instance(n_pairs=40, n_held_out=10).without_test())

    def test_it_does_as_well_as_it_can(
        self, method: type[Method], world: PlantedWorld, instance: Instance
    ) -> None:
        area = held_out_area(found(method, world, instance), world)
        if method.name in ("probe", "prompt", "diff_mean", "ssv", "unit_probe"):
            assert area > (0.9 if method.name in ("probe", "prompt") else 0.8)
        elif method.name in ("input_x_gradient", "integrated_gradients"):
            assert area > 0.7
        elif method.name == "bow":
            assert area == 0.5
        elif method.name == "random_direction":
            assert 0.2 < area < 0.8


def test_first_components_are_sklearn_s_up_to_sign() -> None:
    vectors = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1))
    ours, theirs = first_component(vectors), PCA(1).fit(vectors.numpy()).components_[0]
    assert abs(float(ours @ torch.from_numpy(theirs))) == pytest.approx(1, abs=1e-5)


def test_differences_have_length_1_and_no_scale() -> None:
    vectors = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(1))
    found = [unit_differences(scale * vectors, 50, torch.Generator().manual_seed(2)) for scale in (1, 7)]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0].norm(dim=1), torch.ones(50))
    assert len(unit_differences(vectors[:1].repeat(3, 1), 5, torch.Generator())) == 1


def gaussians(covariance: Tensor, apart: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Vectors of two Gaussians, and which are of the second."""
    stream = torch.Generator().manual_seed(4)
    root = torch.linalg.cholesky(covariance)
    vectors = torch.randn(2 * n, len(covariance), generator=stream) @ root.T
    has = torch.arange(2 * n)[:, None] < n
    return vectors + has * apart, has


def area(direction: Tensor, vectors: Tensor, has: Tensor) -> float:
    return float(roc_auc_score(has[:, 0].numpy(), (vectors @ direction).numpy()))


def test_a_probe_nears_the_best_direction_where_means_do_not() -> None:
    covariance = torch.eye(6) + 0.9 * (torch.ones(6, 6) - torch.eye(6))
    apart = torch.tensor([1.0, -1.0, 0, 0, 0, 0]) + 1.0
    vectors, has = gaussians(covariance, apart, 3000)
    problem = Problem.__new__(Problem)
    probe = METHODS.get("probe")().readers(vectors, has, problem)[:, 0]  # type: ignore[attr-defined]
    means = METHODS.get("diff_mean")().readers(vectors, has, problem)[:, 0]  # type: ignore[attr-defined]
    best = torch.linalg.solve(covariance, apart)
    assert float(torch.cosine_similarity(probe, best, dim=0)) > 0.98
    assert area(probe, vectors, has) > area(means, vectors, has) + 0.02


def test_steps_on_the_sphere_keep_lengths_and_cross_no_radius() -> None:
    directions = torch.nn.Parameter(torch.nn.functional.normalize(torch.randn(8, 3), dim=0))
    optimiser = torch.optim.SGD([directions], lr=0.1)
    before = directions.detach().clone()
    directions.grad = torch.randn(8, 3) + 5 * before
    step_on_sphere(directions, optimiser)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(3))
    assert directions.grad is not None
    assert float((directions.grad * before).sum(dim=0).abs().max()) < 1e-5


def test_a_trained_unit_direction_has_length_1() -> None:
    vectors, has = gaussians(torch.eye(6), torch.tensor([2.0, 0, 0, 0, 0, 0]), 200)
    trained = train_unit_directions(vectors, has, UnitProbeConfig(), 0)
    torch.testing.assert_close(trained.norm(dim=0), torch.ones(1))
    assert float(trained[0, 0]) > 0.9


def test_the_best_latent_has_the_largest_area() -> None:
    stream = np.random.default_rng(0)
    features = torch.from_numpy(stream.integers(0, 3, (40, 9)).astype(np.float32))
    has = torch.from_numpy(stream.integers(0, 2, (40, 2)).astype(bool))
    for place, column in enumerate(best_columns(features, has).tolist()):
        areas = [roc_auc_score(has[:, place], features[:, j]) for j in range(9)]
        assert areas[column] == pytest.approx(max(areas))


def test_names_are_known_by_heart_where_they_count(world: PlantedWorld, instance: Instance) -> None:
    method = METHODS.get("bow")
    problem = Problem(instance, "A", SITE, 0, seed=11)
    detector = method(method.config_class(names=True)).fit(problem, world, SilentWorkspace())  # type: ignore[call-arg]
    assert isinstance(detector, Detector)
    records = [r for r in instance.prompts("train") if r.prompt.attribute == "A"]
    scores = detector.scores([r.prompt for r in records], world, SITE)
    for place, value in enumerate(detector.values):
        assert roc_auc_score([r.label.strip() == value for r in records], scores[:, place]) > 0.99


def test_a_latent_is_read_through_its_own_relu(world: PlantedWorld, instance: Instance) -> None:
    detector = found(METHODS.get("sae_latent"), world, instance)
    assert isinstance(detector, Directions)
    assert detector.rectified


@pytest.mark.parametrize(("name", "least"), [("ssv", 0.95), ("reft_r1", 0.5)])
def test_what_is_trained_lies_in_the_plane_of_its_attribute(name: str, least: float) -> None:
    # Adam moves each number alike where slopes keep their sign: off the plane, unless axes span it.
    world = LinearWorld(3, n_entities=160, rotated=False)
    instance = world.instance(n_pairs=200, n_held_out=40).without_test()
    method = METHODS.get(name)
    settings = {"steps": 40, "learning_rate": 0.1, "batch_size": 16}
    problem = Problem(instance, "B", SITE, 0, seed=11)
    config = method.config_class.from_mapping(settings, origin="here")
    detector = method(config).fit(problem, world, SilentWorkspace())
    assert isinstance(detector, Directions)
    # What is read as well learns a little of the rest; a random vector has a third of its length there.
    readers = detector.readers / detector.readers.norm(dim=0)
    assert float((world.plane("B").mT @ readers).norm(dim=0).mean()) > least


def test_a_trained_vector_is_added_as_it_is_and_nulled_down_to_its_own_score_0(
    world: PlantedWorld, instance: Instance
) -> None:
    detector = found(METHODS.get("ssv"), world, instance)
    assert isinstance(detector, Directions)
    assert detector.to_scale
    has = torch.arange(30)[:, None] % len(detector.values) == torch.arange(len(detector.values))
    known = torch.randn(30, WIDTH, generator=torch.Generator().manual_seed(3))
    edits = [of(detector, "A", detector.values, known, has) for of in (edit_of, erasing_edit_of)]
    added, nulled = edits
    assert isinstance(added, Addition)
    assert torch.equal(added.vectors, detector.readers)
    assert isinstance(nulled, Null)
    for place in range(len(detector.values)):
        left = detector.of_vectors(nulled.edited(known, place, 1.0))[:, place]
        torch.testing.assert_close(left, detector.of_vectors(known)[:, place].clamp(max=0))


def test_reft_r1_writes_the_larger_of_two_activations() -> None:
    echo = Echo(torch.tensor([0.6, 0.8]), torch.zeros(2))
    base = torch.tensor([[3.0, 4.0], [4.0, -3.0], [-3.0, -4.0]])
    source = torch.tensor([[0.0, 1.0], [3.0, 4.0], [-1.0, 0.0]])
    # Activations of the base 5, 0 and 0, of the source .8, 5 and 0.
    wanted = torch.tensor([[6.0, 8.0], [7.0, 1.0], [-3.0, -4.0]])
    torch.testing.assert_close(echo.interchange(base, source), wanted)
    torch.testing.assert_close(echo.unwritten(2), torch.tensor([0.8, 0.0]))
    # What all vectors share is neither read nor written.
    shared = torch.tensor([7.0, -2.0])
    moved = Echo(echo.direction, shared).interchange(base + shared, source + shared)
    torch.testing.assert_close(moved, wanted + shared)


@pytest.mark.parametrize("shared", [0.0, 4.0])
def test_reft_r1_finds_a_planted_concept_whatever_all_vectors_share(shared: float) -> None:
    world = ConceptWorld(3, n_entities=120, shared=shared)
    instance = world.instance(n_pairs=200, n_held_out=40).without_test()
    method = METHODS.get("reft_r1")
    config = method.config_class.from_mapping({"steps": 100, "learning_rate": 0.05}, origin="here")
    detector = method(config).fit(Problem(instance, "A", SITE, 0, seed=11), world, SilentWorkspace())
    assert isinstance(detector, Directions)
    # Values exclude each other: what tells one is its direction less the mean of all.
    planted = world.concepts("A")[:, [int(value) for value in detector.values]]
    apart = planted - world.concepts("A").mean(dim=1, keepdim=True)
    assert float((apart / apart.norm(dim=0) * detector.readers).sum(dim=0).min()) > 0.95
    assert held_out_area(detector, world) > 0.99


def test_reft_r1_s_penalty_is_0_at_first_and_rises_in_a_line(world: PlantedWorld, instance: Instance) -> None:
    problem = Problem(instance, "A", SITE, 0, seed=11)
    told = concepts_of(instance, "A").values
    lessons = reft_r1.lessons_of(problem, told, 4, 0)
    columns = torch.randn(WIDTH, len(told), generator=torch.Generator().manual_seed(5))
    moving = reft_r1.MovingDirections(columns / columns.norm(dim=0), torch.zeros(WIDTH))
    losses = [
        reft_r1.ReftR1Loss(moving, world, SITE, reft_r1.ReftR1Config(sparsity=weight, steps=4))
        for weight in (0.0, 3.0)
    ]
    plain, penalised = ([float(loss(lessons).detach()) for _ in range(4)] for loss in losses)
    apart = [two - one for one, two in zip(plain, penalised, strict=True)]
    assert apart[0] == 0.0
    assert apart[1] > 0
    assert apart[2] == pytest.approx(2 * apart[1], rel=1e-4)
    assert apart[3] == pytest.approx(3 * apart[1], rel=1e-4)


def test_reft_r1_learns_from_sources_with_the_value_and_pairs_without(instance: Instance) -> None:
    told = concepts_of(instance, "A").values
    known = entity_values(instance, "A", ("train",))
    lessons = reft_r1.lessons_of(Problem(instance, "A", SITE, 0, seed=11), told, 6, 0)
    assert len(lessons) == 12 * len(told)
    for lesson in lessons:
        value = told[lesson.place]
        assert lesson.pair.base.attribute == "A"
        assert known.get(lesson.pair.base.entity) != value
        brings = known.get(lesson.pair.source.entity) == value
        assert (lesson.pair.label_ids == (int(value),)) == brings


def test_reft_r1_has_directions_of_length_1(world: PlantedWorld, instance: Instance) -> None:
    detector = found(METHODS.get("reft_r1"), world, instance)
    assert isinstance(detector, Directions)
    assert detector.rectified
    torch.testing.assert_close(detector.readers.norm(dim=0), torch.ones(len(detector.values)))
