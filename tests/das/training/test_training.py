"""The training loop and its parts: hand-computed numbers, and laws that hold for any trainable."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_world import ATTRIBUTES, SITE, PlantedWorld
from safetensors.torch import load, save
from torch import Tensor

from das.engine.base.labels import forced_labels
from das.engine.base.protocol import ForcedPair
from das.engine.engines.base_engine import BaseEngine
from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import deviation
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import random_columns
from das.passes import PassCount
from das.sites import Site
from das.training.batches import batches
from das.training.config import TrainingConfig, TrainingTask
from das.training.examples import cause_pairs, isolate_pairs
from das.training.loop import train_featurizer
from das.training.objective import LossWeights, TrainingPair, pooled_loss
from das.training.schedules import learning_rate_at, warmup_steps
from das.training.trainable import TrainableSubspace
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance

Row = dict[str, float | int | str]


class _Recorder(SilentWorkspace):
    """A workspace that keeps what it is told."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        self.reports: list[tuple[int, int]] = []
        self.passes = PassCount()

    def asked(self, passes: PassCount) -> None:
        self.passes.add(passes)

    def log(self, row: Row) -> None:
        self.rows.append(row)

    def progress(self, done: int, total: int) -> None:
        self.reports.append((done, total))

    def of(self, phase: str) -> list[Row]:
        return [row for row in self.rows if row["phase"] == phase]


class _WatchedEngine(BaseEngine):
    """The planted world; each featurizer's deviation from orthonormality is noted, one call may fail."""

    def __init__(self, world: PlantedWorld, fail_at: int | None = None) -> None:
        self.name, self.target = world.name, world.target
        self.collect, self.complete = world.collect, world.complete
        self.tokens_after = world.tokens_after  # type: ignore[method-assign]
        self.deviations: list[float] = []
        self._world = world
        self._fail_at = fail_at

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        assert isinstance(featurizer, Subspace)
        if len(self.deviations) == self._fail_at:
            raise KeyboardInterrupt
        self.deviations.append(deviation(featurizer.basis))
        return self._world.interchange_logits(pairs, site, featurizer)


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0, n_entities=60)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=100, n_held_out=40)


def _task(instance: Instance, *, validation: bool = True, identity: str = "a fit") -> TrainingTask:
    def pairs(split: str) -> list[TrainingPair]:
        return [
            *cause_pairs(instance, "A", split, limit=1000, seed=0, label_tokens=3),
            *isolate_pairs(instance, "A", split, limit_each=1000, seed=0, label_tokens=3),
        ]

    held_out = pairs("context_val") if validation else []
    return TrainingTask(
        training=pairs("train"),
        validation=held_out,
        site=SITE,
        weights=LossWeights(),
        seed=5,
        identity=identity,
    )


def _start(size: int = 3) -> TrainableSubspace:
    return TrainableSubspace(random_columns(16, size, 7))


def _bytes(featurizer: Featurizer) -> bytes:
    return save(dict(featurizer.state_dict()))


# --- schedules


@pytest.mark.parametrize(
    ("step", "schedule", "expected"),
    [
        (0, "constant", 0.25),
        (1, "constant", 0.5),
        (2, "constant", 0.75),
        (3, "constant", 1.0),
        (29, "constant", 1.0),
        (3, "linear", 1.0),
        (12, "linear", 2 / 3),
        (3, "cosine", 1.0),
        (12, "cosine", 0.75),
    ],
)
def test_learning_rate_by_hand(step: int, schedule: str, expected: float) -> None:
    rate = learning_rate_at(step, peak=1.0, total_steps=30, warmup_fraction=0.1, schedule=schedule)  # type: ignore[arg-type]
    assert rate == pytest.approx(expected)


@settings(deadline=None)
@given(total=st.integers(1, 500), fraction=st.floats(0, 0.99), schedule=st.sampled_from(["linear", "cosine"]))
def test_every_step_learns_and_rates_fall_after_the_warm_up(
    total: int, fraction: float, schedule: str
) -> None:
    rates = [
        learning_rate_at(s, peak=0.3, total_steps=total, warmup_fraction=fraction, schedule=schedule)  # type: ignore[arg-type]
        for s in range(total)
    ]
    top = warmup_steps(total, fraction)
    assert all(0 < rate <= 0.3 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


# --- objective


@settings(deadline=None)
@given(
    n_cause=st.integers(1, 9),
    n_isolate=st.integers(1, 9),
    shares=st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)),
)
def test_shares_fix_the_balance_whatever_the_counts(
    n_cause: int, n_isolate: int, shares: tuple[float, float]
) -> None:
    cause, isolate = shares
    weights = LossWeights.from_shares(cause=cause, isolate=isolate, n_cause=n_cause, n_isolate=n_isolate)
    losses = torch.tensor([2.0] * n_cause + [5.0] * n_isolate, dtype=torch.float64)
    pooled = pooled_loss(losses, [weights.cause] * n_cause + [weights.isolate] * n_isolate)
    assert float(pooled) == pytest.approx((cause * 2.0 + isolate * 5.0) / (cause + isolate))


