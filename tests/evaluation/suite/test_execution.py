"""Serial and in processes the same bytes come out; what raises or dies is tried again, then left out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cli_world import SITE, World
from execution_world import carried_out, cell_ids, results, suite
from hypothesis import given
from hypothesis import strategies as st

from das.sites import Site
from evaluation.config.execution import ExecutionConfig
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.records.failures import read_failures
from evaluation.records.lock import LOCK_FILE, run_lock
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.report.tables.of_runs import tables_of_run
from evaluation.scoring.interchange.post_hoc import Derived
from evaluation.suite.execution.executors import gpus_of_workers, worker_count
from evaluation.suite.execution.jobs import FitJob
from evaluation.suite.execution.processes import ProcessExecutor
from evaluation.suite.execution.protocol import Job, JobError, JobResult
from evaluation.suite.execution.retrying import Failed, carry_out
from evaluation.suite.grid import Cell
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.common.errors import StorageError, SuiteError
from ravel.common.progress import Counted, Event, silent
from ravel.common.signals import uninterrupted


@pytest.mark.slow
def test_processes_give_the_bytes_of_serial_though_a_worker_is_killed(
    world: World, serial: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed from outside, while it reports from inside a fit: nothing is lost or doubled."""
    killed: list[int] = []
    pools: list[ProcessExecutor] = []
    begin = ProcessExecutor.submit

    def watched(self: ProcessExecutor, job: Job) -> None:
        pools.append(self)
        begin(self, job)

    monkeypatch.setattr(ProcessExecutor, "submit", watched)

    def progress(event: Event) -> None:
        fitting = isinstance(event, Counted) and event.stage.startswith("fit mdas")
        if fitting and not killed and pools[-1].pids():
            killed.append(pools[-1].pids()[0])
            os.kill(killed[0], signal.SIGKILL)

    config = suite(world, "processes")
    found = run_suite(RunRequest(config, tmp_path / "run", TargetConfig(model=config.model)), progress)
    assert killed
    assert not found.failures
    assert found.scores == serial.scores
    assert results(tmp_path / "run") == results(serial.folder)
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def failing(world: World, kind: str, name: str, marks: Path, **changes: object) -> dict[str, object]:
    """One cell that looks at vectors and one that fails."""
    fails = changes.pop("fails", 1)
    spec = {"name": name, "config": {"marks": str(marks), "fails": fails}}
    execution = {"kind": kind, "workers": 2, "threads": 2, "retries": 1}
    settings = {"methods": ["pca", spec], "attributes": ["Birthplace"], "sites": [SITE], "floors": False}
    return {**settings, "execution": execution, **changes}


def test_a_cell_that_raises_is_tried_again_and_then_left_out_while_the_rest_goes_on(
    world: World, tmp_path: Path
) -> None:
    settings = failing(world, "serial", "raising", tmp_path / "marks", fails=2)
    found = carried_out(suite(world, **settings), tmp_path / "run")
    assert [(f.method, f.attempts, f.stage) for f in found.failures] == [("raising", 2, "fit")]
    assert all("ZeroDivisionError: by nought" in f.error and "Traceback" in f.trace for f in found.failures)
    assert read_failures(tmp_path / "run") == list(found.failures)
    assert {r.method for r in found.scores} == {"pca"}
    (hole,) = [r for r in found.refusals if r.method == "raising"]
    assert "by nought" in hole.reason
    text = (tmp_path / "run" / "tables" / "main.md").read_text()
    assert "| raising | –" in text.replace("  ", " ")
    assert "Failed each time and left out, cells: 1." in text
    assert "by nought" in (tmp_path / "run" / "report.html").read_text()

    # The same command tries again, and this time nothing fails.
    again = carried_out(suite(world, **settings), tmp_path / "run")
    assert not again.failures
    assert not (tmp_path / "run" / "failures.jsonl").exists()
    assert "raising" in {r.method for r in again.scores}
    whole = failing(world, "serial", "raising", tmp_path / "marks", fails=2)
    assert results(tmp_path / "run") == results(carried_out(suite(world, **whole), tmp_path / "new").folder)


