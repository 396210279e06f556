"""A fit that is interrupted anywhere, within an epoch or between two, ends in the bytes of one that is not.

Every trained method, on a real engine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import save
from token_world import token_instance

from das.engine import ResumeEngine
from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import FeaturizedPairs
from das.featurizers import Featurizer
from das.methods.common.base import Problem, TrainedMethod
from das.methods.registry import METHODS
from das.models import TargetModel
from das.sites import Site
from das.training.workspace import SilentWorkspace

TRAINED = [method for method in METHODS if issubclass(method, TrainedMethod)]
SETTINGS = {"epochs": 2, "batch_size": 4, "learning_rate": 0.02, "log_every": 3}
INTERRUPTIONS = 3


class InterruptedEngine(ResumeEngine):
    """Stops at one call of `forced_labels`, as a killed process would; counts the calls."""

    calls = 0
    stop_at: int | None = None

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        return super().forced_labels(groups, site)


class Kept(SilentWorkspace):
    """A folder, and the rows of the log."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.rows: list[dict[str, float | int | str]] = []

    def log(self, row: dict[str, float | int | str]) -> None:
        self.rows.append(row)


@pytest.fixture(scope="module", params=TRAINED, ids=lambda method: method.name)
def method(request: pytest.FixtureRequest) -> TrainedMethod:
    made: type[TrainedMethod] = request.param
    return made(made.config_class.from_mapping(SETTINGS, origin="this test"))


def _fit(
    method: TrainedMethod, target: TargetModel, workspace: Kept, stop_at: int | None = None
) -> tuple[Featurizer, int]:
    engine = InterruptedEngine(target)
    engine.stop_at = stop_at
    problem = Problem(token_instance(target.fingerprint), "A", Site(1), 4, seed=5)
    return method.fit(problem, engine, workspace), engine.calls


def _bytes(featurizer: Featurizer) -> bytes:
    return save(dict(featurizer.state_dict()))


def test_a_fit_interrupted_at_any_step_ends_in_the_same_bytes(
    method: TrainedMethod, small_target: TargetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Kept()
    expected, calls = _fit(method, small_target, whole)
    stream = random.Random(f"{method.name} interrupted")
    # After the first epoch's first steps, so that there is something to go on from.
    stops = sorted(stream.sample(range(3, calls), INTERRUPTIONS))
    monkeypatch.setattr("das.training.loop._CHECKPOINT_SECONDS", 0.0)
    for stop in stops:
        folder = tmp_path / str(stop)
        folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            _fit(method, small_target, Kept(folder), stop)
        assert (folder / "checkpoint.json").is_file()
        resumed = Kept(folder)
        found, again = _fit(method, small_target, resumed)
        assert _bytes(found) == _bytes(expected)
        assert resumed.rows == whole.rows
        # The steps before were not done again, but for those of a validation that was cut off.
        assert again <= calls - stop + 4
    assert len(list(tmp_path.glob("*/*.safetensors"))) == INTERRUPTIONS
