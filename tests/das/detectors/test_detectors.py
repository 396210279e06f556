"""Detectors: what they score by, the way to disk and back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted_world import SITE, WIDTH, PlantedWorld
from torch import Tensor

from das.detectors.attribution import Attribution
from das.detectors.base import Detector
from das.detectors.directions import Directions
from das.detectors.question import Question
from das.detectors.reading import Reading, difference_of_means
from das.detectors.words import Words, counted_words
from das.edits.storage import load_finding
from das.featurizers import FeaturizerHeader, Subspace, load_featurizer, save_featurizer
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

HEADER = FeaturizerHeader("m", "A", "toy", SITE, 0, "planted", "f", "i")
VALUES = ("0", "1", "2")
STREAM = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=STREAM)


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(3, n_entities=40)


@pytest.fixture(scope="module")
def prompts(world: PlantedWorld) -> list[Prompt]:
    return [world.prompt("A", number) for number in range(12)]


DETECTORS: list[Detector] = [
    Directions("A", VALUES, drawn(WIDTH, 3)),
    Directions("A", VALUES, drawn(WIDTH, 3), drawn(3), rectified=True),
    Words("A", VALUES, ("the", "of", "e7"), drawn(3, 3), names=True),
    Words("A", VALUES, ("the", "of"), drawn(2, 3), names=False),
    Question("A", VALUES, torch.tensor([0, 1, 2]), width=WIDTH),
    Directions("A", VALUES, drawn(WIDTH, 3), to_scale=True),
    Attribution("A", VALUES, torch.tensor([0, 1, 2]), torch.zeros(WIDTH)),
    Attribution("A", VALUES, torch.tensor([2, 0, 1]), drawn(WIDTH), steps=2, absolute=True),
]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.kind)
class TestEvery:
    def test_saved_and_loaded_it_scores_alike_to_the_bit(
        self, detector: Detector, world: PlantedWorld, prompts: list[Prompt], tmp_path: Path
    ) -> None:
        save_featurizer(detector, tmp_path, HEADER)
        loaded, header = load_finding(tmp_path)
        assert header == HEADER
        assert isinstance(loaded, Detector)
        assert (loaded.kind, loaded.size, loaded.width) == (detector.kind, detector.size, detector.width)
        assert loaded.settings() == detector.settings()
        assert torch.equal(loaded.scores(prompts, world, SITE), detector.scores(prompts, world, SITE))

    def test_it_scores_each_prompt_alone_as_among_others(
        self, detector: Detector, world: PlantedWorld, prompts: list[Prompt]
    ) -> None:
        scores = detector.scores(prompts, world, SITE)
        assert (tuple(scores.shape), scores.dtype) == ((12, 3), torch.float32)
        alone = torch.cat([detector.scores([prompt], world, SITE) for prompt in prompts])
        torch.testing.assert_close(alone, scores)

    def test_where_a_featurizer_is_wanted_it_is_refused(self, detector: Detector, tmp_path: Path) -> None:
        save_featurizer(detector, tmp_path, HEADER)
        with pytest.raises(SuiteError, match="a detector is scored, not swapped"):
            load_featurizer(tmp_path)


def test_a_featurizer_is_loaded_as_any_finding(tmp_path: Path) -> None:
    save_featurizer(Subspace(torch.eye(4)[:, :2]), tmp_path, HEADER)
    assert isinstance(load_finding(tmp_path)[0], Subspace)


def test_directions_are_products_and_a_relu_cuts_them() -> None:
    readers, vectors = drawn(WIDTH, 3), drawn(5, WIDTH)
    plain = Directions("A", VALUES, readers).of_vectors(vectors)
    assert torch.equal(plain, vectors @ readers)
    bias = torch.tensor([1.0, -1.0, 0.0])
    cut = Directions("A", VALUES, readers, bias, rectified=True).of_vectors(vectors)
    torch.testing.assert_close(cut, (plain + bias).clamp(min=0))


def test_words_are_counted_and_names_left_out() -> None:
    prompt = Prompt("the A of the is", "the A of %s is", "the", "A", (9, 12))
    assert counted_words([prompt], ("the", "a", "no"), names=True).tolist() == [[2, 1, 0]]
    assert counted_words([prompt], ("the", "a", "no"), names=False).tolist() == [[1, 1, 0]]


def test_a_question_is_the_log_probability_of_the_answer(world: PlantedWorld, prompts: list[Prompt]) -> None:
    asked = Question("A", VALUES, torch.tensor([0, 1, 2]), width=WIDTH).scores(prompts, world, SITE)
    vectors = world.collect(prompts, [SITE])[SITE]
    logits = world.readout(vectors, ["A"] * len(prompts))
    torch.testing.assert_close(asked, logits.log_softmax(dim=1)[:, :3])
    answers = [world.label_id("A", number) for number in range(12)]
    assert all(int(row.argmax()) == answer for row, answer in zip(asked, answers, strict=True) if answer < 3)


class TestAttribution:
    ids = torch.tensor([0, 1, 2])

    def margins(self, world: PlantedWorld, vectors: Tensor) -> Tensor:
        """The logit of each value less the mean of the others, [n, 3]."""
        logits = world.readout(vectors, ["A"] * len(vectors))[:, :3]
        return logits - (logits.sum(dim=1, keepdim=True) - logits) / 2

    def test_integrated_it_sums_to_what_changes_from_the_baseline(
        self, world: PlantedWorld, prompts: list[Prompt]
    ) -> None:
        baseline = drawn(WIDTH)
        vectors = world.collect(prompts, [SITE])[SITE]
        wanted = self.margins(world, vectors) - self.margins(world, baseline[None])
        # The margin is linear in the vector here, so that one point is as good as many.
        for steps in (1, 3):
            detector = Attribution("A", VALUES, self.ids, baseline, steps=steps)
            torch.testing.assert_close(detector.scores(prompts, world, SITE), wanted, atol=1e-3, rtol=1e-4)

    def test_without_steps_it_is_the_vector_times_the_gradient(
        self, world: PlantedWorld, prompts: list[Prompt]
    ) -> None:
        vectors = world.collect(prompts, [SITE])[SITE].clone().requires_grad_()
        for absolute in (False, True):
            detector = Attribution("A", VALUES, self.ids, torch.zeros(WIDTH), absolute=absolute)
            scores = detector.scores(prompts, world, SITE)
            for place in range(3):
                total = self.margins(world, vectors)[:, place].sum()
                (slope,) = torch.autograd.grad(total, vectors)
                by_coordinate = (vectors * slope).detach()
                wanted = (by_coordinate.abs() if absolute else by_coordinate).sum(dim=1)
                torch.testing.assert_close(scores[:, place], wanted, atol=1e-3, rtol=1e-4)

    def test_of_one_value_it_is_about_the_log_probability(
        self, world: PlantedWorld, prompts: list[Prompt]
    ) -> None:
        baseline = drawn(WIDTH)
        detector = Attribution("A", ("1",), torch.tensor([1]), baseline, steps=400)
        there = torch.cat([world.collect(prompts, [SITE])[SITE], baseline[None]])
        logs = world.readout(there, ["A"] * len(there)).log_softmax(dim=1)[:, 1]
        scores = detector.scores(prompts, world, SITE)[:, 0]
        torch.testing.assert_close(scores, logs[:-1] - logs[-1], atol=2e-2, rtol=1e-2)


class TestReading:
    known = drawn(30, WIDTH)
    has = torch.arange(30)[:, None] % 3 == torch.arange(3)

    def test_of_the_whole_vector_it_is_the_difference_of_means(self) -> None:
        reading = Reading("A", VALUES, Subspace(torch.eye(WIDTH)), self.known, self.has)
        vectors = drawn(6, WIDTH)
        means = [
            self.known[self.has[:, i]].mean(dim=0) - self.known[~self.has[:, i]].mean(dim=0) for i in range(3)
        ]
        torch.testing.assert_close(reading.of_vectors(vectors), vectors @ torch.stack(means, dim=1))

    def test_of_nothing_it_is_0(self) -> None:
        reading = Reading("A", VALUES, Subspace(torch.zeros(WIDTH, 0)), self.known, self.has)
        assert not reading.of_vectors(drawn(6, WIDTH)).any()

    def test_of_a_subspace_it_is_that_of_the_projection(self) -> None:
        basis = torch.linalg.qr(drawn(WIDTH, 4)).Q
        reading = Reading("A", VALUES, Subspace(basis), self.known, self.has)
        vectors = drawn(6, WIDTH)
        projected = difference_of_means(self.known @ basis @ basis.T, self.has)
        torch.testing.assert_close(reading.of_vectors(vectors), vectors @ projected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Directions("A", (), drawn(WIDTH, 0)),
        lambda: Directions("A", ("0", "0"), drawn(WIDTH, 2)),
        lambda: Directions("A", VALUES, drawn(WIDTH, 2)),
        lambda: Directions("A", VALUES, drawn(WIDTH, 3), drawn(2)),
        lambda: Words("A", VALUES, ("the",), drawn(2, 3), names=True),
        lambda: Question("A", VALUES, torch.tensor([0, 1]), width=WIDTH),
        lambda: Attribution("A", VALUES, torch.tensor([0, 1]), drawn(WIDTH)),
    ],
)
def test_what_does_not_fit_is_refused(make: object) -> None:
    with pytest.raises(SuiteError, match="Expected"):
        make()  # type: ignore[operator]