def test_one_attempt_that_raises_costs_nothing(world: World, tmp_path: Path) -> None:
    settings = failing(world, "serial", "raising", tmp_path / "marks", fails=1)
    found = carried_out(suite(world, **settings), tmp_path / "run")
    assert not found.failures
    attempts = [len(list(folder.iterdir())) for folder in (tmp_path / "marks").iterdir()]
    assert attempts == [2]


@pytest.mark.slow
def test_a_cell_that_kills_its_worker_each_time_fails_alone(world: World, tmp_path: Path) -> None:
    settings = failing(world, "processes", "dying", tmp_path / "marks", fails=99)
    found = carried_out(suite(world, **settings), tmp_path / "run")
    assert {(f.method, f.attempts) for f in found.failures} == {("dying", 2)}
    assert all("signal 9" in failure.error for failure in found.failures)
    assert len(cell_ids(tmp_path / "run")) == len({r.cell for r in found.scores})


def test_tables_without_failures_have_no_note_of_them(serial: RunSummary) -> None:
    tables = tables_of_run(RunRecords(RunFolder(serial.folder)), Derived())
    assert not any("Failed" in note for table in tables for note in table.notes)


# --- what is tried again


@dataclass
class Scripted:
    """An executor whose jobs end as a script says, by the names of their cells."""

    script: dict[str, list[str]]
    """For each cell what becomes of its attempts: `died`, `raised`, `mistake`; then it ends well."""
    waiting: list[Job] = field(default_factory=list)
    done: list[tuple[str, ...]] = field(default_factory=list)

    def submit(self, job: Job) -> None:
        self.waiting.append(job)

    def next(self) -> JobResult:
        job = self.waiting.pop(0)
        names = tuple(cell.cell_id for cell in job.cells)
        for name in names:
            if self.script.get(name):
                kind = self.script[name].pop(0)
                return JobResult(job, None, JobError(kind, f"{name} {kind}"), 0.0)  # type: ignore[arg-type]
        self.done.append(names)
        return JobResult(job, None, None, 0.0)

    def close(self) -> None:
        pass


def job_of(*names: str) -> FitJob:
    site = Site.parse("block_output.0@entity_last")
    return FitJob(tuple(Cell(name, "das", "{}", "A", site, 4, 0) for name in names), ("context_val",), ())


def tried(executor: Scripted, *jobs: FitJob, retries: int) -> list[Failed]:
    return carry_out(jobs, executor, retries=retries, progress=silent, ended=lambda end: None)


kinds = st.lists(st.sampled_from(["died", "raised", "mistake"]), max_size=5)


@given(st.dictionaries(st.sampled_from("abcdef"), kinds), st.integers(0, 3))
def test_every_cell_ends_once_well_or_failed(script: dict[str, list[str]], retries: int) -> None:
    executor = Scripted({name: list(ends) for name, ends in script.items()})
    failed = tried(executor, job_of("a", "b", "c"), job_of("d"), job_of("e", "f"), retries=retries)
    well = [name for names in executor.done for name in names]
    lost = [cell.cell_id for failure in failed for cell in failure.job.cells]
    assert sorted(well + lost) == list("abcdef")
    assert all(failure.attempts <= 2 * (1 + retries) for failure in failed)
    untroubled = {name for name in "abcdef" if not script.get(name)}
    assert untroubled <= set(well)


def test_a_bad_cell_takes_none_of_its_group_with_it() -> None:
    executor = Scripted({"b": ["raised"] * 9})
    (failure,) = tried(executor, job_of("a", "b", "c"), retries=2)
    assert [cell.cell_id for cell in failure.job.cells] == ["b"]
    assert failure.attempts == 3
    assert sorted(executor.done) == [("a",), ("c",)]


def test_a_death_leaves_the_group_together_until_chances_run_out() -> None:
    executor = Scripted({"b": ["died"]})
    assert tried(executor, job_of("a", "b"), retries=1) == []
    assert executor.done == [("a", "b")]
    executor = Scripted({"b": ["died"] * 9})
    (failure,) = tried(executor, job_of("a", "b"), retries=1)
    assert [cell.cell_id for cell in failure.job.cells] == ["b"]
    assert executor.done == [("a",)]


