"""A run told to a tracker: curves while it goes on, averages at the end, and nothing lost if it fails."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cli_world import World, ravel, suite_text

from evaluation.exchange.logged import logged_run
from evaluation.exchange.trackers import TRACKERS
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import read_averages
from ravel.common.errors import SuiteError
from ravel.common.progress import Event, Finished, Note, silent

MODULES = {name: TRACKERS.get(name).module for name in TRACKERS.names()}


class StandIn(ModuleType):
    """Takes what any of the three packages takes, and keeps it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.began: dict[str, Any] = {}
        self.rows: list[tuple[dict[str, float], int | None]] = []
        self.summary: dict[str, float] = {}
        self.steps_of: dict[str, str] = {}
        self.closed = 0

    def init(self, **settings: Any) -> StandIn:
        self.began = settings
        return self

    def SummaryWriter(self, log_dir: str) -> SimpleNamespace:  # noqa: N802
        self.began = {"log_dir": log_dir}
        return SimpleNamespace(
            add_scalar=lambda name, value, step: self.rows.append(({name: value}, step)),
            add_text=lambda name, text: self.began.update({name: text}),
            close=self.finish,
        )

    def define_metric(self, name: str, step_metric: str) -> None:
        self.steps_of[name] = step_metric

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((dict(values), step))

    def finish(self) -> None:
        self.closed += 1

    def named(self) -> dict[str, float]:
        """Everything that was written, by name, the last of each."""
        return {name: value for row, _ in self.rows for name, value in row.items()} | self.summary


@pytest.fixture
def stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn(MODULES[request.param])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was told to a stand-in of wandb on its way; what that got is kept beside it."""
    out, suite = tmp_path_factory.mktemp("logged") / "run", tmp_path_factory.mktemp("suite") / "suite.yaml"
    suite.write_text(suite_text(world), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        module = StandIn("wandb")
        patch.setitem(sys.modules, "wandb", module)
        done = ravel("run", suite, "--out", out, "--log", "wandb")
    assert done.exit_code == 0, done.output
    assert module.closed == 1
    assert module.began["name"] == "run"
    assert module.began["config"]["sizes"] == [4]
    assert module.steps_of
    check(module.named(), out)
    return out


def check(written: Mapping[str, float], run: Path) -> None:
    """Hold what a tracker got against the folder."""
    for record in read_averages(RunFolder(run).averages):
        if record.scope == "macro" and record.source_kind == "all" and record.method == "das":
            name = f"das/{record.generalisation}_{record.partition}/disentangle"
            assert written[name] == record.value("disentangle")
    assert any(name.endswith("/train/loss") and "das" in name for name in written)
    assert any(name.endswith("/validation/cause_accuracy") for name in written)


@pytest.mark.parametrize(("stand_in", "name"), [(n, n) for n in MODULES], indirect=["stand_in"])
def test_every_tracker_gets_curves_and_averages(finished: Path, stand_in: StandIn, name: str) -> None:
    before = sorted(path for path in finished.rglob("*"))
    with logged_run(name, finished, {"sizes": [4]}, silent):
        assert stand_in.rows == []
    check(stand_in.named(), finished)
    assert stand_in.closed == 1
    assert sorted(path for path in finished.rglob("*")) == before
    if name == "tensorboard":
        assert stand_in.began["log_dir"] == str(finished.with_name("run.tensorboard"))


@pytest.mark.parametrize("stand_in", ["trackio"], indirect=True)
def test_each_cell_is_told_once_and_while_the_run_goes_on(finished: Path, stand_in: StandIn) -> None:
    heard: list[Event] = []
    with logged_run("trackio", finished, {}, heard.append) as progress:
        progress(Finished("a cell", 1.0, 1, 2))
        first = len(stand_in.rows)
        progress(Finished("another", 1.0, 2, 2))
        assert len(stand_in.rows) == first > 0
    assert len(heard) == 2
    assert len(stand_in.rows) == first + 1


@pytest.mark.parametrize("stand_in", ["trackio"], indirect=True)
def test_a_tracker_that_fails_costs_a_note_and_nothing_else(
    finished: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: object, **settings: object) -> None:
        raise OSError("the network is gone")

    monkeypatch.setattr(stand_in, "log", gone)
    heard: list[Event] = []
    with logged_run("trackio", finished, {}, heard.append) as progress:
        for done in (1, 2):
            progress(Finished("a cell", 1.0, done, 2))
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert notes == ["--log trackio ends here: OSError: the network is gone"]


@pytest.mark.parametrize("name", MODULES)
def test_an_absent_package_is_a_paragraph_before_anything_runs(
    world: World, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[name], None)
    suite = tmp_path / "suite.yaml"
    suite.write_text(suite_text(world), encoding="utf-8")
    done = ravel("run", suite, "--out", tmp_path / "run", "--log", name)
    assert done.exit_code == 2
    assert f"pip install {name}" in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stand_in", ["wandb"], indirect=True)
def test_a_tracker_that_can_not_begin_and_an_unknown_one_are_refused(
    tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "init", lambda **settings: 1 / 0)
    with pytest.raises(SuiteError, match="ZeroDivisionError"), logged_run("wandb", tmp_path, {}, silent):
        pass
    with pytest.raises(SuiteError, match="did you mean 'wandb'"), logged_run("wandbb", tmp_path, {}, silent):
        pass
