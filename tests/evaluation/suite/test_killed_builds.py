"""The build inside a run is killed (SIGKILL) at several moments and goes on to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_world import World, suite_text
from cli_world import ravel as command
from same_bytes import bytes_in

import ravel.asking.answerer
import ravel.asking.kept_answers
import ravel.instance.instance
from das.engine import DirectEngine, EngineAnswerer
from das.engine.base.protocol import Engine
from das.models.load import load_target
from evaluation.records.lock import run_lock
from evaluation.records.run_folder import RunFolder
from evaluation.suite.execution.build_in_run import build_in_run
from ravel.asking.kept_answers import KeptAnswers, kept_folder
from ravel.building import BuildConfig
from ravel.facts.sources import open_tables
from ravel.facts.tables import Tables

CHUNK = 64
CONFIG = BuildConfig(
    match="reference",
    max_new_tokens=3,
    train_pairs=40,
    evaluation_pairs=24,
    keep_entities=16,
    keep_templates=3,
    flip_sample=4,
    allow_ignorance=True,
)
MOMENTS = ("first answer", "answers", "line half written", "kept answers", "alone", "saving", "saved")


def test_a_build_in_a_run_that_is_killed_at_any_moment_ends_in_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    program = f"import test_killed_builds as t; t.main({str(world.data)!r}, {str(world.model)!r})"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    whole = bytes_in(tmp_path / "whole")
    assert "instance/manifest.json" in whole
    asked = [int(n) for n in (tmp_path / "whole.asked").read_text().split()]
    assert len(asked) > 10
    for moment in MOMENTS:
        assert bytes_in(tmp_path / moment) == whole, moment
        again = sum(int(n) for n in (tmp_path / f"{moment}.asked").read_text().split()) - sum(asked)
        assert 0 <= again <= CHUNK, moment


def main(data: str, model: str) -> None:
    """Build without a kill and then once for each moment, in processes of their own. They are forked from
    one that has the model and a single thread."""
    tables, engine = open_tables(data, "invented_person"), DirectEngine(load_target(model))
    assert _process("whole", tables, engine, None) == 0
    for moment in MOMENTS:
        assert _process(moment, tables, engine, moment) == -signal.SIGKILL, moment
        assert _process(moment, tables, engine, None) == 0, moment


def _process(name: str, tables: Tables, engine: Engine, moment: str | None) -> int:
    if (pid := os.fork()) == 0:
        try:
            _build(Path(name), tables, engine, moment)
        except BaseException as error:
            sys.stderr.write(repr(error))
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _build(run: Path, tables: Tables, engine: Engine, moment: str | None) -> None:
    ravel.asking.answerer._CHUNK = CHUNK
    _count(run.with_name(f"{run.name}.asked"))
    if moment is not None:
        _arm(moment)
    build_in_run(RunFolder(run), lambda: tables, lambda: EngineAnswerer(engine), CONFIG)


def _count(path: Path) -> None:
    """Write down how many prompts each call of the model answered."""

    def counted(answered: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: EngineAnswerer, prompts: Sequence[Any], *given: Any) -> Any:
            answers = answered(self, prompts, *given)
            with path.open("a") as file:
                file.write(f"{len(prompts)}\n")
            return answers

        return call

    EngineAnswerer.complete = counted(EngineAnswerer.complete)  # type: ignore[method-assign]
    EngineAnswerer.go_on = counted(EngineAnswerer.go_on)  # type: ignore[method-assign]


def _arm(moment: str) -> None:
    """Let the process be killed at a moment."""

    def shot(*given: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def torn(path: Path, text: str) -> None:
        if path.stat().st_size > 3 * len(text):
            path.write_bytes(path.read_bytes() + text.encode()[: len(text) // 2])
            shot()
        append(path, text)

    append, complete = ravel.asking.kept_answers.append_text, EngineAnswerer.complete
    calls: list[int] = []

    def at(call: Callable[[Sequence[Any]], bool]) -> Callable[..., Any]:
        def counted(self: EngineAnswerer, prompts: Sequence[Any], *given: Any) -> Any:
            calls.append(len(prompts))
            return shot() if call(prompts) else complete(self, prompts, *given)

        return counted

    if moment == "first answer":
        EngineAnswerer.complete = at(lambda prompts: True)  # type: ignore[method-assign]
    elif moment == "answers":
        EngineAnswerer.complete = at(lambda prompts: len(calls) == 7)  # type: ignore[method-assign]
    elif moment == "alone":
        EngineAnswerer.complete = at(lambda prompts: len(prompts) == 1)  # type: ignore[method-assign]
    elif moment == "kept answers":
        EngineAnswerer.go_on = shot  # type: ignore[method-assign, assignment]
    elif moment == "line half written":
        ravel.asking.kept_answers.append_text = torn
    elif moment == "saving":
        ravel.instance.instance.write_json = shot
    else:
        KeptAnswers.finish = shot  # type: ignore[method-assign]


def test_a_run_that_was_killed_in_its_build_takes_the_answers_up_and_leaves_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CONFIG.model_dump(mode="json", exclude_unset=True)
    build = {"entity_type": "invented_person", "data": str(world.data), "settings": settings}
    suite = tmp_path / "suite.yaml"
    suite.write_text(suite_text(world, instance="", build=build))
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(ravel.asking.answerer, "_CHUNK", CHUNK)
        patched.setattr(EngineAnswerer, "go_on", _interrupted)
        assert command("run", suite, "--out", out).exit_code != 0
    assert kept_folder(out / "instance").is_dir()
    assert not (out / "instance").exists()
    monkeypatch.setattr(ravel.asking.answerer, "_CHUNK", CHUNK)
    done = command("run", suite, "--out", out)
    assert done.exit_code == 0, done.output
    assert "answers kept in" in done.stderr
    assert "WARNING: " in done.stderr
    assert not kept_folder(out / "instance").exists()


def _interrupted(*given: Any) -> None:
    raise KeyboardInterrupt


def test_two_builds_into_one_folder_are_refused_and_the_lock_leaves_nothing(
    world: World, tmp_path: Path
) -> None:
    out = tmp_path / "instance"
    build = (
        "build",
        "--model",
        world.model,
        "--entity-type",
        "invented_person",
        "--data",
        world.data,
        "--out",
        out,
    )
    with run_lock(kept_folder(out)):
        refused = command(*build)
    assert refused.exit_code == 2
    assert f"to be alone in {kept_folder(out)}" in " ".join(refused.output.split())
    assert not out.exists()
    assert not kept_folder(out).exists()
    settings = tmp_path / "build.yaml"
    settings.write_text(CONFIG.to_yaml())
    done = command(*build, "--config", settings)
    assert done.exit_code == 0, done.output
    assert (out / "manifest.json").is_file()
    assert not kept_folder(out).exists()
