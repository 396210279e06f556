"""Masks and boundaries under training: hand-computed numbers, and what must never go stale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_world import SITE, WIDTH, PlantedWorld
from safetensors.torch import save
from torch import Tensor, optim

from das.engine.base.protocol import ForcedPair
from das.engine.engines.base_engine import BaseEngine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.featurizers.orthonormal import deviation
from das.methods.common.alignment import random_columns
from das.methods.common.base import Problem
from das.methods.common.tasks import isolates_each, mixed_pairs, require_isolate_pairs
from das.sites import Site
from das.training.boundary import BoundaryConfig, TrainableBoundary, boundary_mask
from das.training.budget import TrainableBudget, budget_gate, drawn_size, leading_mask
from das.training.config import TrainingConfig, TrainingTask
from das.training.loop import train_featurizer
from das.training.masks import HardeningConfig, MaskConfig, TrainableMask, mask_margin, temperature_at
from das.training.objective import LossWeights
from das.training.trainable import Trainable
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance

BASE, SOURCE = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[5.0, 6.0, 7.0]])


def _mask(logits: Sequence[float], **settings: float | str) -> TrainableMask:
    trainable = TrainableMask(MaskedBasis, len(logits), MaskConfig(**settings))  # type: ignore[arg-type]
    with torch.no_grad():
        trainable.logits.copy_(torch.tensor(logits))
    return trainable


# --- temperature


@pytest.mark.parametrize(
    ("done", "schedule", "fraction", "expected"),
    [
        (0.0, "linear", 1.0, 4.0),
        (0.5, "linear", 1.0, 2.5),
        (1.0, "linear", 1.0, 1.0),
        (0.5, "geometric", 1.0, 2.0),
        (0.25, "geometric", 0.5, 2.0),
        (0.5, "linear", 0.5, 1.0),
        (0.8, "geometric", 0.5, 1.0),
    ],
)
def test_temperature_by_hand(done: float, schedule: str, fraction: float, expected: float) -> None:
    found = temperature_at(done, start=4.0, end=1.0, schedule=schedule, anneal_fraction=fraction)  # type: ignore[arg-type]
    assert found == pytest.approx(expected)


@settings(deadline=None)
@given(
    start=st.floats(0.1, 50),
    ratio=st.floats(1e-6, 1),
    fraction=st.floats(0.05, 1),
    schedule=st.sampled_from(["linear", "geometric"]),
)
def test_temperature_falls_from_start_to_end(
    start: float, ratio: float, fraction: float, schedule: str
) -> None:
    end = start * ratio
    found = [
        temperature_at(i / 40, start=start, end=end, schedule=schedule, anneal_fraction=fraction)  # type: ignore[arg-type]
        for i in range(41)
    ]
    assert found[0] == pytest.approx(start)
    assert found[-1] == pytest.approx(end)
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(found))


# --- mask


def test_a_fresh_mask_is_half_soft_and_hard_nowhere() -> None:
    trainable = _mask([0.0, 0.0, 0.0])
    torch.testing.assert_close(trainable.current().interchange(BASE, SOURCE), (BASE + SOURCE) / 2)
    for hard in (trainable.evaluated(), trainable.finished()):
        assert hard.size == 0
        assert torch.equal(hard.interchange(BASE, SOURCE), BASE)


def test_the_soft_swap_and_the_penalty_by_hand() -> None:
    trainable = _mask([math.log(3), 0.0, -math.log(4)], temperature_start=1.0, l1_penalty=0.1)
    torch.testing.assert_close(trainable.soft_mask(), torch.tensor([0.75, 0.5, 0.2]))
    torch.testing.assert_close(trainable.current().interchange(BASE, SOURCE), torch.tensor([[4.0, 4.0, 3.8]]))
    assert float(trainable.penalty().detach()) == pytest.approx(0.1 * 1.45)
    trainable.penalty().backward()
    assert trainable.logits.grad is not None
    # The slope of a sigmoid m is m (1 - m) over the temperature.
    torch.testing.assert_close(trainable.logits.grad, 0.1 * torch.tensor([0.1875, 0.25, 0.16]))


def test_the_temperature_sharpens_the_soft_mask_only() -> None:
    trainable = _mask([0.2, -0.2, 0.1], temperature_start=1.0, temperature_end=1e-3)
    before = trainable.finished().mask()
    trainable.after_step(1.0)
    assert float(trainable.temperature) == pytest.approx(1e-3)
    assert torch.equal(trainable.finished().mask(), before)
    torch.testing.assert_close(trainable.soft_mask(), torch.tensor([1.0, 0.0, 1.0]))


def test_the_hard_mask_is_that_of_the_logits_when_it_is_asked_for() -> None:
    trainable = _mask([1.0, 1.0, 1.0])
    assert trainable.evaluated().size == 3
    trainable.current().interchange(BASE, SOURCE)
    with torch.no_grad():
        trainable.logits.copy_(torch.tensor([-1.0, 1.0, -1.0]))
    assert trainable.evaluated().mask().tolist() == [0, 1, 0]
    with torch.no_grad():
        trainable.logits.fill_(-1.0)
    # Nothing is on: that is what must be evaluated, not the last mask that had something on.
    for hard in (trainable.evaluated(), trainable.finished()):
        assert torch.equal(hard.interchange(BASE, SOURCE), BASE)


def test_the_temperature_is_no_parameter_but_part_of_the_state() -> None:
    trainable = _mask([1.0, 1.0, 1.0], temperature_start=2.0)
    assert [name for name, _ in trainable.named_parameters()] == ["logits"]
    optimiser = optim.AdamW(trainable.parameters(), lr=1.0)
    trainable.current().interchange(BASE, SOURCE).sum().backward()
    optimiser.step()
    assert float(trainable.temperature) == 2.0
    trainable.after_step(0.5)
    other = _mask([0.0, 0.0, 0.0])
    other.load_state_dict(trainable.state_dict())
    assert float(other.temperature) == float(trainable.temperature) == pytest.approx(1.005)


def test_the_margin_by_hand() -> None:
    trainable = _mask([2.0, -1.0, 0.3], temperature_start=1.0)
    row = mask_margin(trainable)
    # Soft: 0.88, 0.27 and 0.57: all undecided; at a tenth of the temperature only the last is, at 0.95 not.
    assert row == {"phase": "mask", "on": 2, "margin": pytest.approx(1.1), "undecided": 1.0}
    trainable.temperature.fill_(0.2)
    assert mask_margin(trainable)["undecided"] == pytest.approx(1 / 3)


# --- boundary


@pytest.mark.parametrize("temperature", [0.01, 0.3, 5.0])
@pytest.mark.parametrize("inside", [0, 1, 5, 8])
def test_a_whole_boundary_holds_just_as_many(inside: int, temperature: float) -> None:
    mask = boundary_mask(torch.tensor(inside / 8), 8, torch.tensor(temperature))
    assert (mask > 0.5).tolist() == [True] * inside + [False] * (8 - inside)
    assert mask.tolist() == sorted(mask.tolist(), reverse=True)


def test_the_boundary_mask_by_hand() -> None:
    mask = boundary_mask(torch.tensor(0.375), 4, torch.tensor(0.5))
    # The boundary is at 1.5; the coordinates' middles lie at 0.5, 1.5, 2.5 and 3.5.
    expected = [1 / (1 + math.exp(-x)) for x in (2.0, 0.0, -2.0, -4.0)]
    assert mask.tolist() == pytest.approx(expected, abs=1e-6)


def _boundary(share: float, **settings: float) -> TrainableBoundary:
    trainable = TrainableBoundary(random_columns(6, 6, 0), BoundaryConfig(**settings))  # type: ignore[arg-type]
    with torch.no_grad():
        trainable.share.fill_(share)
    return trainable


@pytest.mark.parametrize(("share", "size"), [(0.0, 0), (0.5, 3), (0.55, 3), (0.6, 4), (1.0, 6)])
def test_what_lies_within_is_the_span_of_the_first_columns(share: float, size: int) -> None:
    trainable = _boundary(share)
    found = trainable.finished()
    assert found.size == size == trainable.n_within()
    assert torch.equal(found.basis, trainable.rotation.detach()[:, :size])
    base, source = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    if size == 0:
        assert torch.equal(found.interchange(base, source), base)
    trainable.temperature.fill_(1e-4)
    torch.testing.assert_close(
        trainable.current().interchange(base, source),
        found.interchange(base, source),
        atol=1e-5,
        rtol=1e-5,
    )


def test_after_a_step_the_rotation_is_one_and_the_boundary_within_the_width() -> None:
    trainable = _boundary(0.5, temperature_start=0.5, temperature_end=0.1)
    assert float(trainable.temperature) == pytest.approx(3.0)
    with torch.no_grad():
        trainable.rotation.add_(0.3)
        trainable.share.fill_(1.4)
    trainable.after_step(0.5)
    assert deviation(trainable.rotation) < 1e-5
    assert float(trainable.share) == 1.0
    # Halfway from 0.5 to 0.1 of a width of 6.
    assert float(trainable.temperature) == pytest.approx(1.8)
    assert {name for name, _ in trainable.named_parameters()} == {"rotation", "share"}


def test_the_width_s_price_pulls_the_boundary_down_and_the_swap_pushes_it() -> None:
    trainable = _boundary(0.5, width_penalty=2.0)
    assert float(trainable.penalty().detach()) == pytest.approx(1.0)
    (pull,) = torch.autograd.grad(trainable.penalty(), trainable.share)
    assert float(pull) == pytest.approx(2.0)
    base, source = torch.zeros(1, 6), torch.ones(1, 6)
    distance = (trainable.current().interchange(base, source) - source).square().sum()
    (push,) = torch.autograd.grad(distance, trainable.share)
    assert float(push) < 0


# --- in the loop


class _FailingEngine(BaseEngine):
    """The planted world; one call is interrupted."""

    def __init__(self, world: PlantedWorld, fail_at: int) -> None:
        self.name, self.target = world.name, world.target
        self.collect, self.complete = world.collect, world.complete
        self.tokens_after = world.tokens_after  # type: ignore[method-assign]
        self._world, self._left = world, fail_at

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return self._world.interchange_logits(pairs, site, featurizer)


class _Folder(SilentWorkspace):
    def __init__(self, folder: Path) -> None:
        self.folder = folder


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0, n_entities=60, rotated=False)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=100, n_held_out=40)


MAKERS: list[Callable[[], Trainable]] = [
    lambda: TrainableMask(MaskedBasis, WIDTH, MaskConfig(temperature_schedule="geometric")),
    lambda: TrainableBoundary(random_columns(WIDTH, WIDTH, 3), BoundaryConfig()),
    lambda: TrainableBudget(MaskedBasis, WIDTH, HardeningConfig(), 0),
]


@pytest.mark.parametrize("make", MAKERS, ids=["mask", "boundary", "budget"])
@pytest.mark.parametrize("fail_at", [12, 30])
def test_an_interrupted_fit_resumes_to_the_same_bytes(
    make: Callable[[], Trainable], world: PlantedWorld, instance: Instance, tmp_path: Path, fail_at: int
) -> None:
    problem = Problem(instance, "A", SITE, 1, 0)
    limits = {"cause_limit": 100, "isolate_limit_each": 25, "seed": 0, "label_tokens": 3}
    causes, isolates = mixed_pairs(problem, "train", **limits)
    task = TrainingTask([*causes, *isolates], [], SITE, LossWeights(), 5, "a fit")
    config = TrainingConfig(epochs=4, batch_size=16, learning_rate=0.05)
    expected = train_featurizer(make(), task, world, SilentWorkspace(), config)
    with pytest.raises(KeyboardInterrupt):
        train_featurizer(make(), task, _FailingEngine(world, fail_at), _Folder(tmp_path), config)
    resumed = _FailingEngine(world, 4 * 8 - 8)
    found = train_featurizer(make(), task, resumed, _Folder(tmp_path), config)
    assert save(dict(found.state_dict())) == save(dict(expected.state_dict()))


# --- the mixture


def test_the_mixture_has_five_isolate_pairs_for_four_cause_pairs_unless_told(instance: Instance) -> None:
    problem = Problem(instance, "A", SITE, 1, 0)

    def counts(cause_limit: int, each: int | None) -> tuple[int, int]:
        causes, isolates = mixed_pairs(
            problem, "train", cause_limit=cause_limit, isolate_limit_each=each, seed=0, label_tokens=3
        )
        assert {pair.attribute for pair in causes} <= {"A"}
        assert {pair.attribute for pair in isolates} <= {"B"}
        return len(causes), len(isolates)

    assert counts(1000, None) == (100, 100)  # there are no more
    assert counts(40, None) == (40, 50)
    assert counts(40, 33) == (40, 33)
    assert counts(40, 0) == (40, 0)
    with pytest.raises(SuiteError, match="attributes other than 'A'; got an instance with none"):
        require_isolate_pairs(problem, [])


def test_other_attributes_share_the_isolate_pairs() -> None:
    assert [isolates_each(80, others) for others in (1, 2, 4, 5)] == [100, 50, 25, 20]
    assert isolates_each(1, 5) == 1


# --- gates of a given size


@pytest.mark.parametrize("size", [1, 2, 5, 7])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_a_gate_sums_to_its_size(size: int, spread: float) -> None:
    scores = spread * torch.randn(7, generator=torch.Generator().manual_seed(1))
    gate = budget_gate(scores, size)
    assert float(gate.sum()) == pytest.approx(size, abs=1e-5)


def test_what_one_score_gains_the_others_lose() -> None:
    scores = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda s: budget_gate(s, 2), scores)
    (slope,) = torch.autograd.grad(budget_gate(scores, 2).sum(), scores)
    assert float(slope.abs().max()) < 1e-9


def test_sizes_are_drawn_evenly_by_their_logarithm() -> None:
    sizes = [drawn_size(64, 0, step) for step in range(2000)]
    assert (min(sizes), max(sizes)) == (1, 63)
    assert sum(size < 8 for size in sizes) == pytest.approx(1000, abs=100)


def test_of_equal_scores_the_first_lead() -> None:
    assert leading_mask(torch.tensor([1.0, 2.0, 1.0, 1.0]), 2).tolist() == [1, 1, 0, 0]