# --- pairs of one target


def test_cause_pairs_are_forced_to_the_source_and_isolate_pairs_to_the_base(
    world: PlantedWorld, instance: Instance
) -> None:
    causes = cause_pairs(instance, "A", "train", limit=1000, seed=0, label_tokens=3)
    isolates = isolate_pairs(instance, "A", "train", limit_each=1000, seed=0, label_tokens=3)
    assert len(causes) == len(isolates) == 100
    for pair in [*causes, *isolates]:
        entity = pair.forced.source.entity if pair.kind == "cause" else pair.forced.base.entity
        assert pair.attribute == pair.forced.base.attribute == ("A" if pair.kind == "cause" else "B")
        assert pair.forced.label_ids == (world.label_id(pair.attribute, int(entity[1:])),)


@pytest.mark.parametrize("limit", [1, 37, 100, 500])
def test_samples_are_distinct_sized_ordered_and_seeded(instance: Instance, limit: int) -> None:
    everything = cause_pairs(instance, "A", "train", limit=10**6, seed=0, label_tokens=3)
    draws = [cause_pairs(instance, "A", "train", limit=limit, seed=s, label_tokens=3) for s in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert all(len(draw) == min(limit, 100) for draw in draws)
    assert [pair for pair in everything if pair in draws[0]] == draws[0]
    assert (draws[0] == draws[2]) == (limit >= 100)


def test_labels_are_cut_to_the_wanted_tokens() -> None:
    world = PlantedWorld(0, n_entities=20)
    instance = world.instance(n_pairs=5, n_held_out=2)
    long = Instance.from_parts(
        entity_type="planted",
        model_name="planted",
        model_fingerprint="planted-0",
        prompts=[_with_label_ids(record, (4, 5, 6, 7)) for record in instance.prompts()],
        pairs={split: instance.pairs(split) for split in instance.splits()},
    )
    for tokens in (1, 3, 9):
        pairs = cause_pairs(long, "A", "train", limit=99, seed=0, label_tokens=tokens)
        assert {pair.forced.label_ids for pair in pairs} == {(4, 5, 6, 7)[:tokens]}


def _with_label_ids(record, ids):  # type: ignore[no-untyped-def]
    return type(record)(record.prompt_id, record.prompt, record.label, ids, record.correct)


# --- batches


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200), size=st.integers(1, 40))
def test_batches_hold_each_pair_once_in_even_sizes(lengths: list[int], size: int) -> None:
    cut = batches(lengths, size, random.Random(3))
    assert sorted(index for batch in cut for index in batch) == list(range(len(lengths)))
    assert len(cut) == math.ceil(len(lengths) / size)
    assert max(map(len, cut)) <= size
    assert max(map(len, cut)) - min(map(len, cut)) <= 1
    assert cut == batches(lengths, size, random.Random(3))


def test_batches_leave_little_padding_and_come_in_shuffled_order() -> None:
    stream = random.Random(0)
    lengths = [stream.randint(1, 60) for _ in range(640)]
    longest = [[lengths[i] for i in batch] for batch in batches(lengths, 20, stream)]
    padded = sum(len(batch) * max(batch) for batch in longest)
    assert padded < 1.15 * sum(lengths)
    assert [max(batch) for batch in longest] != sorted(max(batch) for batch in longest)


# --- the loop


@pytest.mark.parametrize("rate", [1e-3, 0.3])
def test_columns_are_orthonormal_at_every_step(world: PlantedWorld, instance: Instance, rate: float) -> None:
    engine = _WatchedEngine(world)
    config = TrainingConfig(epochs=3, batch_size=10, learning_rate=rate)
    found = train_featurizer(_start(), _task(instance), engine, SilentWorkspace(), config)
    assert isinstance(found, Subspace)
    assert len(engine.deviations) > 60
    assert max([*engine.deviations, deviation(found.basis)]) <= 1e-5
    assert not found.basis.requires_grad