def test_a_mistake_is_not_tried_again() -> None:
    (failure,) = tried(Scripted({"a": ["mistake"] * 9}), job_of("a"), retries=5)
    assert failure.attempts == 1


def test_what_cannot_be_written_ends_the_run() -> None:
    with pytest.raises(StorageError):
        tried(Scripted({"a": ["storage"]}), job_of("a"), job_of("b"), retries=5)


# --- who works where


@given(st.integers(0, 9), st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0]))
def test_no_gpu_is_given_to_more_workers_than_it_has_room_for(count: int, each: float) -> None:
    workers = gpus_of_workers([str(index) for index in range(count)], each)
    for gpu in map(str, range(count)):
        assert sum(gpu in gpus for gpus in workers) <= max(1, int(1 / each))
    assert all(len(gpus) >= each for gpus in workers)
    assert len(workers) == (count * int(1 / each) if each < 1 else count // -int(-each // 1))


def test_no_more_workers_than_memory_has_room_for() -> None:
    assert worker_count(ExecutionConfig(workers=3), 8) == 3
    assert worker_count(ExecutionConfig(), 8) == 8
    assert worker_count(ExecutionConfig(memory="1KiB", workers=5), 8) == 5
    with pytest.raises(SuiteError, match="free memory for one worker"):
        worker_count(ExecutionConfig(memory="900TiB"), 8)


# --- one process at a time

HOLDER = """
import sys, time
from pathlib import Path
from evaluation.records.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_by_name_and_let_in_after_a_kill(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with (
        pytest.raises(SuiteError, match=f"process {holder.pid} on .* works on it"),
        run_lock(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "run" / LOCK_FILE).exists()
    holder.kill()
    holder.wait()
    with run_lock(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK_FILE).exists()
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with run_lock(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()


def test_a_second_run_in_a_folder_is_refused_and_writes_nothing(
    world: World, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(SuiteError, match="works on it"):
        carried_out(suite(world), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_FILE]


# --- interruptions


def test_an_interruption_waits_for_the_write_in_hand() -> None:
    done: list[str] = []

    def write() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append("written")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["written"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


STOPPED = """
import os, signal, sys
from evaluation.cli import main
from evaluation.suite.execution import serial

do_job = serial.do_job
def stopped(state, job, progress):
    if job.cells:
        os.kill(os.getpid(), signal.SIGTERM)
    return do_job(state, job, progress)

serial.do_job = stopped
main(sys.argv[1:])
"""


def test_a_run_that_is_told_to_stop_says_how_to_go_on(world: World, tmp_path: Path) -> None:
    """SIGTERM, as a queue sends it; what Ctrl-C leaves is tested where the commands are."""
    (tmp_path / "suite.yaml").write_text(suite(world).to_yaml())
    command = ["run", str(tmp_path / "suite.yaml"), "--out", str(tmp_path / "run")]
    stopped = subprocess.run([sys.executable, "-c", STOPPED, *command], capture_output=True, text=True)
    assert stopped.returncode == 130
    assert "Interrupted. Finished cells are kept" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "run" / LOCK_FILE).exists()


@pytest.mark.parametrize("name", ["first-suite.yaml", "small-suite.yaml"])
def test_the_examples_are_suites_of_two_methods_attributes_and_sites(name: str) -> None:
    found = SuiteConfig.from_file(Path(__file__).resolve().parents[3] / "examples" / name)
    assert found.build is not None
    assert len(found.build.settings["attributes"]) == len(found.methods) == len(found.sites) == 2
    assert found.model == "bundled"


def test_a_suite_names_an_instance_or_a_build_and_not_both(world: World, tmp_path: Path) -> None:
    for changes in ({"instance": ""}, {"build": {"entity_type": "city"}}):
        with pytest.raises(SuiteError, match="names an `instance` or says how to `build` one"):
            carried_out(suite(world, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
