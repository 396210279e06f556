"""Probes, erasure games and rankings of neurons: laws, hand-made numbers, worlds with a known answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from keeping_workspace import KeepingWorkspace
from planted_world import SITE, WIDTH, PlantedWorld
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import f_classif, mutual_info_classif
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from das.methods.closed_form._directions import ClassifierConfig
from das.methods.closed_form._fantope import clipped_spectrum, fantope_projection
from das.methods.closed_form.inlp import Inlp, InlpConfig, removal
from das.methods.closed_form.linear_probe import LinearProbe, probe_directions
from das.methods.closed_form.rlap import Candidate, Judge, Rlap, RlapConfig
from das.methods.common.base import Method, NotApplicableError, Problem
from das.methods.common.coordinates import units_of
from das.methods.common.labelled import LabelledVectors
from das.methods.common.probe import correct, cross_entropy, fit_l1, fit_l2, majority, row_space
from das.methods.neurons._ranking import ranking
from das.methods.neurons.neurons_anova import NeuronsAnova, f_statistics
from das.methods.neurons.neurons_mutual_info import NeuronsMutualInfo, mutual_information, neuron_information
from das.methods.neurons.neurons_probe import NeuronsProbe, NeuronsProbeConfig, probe_order
from ravel.common.errors import SuiteError
from ravel.instance import Instance

METHODS = (LinearProbe, Inlp, Rlap, NeuronsProbe, NeuronsAnova, NeuronsMutualInfo)
NEURONS = (
    NeuronsProbe(),
    NeuronsProbe(NeuronsProbeConfig(penalty="l2")),
    NeuronsAnova(),
    NeuronsMutualInfo(),
)
RIGHT = 0.97


def labelled(vectors: Tensor, labels: list[int] | np.ndarray) -> LabelledVectors:
    found = np.asarray(labels, dtype=np.int64)
    classes = tuple(f"c{i}" for i in range(int(found.max()) + 1)) if len(found) else ()
    return LabelledVectors(vectors.float(), found, classes, tuple(f"e{i}" for i in range(len(found))))


def blobs(n: int, width: int, n_classes: int, *, spread: float = 1.0, seed: int = 0) -> LabelledVectors:
    """Gaussian classes whose means lie in the first `n_classes - 1` neurons."""
    stream = torch.Generator().manual_seed(seed)
    means = torch.zeros(n_classes, width)
    means[:, : n_classes - 1] = 3 * torch.randn(n_classes, n_classes - 1, generator=stream)
    labels = torch.randint(n_classes, (n,), generator=stream)
    return labelled(means[labels] + spread * torch.randn(n, width, generator=stream), labels.numpy())


@cache
def world_of(seed: int, rotated: bool) -> tuple[PlantedWorld, Instance]:
    world = PlantedWorld(seed, rotated=rotated)
    return world, world.instance(n_pairs=1200, n_held_out=200).without_test()


def fitted(
    method: Method, seed: int, size: int, *, rotated: bool, notes: KeepingWorkspace | None = None
) -> Featurizer:
    world, instance = world_of(seed, rotated)
    return method.fit(Problem(instance, "A", SITE, size, seed), world, notes or KeepingWorkspace())


def scores(method: Method, seed: int, size: int, *, rotated: bool) -> tuple[float, float]:
    return world_of(seed, rotated)[0].scores(fitted(method, seed, size, rotated=rotated))


# --- classifiers


def test_units_have_mean_zero_and_deviation_one_and_constants_vanish() -> None:
    vectors = torch.tensor([[1e4, 0.0, 3.0], [3e4, 4.0, 3.0]])
    found = units_of(vectors).of(vectors)
    torch.testing.assert_close(found, torch.tensor([[-1, -1, 0], [1, 1, 0]], dtype=torch.float64))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_an_l2_fit_is_at_the_bottom_of_its_objective(n_classes: int) -> None:
    data, c = blobs(400, 6, n_classes, spread=3.0), 0.5
    inputs = units_of(data.vectors).of(data.vectors)
    probe = fit_l2(inputs, data.labels, n_classes, c=c, iterations=500)
    assert probe.converged
    errors = probe.logits(inputs).softmax(dim=1) - torch.eye(n_classes)[torch.from_numpy(data.labels)]
    # Two classes share one vector of weights in scikit-learn, whose penalty is that of twice the square here.
    penalty = probe.weights * (2 if n_classes == 2 else 1)
    slope = (errors.mT @ inputs + penalty / c) / len(inputs)
    assert float(slope.abs().max()) < 1e-3


def test_an_l1_fit_satisfies_the_conditions_of_its_optimum() -> None:
    data, c = blobs(500, 10, 3, spread=2.0), 0.02
    inputs = units_of(data.vectors).of(data.vectors)
    probe = fit_l1(inputs, data.labels, 3, c=c, iterations=2000)
    assert probe.converged
    errors = probe.logits(inputs).softmax(dim=1) - torch.eye(3)[torch.from_numpy(data.labels)]
    slope, used = errors.mT @ inputs, probe.weights != 0
    # Where a weight is not zero its slope balances the penalty; elsewhere it does not reach it.
    torch.testing.assert_close(
        slope[used], -probe.weights[used].sign() / c, rtol=0, atol=0.01 / c, check_dtype=False
    )
    assert float(slope[~used].abs().max()) <= 1.01 / c
    assert 0 < int(used.any(dim=0).sum()) < 10
    assert float(errors.sum(dim=0).abs().max()) < 0.1


def test_classes_without_an_example_are_never_answered() -> None:
    data = blobs(60, 4, 2)
    probe = fit_l2(data.vectors.double(), data.labels * 2, 4, c=1.0, iterations=200)
    assert set(probe.logits(data.vectors).argmax(dim=1).tolist()) <= {0, 2}
    alone = fit_l2(data.vectors.double(), np.full(60, 1), 3, c=1.0, iterations=200)
    assert row_space(alone.weights).shape == (4, 0)
    assert correct(alone, data.vectors, np.full(60, 1)) == 60


def test_a_row_space_ignores_what_all_rows_share() -> None:
    rows = torch.tensor([[1.0, 0, 0, 5], [-1, 0, 0, 5], [0, 0.5, 0, 5], [0, -0.5, 0, 5]], dtype=torch.float64)
    found = row_space(rows)
    # By singular value: the first neuron's direction, then the second's.
    torch.testing.assert_close(found, torch.eye(4, dtype=torch.float64)[:, :2])
    torch.testing.assert_close(row_space(rows + torch.randn(4).double()), found)


def test_cross_entropy_and_majority_by_hand() -> None:
    probe = fit_l2(torch.zeros(4, 1).double(), np.array([0, 0, 0, 1]), 2, c=1.0, iterations=50)
    # Nothing to see: the shares 3/4 and 1/4 are all it can say.
    expected = -(0.5 * np.log(0.75) + 0.5 * np.log(0.25))
    found = cross_entropy(probe, torch.zeros(2, 1), np.array([0, 1]))
    assert found == pytest.approx(expected, abs=1e-3)
    assert majority(np.array([2, 2, 1]), np.array([2, 1, 1, 1])) == 1


@pytest.mark.parametrize("fit", [fit_l1, fit_l2])
def test_too_few_iterations_are_told_and_not_warned_of(fit: Callable[..., object]) -> None:
    data = blobs(200, 8, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = fit(data.vectors.double(), data.labels, 4, c=1.0, iterations=1)
    assert probe.converged is False  # type: ignore[attr-defined]
    assert issubclass(ConvergenceWarning, UserWarning)


# --- linear_probe


def test_a_probe_s_directions_do_not_depend_on_the_units_of_neurons() -> None:
    data = blobs(600, 6, 3)
    scale = torch.tensor([1.0, 10, 0.1, 5, 1e3, 2])
    plain, scaled = (
        probe_directions(labelled(v, data.labels), data, c=0.1, iterations=500)["basis"].double()
        for v in (data.vectors, data.vectors * scale)
    )
    # Weights go against the units: the row space in the new ones is the old one over the scale.
    expected = torch.linalg.qr(plain / scale[:, None]).Q
    cosines = torch.linalg.svdvals(expected.mT @ scaled)
    assert float(cosines.min()) > 1 - 1e-4


def test_a_probe_has_at_most_one_direction_less_than_classes() -> None:
    notes = KeepingWorkspace()
    assert fitted(LinearProbe(), 0, 9, rotated=True, notes=notes).size == 3
    row = notes.rows[-1]
    assert row["train_accuracy"] == row["validation_accuracy"] == 1.0
    assert 0.2 < float(row["train_majority"]) < 0.35
    assert row["converged"] == 1


@pytest.mark.parametrize("method", [LinearProbe(), Inlp()], ids=["linear_probe", "inlp"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_a_probe_reads_holds_the_plane(method: Method, seed: int) -> None:
    notes, world = KeepingWorkspace(), world_of(seed, True)[0]
    assert min(world.scores(fitted(method, seed, 2, rotated=True, notes=notes))) >= RIGHT
    found = fitted(method, seed, 3, rotated=True, notes=notes)
    assert isinstance(found, Subspace)
    assert float(torch.linalg.svdvals(world.plane("A").T @ found.basis).min()) > 0.95


# --- inlp


def test_sizes_of_inlp_are_nested_and_share_their_rounds() -> None:
    notes = KeepingWorkspace()
    small, large = (fitted(Inlp(), 0, size, rotated=True, notes=notes) for size in (2, 6))
    assert isinstance(small, Subspace)
    assert isinstance(large, Subspace)
    torch.testing.assert_close(large.basis[:, :2], small.basis, atol=1e-6, rtol=0)
    rounds = len(notes.kept)
    fitted(Inlp(), 0, 4, rotated=True, notes=notes)
    assert len(notes.kept) == rounds


def test_inlp_stops_where_nothing_is_left() -> None:
    notes = KeepingWorkspace()
    found = fitted(Inlp(), 0, WIDTH, rotated=True, notes=notes)
    last = notes.rows[-1]
    if found.size < WIDTH:
        assert float(last["accuracy"]) <= float(last["majority"])
    assert float(notes.rows[0]["accuracy"]) == 1.0
    stopped = fitted(Inlp(InlpConfig(margin=1.0)), 0, WIDTH, rotated=True)
    # With such a margin nothing ever counts as found, yet the first round's directions are kept.
    assert stopped.size == 3


def test_each_round_of_inlp_finds_less_and_looks_elsewhere() -> None:
    data = blobs(800, 8, 3, spread=2.0)
    nobody, config = labelled(torch.zeros(0, 8), []), InlpConfig()
    first = removal(data, nobody, torch.zeros(8, 0), config)
    second = removal(data, nobody, first["basis"], config)
    assert float((first["basis"].mT @ second["basis"]).abs().max()) < 1e-6
    assert int(second["judged"][0]) < int(first["judged"][0])
    # Judged on the training vectors, for there are no others.
    assert int(first["judged"][2]) == 800


# --- rlap


def test_the_spectrum_is_clipped_so_that_the_trace_is_the_size() -> None:
    # t = 0.5: (2, 1, .5, -1) become (1, .5, 0, 0)... with the sum 1.5; for the sum 2, t = .25.
    values = torch.tensor([2.0, 1.0, 0.5, -1.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 0.75, 0.25, 0.0], dtype=torch.float64)
    torch.testing.assert_close(clipped_spectrum(values, 2), expected)
    torch.testing.assert_close(clipped_spectrum(values, 4), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(clipped_spectrum(torch.zeros(4), 1), torch.full((4,), 0.25))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_projection_onto_the_fantope_is_in_it_and_the_nearest(size: int) -> None:
    stream = torch.Generator().manual_seed(size)
    matrix = torch.randn(7, 7, generator=stream, dtype=torch.float64)
    found = fantope_projection(matrix, size)
    eigenvalues = torch.linalg.eigvalsh(found)
    assert float(eigenvalues.min()) > -1e-9
    assert float(eigenvalues.max()) < 1 + 1e-9
    assert float(found.trace()) == pytest.approx(size)
    torch.testing.assert_close(fantope_projection(found, size), found)
    symmetric = (matrix + matrix.mT) / 2
    for seed in range(20):
        other = fantope_projection(torch.randn(7, 7, generator=stream.manual_seed(seed)).double(), size)
        # Nearest point of a convex set: the angle towards any other of its points is not acute.
        assert float(((symmetric - found) * (other - found)).sum()) <= 1e-9


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rotated", [True, False])
def test_rlap_finds_the_plane(seed: int, rotated: bool) -> None:
    assert min(scores(Rlap(), seed, 2, rotated=rotated)) >= RIGHT


@pytest.mark.slow
def test_rlap_does_no_worse_than_long_play_where_the_plane_is_nearly_a_line() -> None:
    # Codewords of seed 2 have singular values 5.9 and .27: the second direction hardly tells classes apart.
    reference = RlapConfig(
        steps=2000,
        projection_rate=0.02,
        predictor_rate=0.02,
        momentum=0,
        batch_size=128,
        judge_every=500,
    )
    ours, theirs = (scores(method, 2, 2, rotated=True) for method in (Rlap(), Rlap(reference)))
    assert ours[0] >= RIGHT
    assert sum(ours) >= sum(theirs) - 0.03


def test_rlap_keeps_the_candidate_that_hides_most_from_validation() -> None:
    basis = torch.eye(3)[:, :1]
    low, high, tie = (Candidate(i, basis, loss, 0.5 - i / 10) for i, loss in enumerate((0.1, 0.6, 0.6)))
    assert high.better_than(low)
    assert tie.better_than(high)
    assert not high.better_than(high)
    train, other = blobs(300, 5, 3, spread=0.5), blobs(100, 5, 3, spread=0.5)
    judge = Judge.of(train, other, c=0.01)
    nothing, all_of_it = (judge.judged(0, torch.eye(5).double()[:, :k]) for k in (0, 2))
    assert nothing.accuracy > 0.9
    assert all_of_it.accuracy < 0.55
    assert nothing.loss < all_of_it.loss <= judge.constant_loss
    assert (judge.judged_on, len(judge.held_out)) == ("validation", 100)
    alone = Judge.of(train, labelled(torch.zeros(0, 5), []), c=0.01)
    assert (alone.judged_on, len(alone.held_out)) == ("train", 300)


def test_rlap_has_exactly_its_size_and_logs_its_candidates() -> None:
    notes = KeepingWorkspace()
    found = fitted(Rlap(RlapConfig(steps=6, judge_every=4, margin=0.0)), 1, 5, rotated=True, notes=notes)
    assert found.size == 5
    assert [row["step"] for row in notes.rows] in ([4], [4, 6])
    assert {row["judged_on"] for row in notes.rows} == {"validation"}


def test_seeds_of_rlap_matter_and_torch_s_own_does_not() -> None:
    world, instance = world_of(1, True)
    config = RlapConfig(steps=5, judge_every=5)
    found = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(noise)
        result = Rlap(config).fit(Problem(instance, "A", SITE, 2, seed), world, KeepingWorkspace())
        assert isinstance(result, Subspace)
        found.append(result.basis)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


# --- rankings of neurons


def test_ties_go_to_the_next_scores_and_then_to_the_smaller_index() -> None:
    first = np.array([0.0, np.nan, 2.0, 0.0, np.inf])
    assert ranking(first).tolist() == [4, 2, 0, 1, 3]
    assert ranking(first, np.array([0.0, 1.0, 9.0, 0.5, 0.0])).tolist() == [4, 2, 1, 3, 0]


@pytest.mark.parametrize("method", NEURONS, ids=lambda m: m.name + getattr(m.config, "penalty", ""))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neurons_isolate_only_where_the_attribute_lies_in_neurons(method: Method, seed: int) -> None:
    found = fitted(method, seed, 2, rotated=False)
    assert isinstance(found, MaskedBasis)
    assert found.weights.nonzero().flatten().tolist() == [0, 1]
    assert min(world_of(seed, False)[0].scores(found)) >= RIGHT
    # Where directions are mixed, no number of neurons brings the value and nothing else.
    notes, mixed = KeepingWorkspace(), world_of(seed, True)[0]
    for size in (2, 6):
        assert min(mixed.scores(fitted(method, seed, size, rotated=True, notes=notes))) < 0.9


@pytest.mark.parametrize("method", NEURONS, ids=lambda m: m.name + getattr(m.config, "penalty", ""))
def test_one_ranking_serves_all_sizes(method: Method) -> None:
    notes = KeepingWorkspace()
    masks = []
    for size in (1, 4, WIDTH):
        found = fitted(method, 0, size, rotated=True, notes=notes)
        assert isinstance(found, MaskedBasis)
        assert (found.size, set(found.weights.tolist()) <= {0.0, 1.0}) == (size, True)
        masks.append(found.weights)
    assert bool((masks[0] <= masks[1]).all())
    assert len(notes.kept) == 1
    assert len(notes.rows) == 3


def test_f_statistics_are_scikit_learn_s() -> None:
    data = blobs(300, 7, 4)
    expected, _ = f_classif(data.vectors.double().numpy(), data.labels)
    np.testing.assert_allclose(f_statistics(data), expected, rtol=1e-8)


def test_f_statistics_of_constant_and_perfect_neurons() -> None:
    # Constant; constant within the classes; and (0, 2), (2, 4): between 4 / 1, within 4 / 2, so F = 2.
    vectors = torch.tensor([[7.0, 1, 0], [7, 1, 2], [7, 3, 2], [7, 3, 4]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = f_statistics(labelled(vectors, [0, 0, 1, 1]))
    np.testing.assert_allclose(found, [0.0, np.inf, 2.0])


def test_mutual_information_is_scikit_learn_s_without_its_noise() -> None:
    stream = np.random.default_rng(0)
    labels = stream.integers(9, size=300)
    labels[:3] = (9, 10, 10)  # A class of one and a class of two.
    inputs = stream.normal(size=(300, 5)) + labels[:, None] * np.array([0, 0.2, 0.5, 1, 5])
    inputs /= inputs.std(axis=0)
    expected = mutual_info_classif(inputs, labels, random_state=0)
    np.testing.assert_allclose(mutual_information(inputs, labels, 3), expected, atol=0.01)


def test_mutual_information_of_constant_equal_and_perfect_neurons() -> None:
    labels = np.arange(200) % 4
    vectors = torch.stack(
        [torch.full((200,), 3.0), torch.from_numpy(labels).float(), torch.arange(200).float()], dim=1
    )
    found, different = neuron_information(labelled(vectors, labels), 3)
    assert different == 200
    assert found[0] == 0.0
    # A neuron that is the class: log 4, but for the estimate of entropies from 200 values.
    assert found[1] == pytest.approx(np.log(4), abs=0.02)
    assert found[2] < 0.1


def test_equal_vectors_count_once_for_mutual_information() -> None:
    data = blobs(150, 4, 3)
    repeated = labelled(data.vectors.repeat(5, 1), np.tile(data.labels, 5))
    once, many = (neuron_information(found, 3)[0] for found in (data, repeated))
    np.testing.assert_allclose(many, once, atol=1e-9)
    # Without that, a neuron that knows nothing looks perfect.
    naive = mutual_information(repeated.vectors.double().numpy(), repeated.labels, 3)
    assert naive[3] > 0.9 > 0.2 > once[3]


def test_neurons_without_weight_come_by_the_slope_of_the_loss() -> None:
    # With this penalty no weight is left: the order is that of the slopes, which the means decide.
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    vectors = torch.randn(200, 5, generator=stream) + labels[:, None] * torch.tensor([0, 1.0, 3, 0, 2])
    data = labelled(torch.cat([torch.ones(200, 1), vectors], dim=1), labels.numpy())
    order, figures = probe_order(data, data, NeuronsProbeConfig(c=1e-6))
    assert figures["with_weight"] == 0
    assert order[:3].tolist() == [3, 5, 2]
    assert int(order[-1]) == 0


# --- what is refused


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_bad_problems_are_refused(method: type[Method]) -> None:
    world, instance = world_of(0, True)
    with pytest.raises(SuiteError, match="attribute of this planted instance"):
        method().fit(Problem(instance, "Z", SITE, 2, 0), world, KeepingWorkspace())
    with pytest.raises(SuiteError, match="a size from 1 to 16"):
        method().fit(Problem(instance, "A", SITE, 17, 0), world, KeepingWorkspace())
    assert method.needs_labels


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_too_few_classes_are_no_fault_of_the_user(method: type[Method]) -> None:
    world = PlantedWorld(0, n_entities=3)
    world.values = torch.tensor([[0, 0], [1, 1], [2, 2]])
    instance = world.instance(n_pairs=20, n_held_out=5).without_test()
    with pytest.raises(NotApplicableError, match="at least two values of 'A'"):
        method().fit(Problem(instance, "A", SITE, 2, 0), world, KeepingWorkspace())


def test_settings_are_part_of_what_is_shared() -> None:
    notes = KeepingWorkspace()
    for c in (0.1, 1.0, 0.1):
        fitted(LinearProbe(ClassifierConfig(c=c)), 0, 2, rotated=True, notes=notes)
    assert len(notes.kept) == 2