def test_rows_say_what_happened(world: PlantedWorld, instance: Instance) -> None:
    recorder = _Recorder()
    config = TrainingConfig(epochs=2, batch_size=16, log_every=4, schedule="linear")
    train_featurizer(_start(), _task(instance), world, recorder, config)
    rows = recorder.of("train")
    # 200 pairs make 13 batches: rows after 4, 8, 12 and at the epoch's end.
    assert [row["step"] for row in rows] == [4, 8, 12, 13, 17, 21, 25, 26]
    assert [row["epoch"] for row in rows] == [1] * 4 + [2] * 4
    for row in rows:
        assert set(row) == {
            "phase",
            "step",
            "epoch",
            "loss",
            "cause_loss",
            "isolate_loss",
            "accuracy",
            "lr",
        }
        assert min(row["cause_loss"], row["isolate_loss"]) <= row["loss"] * 1.0001  # type: ignore[type-var,operator]
        assert 0 <= row["accuracy"] <= 1  # type: ignore[operator]
    assert [row["lr"] for row in rows[1:]] == sorted((row["lr"] for row in rows[1:]), reverse=True)  # type: ignore[type-var]
    assert recorder.reports[-1] == (26, 26)
    assert [done for done, _ in recorder.reports] == sorted(done for done, _ in recorder.reports)


def test_the_best_epoch_is_returned_and_patience_ends_the_fit(
    world: PlantedWorld, instance: Instance
) -> None:
    recorder, task = _Recorder(), _task(instance)
    config = TrainingConfig(epochs=40, batch_size=20, learning_rate=0.2, patience=3)
    found = train_featurizer(_start(), task, world, recorder, config)
    rows = recorder.of("validation")
    keys = [(row["accuracy"], -float(row["loss"])) for row in rows]
    best = keys.index(max(keys))
    assert len(rows) == min(best + 1 + 3, 40) < 40
    assert [i for i, row in enumerate(rows) if row["kept"]][-1] == best
    with torch.no_grad():
        logits = world.interchange_logits([pair.forced for pair in task.validation], SITE, found)
        outcome = forced_labels(logits, [pair.forced.label_ids for pair in task.validation])
    kinds = Counter(pair.kind for pair in task.validation)
    right = Counter(p.kind for p, ok in zip(task.validation, outcome.correct.tolist(), strict=True) if ok)
    assert sum(right[kind] / kinds[kind] for kind in kinds) / 2 == pytest.approx(keys[best][0])
    assert float(outcome.cross_entropy.mean()) == pytest.approx(-keys[best][1], abs=1e-5)


def test_without_validation_pairs_the_last_epoch_is_returned(world: PlantedWorld, instance: Instance) -> None:
    recorder, trainable = _Recorder(), _start()
    config = TrainingConfig(epochs=4, batch_size=50, patience=1)
    found = train_featurizer(trainable, _task(instance, validation=False), world, recorder, config)
    assert isinstance(found, Subspace)
    assert torch.equal(found.basis, trainable.weight.detach())
    assert recorder.rows[-1]["epoch"] == 4
    assert not recorder.of("validation")


@pytest.mark.parametrize("fail_at", [3, 20, 33, 47, 70])
def test_an_interrupted_fit_resumes_to_the_same_bytes(
    world: PlantedWorld, instance: Instance, tmp_path: Path, fail_at: int
) -> None:
    config = TrainingConfig(epochs=5, batch_size=16, learning_rate=0.05, log_every=3, schedule="cosine")
    whole = _Recorder()
    expected = train_featurizer(_start(), _task(instance), world, whole, config)
    engine = _WatchedEngine(world, fail_at)
    with pytest.raises(KeyboardInterrupt):
        train_featurizer(_start(), _task(instance), engine, _Recorder(tmp_path), config)
    resumed = _Recorder(tmp_path)
    again = _WatchedEngine(world)
    found = train_featurizer(_start(), _task(instance), again, resumed, config)
    assert _bytes(found) == _bytes(expected)
    assert resumed.rows == whole.rows
    assert resumed.passes == whole.passes
    assert whole.passes.back > 0
    uninterrupted = 5 * 15
    assert len(again.deviations) < uninterrupted or fail_at < 15


def test_a_finished_fit_is_not_run_again(world: PlantedWorld, instance: Instance, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=2, batch_size=50)
    first = train_featurizer(_start(), _task(instance), world, _Recorder(tmp_path), config)
    engine = _WatchedEngine(world)
    second = train_featurizer(_start(), _task(instance), engine, _Recorder(tmp_path), config)
    assert _bytes(first) == _bytes(second)
    assert not engine.deviations


def test_a_foreign_or_damaged_checkpoint_is_refused(
    world: PlantedWorld, instance: Instance, tmp_path: Path
) -> None:
    config = TrainingConfig(epochs=1, batch_size=50)
    train_featurizer(_start(), _task(instance), world, _Recorder(tmp_path), config)
    with pytest.raises(SuiteError, match=r"checkpoint of another fit .* remove .*checkpoint.json"):
        train_featurizer(_start(), _task(instance, identity="b"), world, _Recorder(tmp_path), config)
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(SuiteError, match="absent or damaged"):
        train_featurizer(_start(), _task(instance), world, _Recorder(tmp_path), config)


def _tampered(folder: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], object]) -> None:
    """Change a checkpoint and bring its hash up to date, so that only what it says can give it away."""
    header = json.loads((folder / "checkpoint.json").read_text())
    weights = folder / header["weights"]
    tensors = load(weights.read_bytes())
    change(header["progress"], tensors)
    weights.write_bytes(save(tensors))
    header["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "checkpoint.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda progress, tensors: tensors.pop("best.weight"), "tensors that do not fit"),
        (
            lambda progress, tensors: tensors.update({"trainable.weight": torch.ones(3)}),
            "tensors that do not",
        ),
        (
            lambda progress, tensors: tensors.update({"optimiser.x.step": torch.ones(())}),
            "tensors that do not",
        ),
        (
            lambda progress, tensors: tensors.update({"optimiser.0.exp_avg": torch.ones(3)}),
            "belongs to no parameter",
        ),
        (lambda progress, tensors: progress.pop("stale"), "counters of another version"),
        (lambda progress, tensors: progress.update(step="1"), "a whole number as 'step'"),
        (lambda progress, tensors: progress.update(rows=[3]), "as 'rows'"),
        (lambda progress, tensors: progress.update(epoch=-4), "a checkpoint after -4 epochs"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    world: PlantedWorld, instance: Instance, tmp_path: Path, change: Any, said: str
) -> None:
    config = TrainingConfig(epochs=1, batch_size=50)
    train_featurizer(_start(), _task(instance), world, _Recorder(tmp_path), config)
    _tampered(tmp_path, change)
    with pytest.raises(SuiteError, match=said):
        train_featurizer(_start(), _task(instance), world, _Recorder(tmp_path), config)


def test_checkpoints_hold_no_pickle_and_old_ones_go(
    world: PlantedWorld, instance: Instance, tmp_path: Path
) -> None:
    config = TrainingConfig(epochs=3, batch_size=50)
    train_featurizer(_start(), _task(instance), world, _Recorder(tmp_path), config)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-0003.safetensors",
        "checkpoint.json",
    ]


class _BrokenEngine(_WatchedEngine):
    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        return super().interchange_logits(pairs, site, featurizer) * float("nan")


def test_a_loss_that_is_not_finite_is_reported(world: PlantedWorld, instance: Instance) -> None:
    with pytest.raises(SuiteError, match="finite loss at training step 1; got nan"):
        train_featurizer(
            _start(), _task(instance), _BrokenEngine(world), SilentWorkspace(), TrainingConfig(epochs=1)
        )


def test_training_works_where_gradients_are_switched_off(world: PlantedWorld, instance: Instance) -> None:
    config = TrainingConfig(epochs=1, batch_size=50)
    expected = train_featurizer(_start(), _task(instance), world, SilentWorkspace(), config)
    with torch.no_grad():
        found = train_featurizer(_start(), _task(instance), world, SilentWorkspace(), config)
    assert _bytes(found) == _bytes(expected)


def test_the_process_random_state_is_neither_used_nor_touched(
    world: PlantedWorld, instance: Instance
) -> None:
    config = TrainingConfig(epochs=1, batch_size=50)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_featurizer(_start(), _task(instance), world, SilentWorkspace(), config)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert _bytes(train_featurizer(_start(), _task(instance), world, SilentWorkspace(), config)) == _bytes(
        first
    )


def test_attributes_of_the_planted_world() -> None:
    assert PlantedWorld(0, n_entities=60).instance(n_pairs=5, n_held_out=2).attributes == ATTRIBUTES
