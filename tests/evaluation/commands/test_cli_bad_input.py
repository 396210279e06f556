"""Every bad input gets one paragraph on standard error, exit code 2, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_world import (
    ATTRIBUTES,
    FAST,
    SITE,
    World,
    build_args,
    fit_args,
    ravel,
    score_args,
    suite_text,
    write_lines,
)

import evaluation.suite.execution.build_in_run
import evaluation.suite.folders
from das.engine import DirectEngine
from das.engine.resuming.state_runner import StateRunner

Arguments = Callable[[World, Path], list[object]]


@dataclass(frozen=True)
class Case:
    """A command that must be refused, and words of the paragraph."""

    name: str
    """Id of the test."""
    args: Arguments
    """Makes the arguments; may put files into the given folder."""
    words: tuple[str, ...]
    """All of these stand in the paragraph."""


def replaced(args: list[object], flag: object, value: object) -> list[object]:
    """The arguments with another value behind a flag."""
    at = args.index(flag) + 1
    return [*args[:at], value, *args[at + 1 :]]


def building(flag: str, value: object) -> Arguments:
    return lambda world, folder: replaced(build_args(world, folder / "out"), flag, value)


def fitting(method: str = "das", **flags: object) -> Arguments:
    def args(world: World, folder: Path) -> list[object]:
        made = fit_args(world, folder / "out", method)
        for name, value in flags.items():
            made = replaced(made, f"--{name}", value)
        return made

    return args


def building_from(rows: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None]) -> Arguments:
    """Build from a copy of the data that `rows` has changed: it gets entities and templates."""

    def args(world: World, folder: Path) -> list[object]:
        data = folder / "data"
        data.mkdir()
        tables = []
        for name in ("entities.jsonl", "templates.jsonl"):
            tables.append([json.loads(line) for line in (world.data / name).read_text().splitlines()])
        rows(*tables)
        write_lines(data / "entities.jsonl", tables[0])
        write_lines(data / "templates.jsonl", tables[1])
        return replaced(build_args(world, folder / "out"), "--data", data)

    return args


def with_file(name: str, content: bytes) -> Arguments:
    """Build from a copy of the data in which one file has other bytes."""

    def args(world: World, folder: Path) -> list[object]:
        shutil.copytree(world.data, folder / "data")
        (folder / "data" / name).write_bytes(content)
        return replaced(build_args(world, folder / "out"), "--data", folder / "data")

    return args


def template_text(text: str) -> Arguments:
    def change(entities: list[dict[str, Any]], templates: list[dict[str, Any]]) -> None:
        templates[2]["template"] = text

    return building_from(change)


def without_values(entities: list[dict[str, Any]], templates: list[dict[str, Any]]) -> None:
    entities[4]["values"] = {}


def unknown_answers(entities: list[dict[str, Any]], templates: list[dict[str, Any]]) -> None:
    for row in entities:
        row["values"] = dict.fromkeys(ATTRIBUTES, "no model says this")


def strictly(make: Arguments) -> Arguments:
    return lambda world, folder: replaced(make(world, folder), "--match", "strict")


def running(**changes: object) -> Arguments:
    def args(world: World, folder: Path) -> list[object]:
        (folder / "suite.yaml").write_text(suite_text(world, **changes))
        return ["run", folder / "suite.yaml", "--out", folder / "out"]

    return args


def suite_of(text: str) -> Arguments:
    def args(world: World, folder: Path) -> list[object]:
        (folder / "suite.yaml").write_text(text)
        return ["run", folder / "suite.yaml", "--out", folder / "out"]

    return args


def occupied(make: Arguments) -> Arguments:
    """The output folder holds something already."""

    def args(world: World, folder: Path) -> list[object]:
        (folder / "out").mkdir()
        (folder / "out" / "mine.txt").write_text("mine")
        return make(world, folder)

    return args


def below_a_file(make: Arguments) -> Arguments:
    """The output folder would lie inside a file, so it can't be made."""

    def args(world: World, folder: Path) -> list[object]:
        (folder / "file").write_text("")
        return replaced(make(world, folder), "--out", folder / "file" / "out")

    return args


CASES = [
    # Names
    Case("unknown model", building("--model", "/no/such/model"), ("model", "/no/such/model", "no folder")),
    Case("unknown hub model", building("--model", "nobody/no-such-model"), ("nobody/no-such-model",)),
    Case("unknown dtype", lambda w, f: [*build_args(w, f / "out"), "--dtype", "float31"], ("float32",)),
    Case(
        "unknown device", lambda w, f: [*build_args(w, f / "out"), "--device", "gpu"], ("'gpu'", "--device")
    ),
    Case(
        "unknown engine",
        lambda w, f: [*build_args(w, f / "out"), "--engine", "fast"],
        ("direct", "reference"),
    ),
    Case("unknown type", building("--entity-type", "citty"), ("did you mean 'city'?",)),
    Case("unknown type to show", lambda w, f: ["data", "show", "citty"], ("did you mean 'city'?",)),
    Case(
        "unknown attribute to build",
        lambda w, f: [*build_args(w, f / "out"), "--attribute", "Profesion"],
        ("did you mean 'Profession'?",),
    ),
    Case("unknown attribute to fit", fitting(attribute="Birthplce"), ("did you mean 'Birthplace'?",)),
    Case("unknown method", fitting("mdsa"), ("did you mean 'mdas'",)),
    Case(
        "unknown split",
        lambda w, f: ["score", f, "--instance", w.instance, "--split", "contxt"],
        ("did you mean 'context'",),
    ),
    Case("unknown partition", lambda w, f: [*score_args(w, f), "--partition", "train"], ("val",)),
    Case("unknown table format", lambda w, f: ["table", f, "--format", "xlsx"], ("markdown",)),
    Case(
        "instance that is a file",
        lambda w, f: replaced(fit_args(w, f / "out", "no_op"), "--instance", w.instance / "manifest.json"),
        ("manifest.json", "check the path"),
    ),
    # Sites and sizes
    Case("no site", fitting(site="layer3"), ("stream.layer@position", "'layer3'")),
    Case("unknown stream", fitting(site="block_outptu.1@entity_last"), ("did you mean 'block_output'",)),
    Case("unknown position", fitting(site="block_output.1@entity_first"), ("entity_last", "prompt_last")),
    Case(
        "layer out of range", fitting(site="block_output.4@entity_last"), ("a layer from 0 to 3", "layer 4")
    ),
    Case("size beyond the width", fitting(dim=33), ("1 to 32", "33")),
    Case("size 0", fitting(dim=0), ("--dim",)),
    Case("no size", lambda w, f: fit_args(w, f / "out", "das")[:-2], ("--dim",)),
    Case(
        "no attribute",
        lambda w, f: [*fit_args(w, f / "out", "no_op")[:1], "das", *fit_args(w, f / "out", "no_op")[2:]],
        ("--attribute",),
    ),
    # Data
    Case("template without a slot", template_text("no slot here"), ("%s exactly once", "line 3 of", "no %s")),
    Case(
        "template with two slots", template_text("%s and %s"), ("%s exactly once", "line 3 of", "2 of them")
    ),
    Case(
        "malformed JSON Lines", with_file("entities.jsonl", b'{"entity": "A"}\n{"entity"\n'), ("line 1 of",)
    ),
    Case("a broken line", with_file("templates.jsonl", b'{"attribute"\n'), ("line 1 of", "one JSON object")),
    Case(
        "non-UTF-8",
        with_file("entities.jsonl", b'{"entity": "M\xfcnchen"}\n'),
        ("UTF-8", "0xfc", "offset 13"),
    ),
    Case("an entity without values", building_from(without_values), ("values for", "line 5 of", "none")),
    Case(
        "undeclared attribute",
        building_from(lambda e, t: t[0].update(attribute="Profesion")),
        ("did you mean 'Profession'?", "line 1 of"),
    ),
    Case(
        "nothing known",
        strictly(building_from(unknown_answers)),
        ("100 of 100 entities", "Birthplace 0 of", "Profession 0 of"),
    ),
    Case(
        "no release there",
        lambda w, f: ["data", "import", f / "none", "--entity-type", "verb", "--out", f / "out"],
        ("release",),
    ),
    Case(
        "not an archive",
        lambda w, f: [
            "data",
            "import",
            w.data / "entities.jsonl",
            "--entity-type",
            "verb",
            "--out",
            f / "out",
        ],
        ("an archive of the release", "entities.jsonl", "single file that is no archive"),
    ),
    Case("not a bundled type", lambda w, f: ["data", "audit", "verb"], ("--data",)),
    # Configs
    Case(
        "build setting below 1",
        lambda w, f: [*build_args(w, f / "out"), "--keep-entities", 0],
        ("keep_entities",),
    ),
    Case("unknown suite key", running(metods=["das"]), ("'metods'", "did you mean 'methods'?", "suite.yaml")),
    Case(
        "unknown method setting",
        running(methods=[{"name": "das", "config": {"epoch": 1}}]),
        ("'epoch'", "did you mean 'epochs'?"),
    ),
    Case("suite that is no mapping", suite_of("- das\n"), ("a mapping", "suite.yaml")),
    Case("suite that is no YAML", suite_of("methods: [das\n"), ("YAML", "suite.yaml")),
    Case("no suite", lambda w, f: ["run", f / "none.yaml"], ("none.yaml", "nothing there")),
    Case("unknown suite attribute", running(attributes=["Birthplce"]), ("did you mean 'Birthplace'?",)),
    Case("suite with a layer out of range", running(sites=["block_output.9@entity_last"]), ("0 to 3",)),
    Case("suite with a size beyond the width", running(sizes=[4, 64]), ("1 to 32", "64")),
    Case("suite of no instance", running(instance="/no/such/instance"), ("/no/such/instance",)),
    Case("nothing to resume", lambda w, f: [*running()(w, f), "--resume"], ("config.yaml", "--resume")),
    # Fingerprints
    Case(
        "fit with another model",
        lambda w, f: [*fit_args(w, f / "out"), "--model", w.other_model],
        ("gave the instance's labels",),
    ),
    Case(
        "run with another model",
        lambda w, f: running(model=str(w.other_model))(w, f),
        ("gave the instance's labels",),
    ),
    # Folders
    Case("build into a used folder", occupied(lambda w, f: build_args(w, f / "out")), ("empty", "--out")),
    Case("fit into a used folder", occupied(fitting()), ("empty", "--out")),
    Case("run into a used folder", occupied(running()), ("config.yaml", "--out")),
    Case(
        "export into a used folder",
        occupied(lambda w, f: ["data", "export", "city", "--out", f / "out"]),
        ("empty", "--out"),
    ),
    Case("build below a file", below_a_file(lambda w, f: build_args(w, f / "out")), ("write", "is a file")),
    Case("fit below a file", below_a_file(fitting()), ("write", "is a file")),
    Case("run below a file", below_a_file(running()), ("folder", "file")),
    Case("verify nothing", lambda w, f: ["verify", f / "none"], ("no folder there",)),
    Case("verify something else", lambda w, f: ["verify", w.data], ("manifest.json",)),
    Case("table of nothing", lambda w, f: ["table", f], ("a run in",)),
    Case("plot of nothing", lambda w, f: ["plot", f], ("a run in",)),
    Case("score nothing", lambda w, f: score_args(w, f / "none"), ("featurizer.json",)),
]


def refuse(args: list[object], words: tuple[str, ...], folder: Path) -> str:
    """Run, expect a refusal that leaves `folder` as it is, and return the paragraph."""
    before = listing(folder)
    done = ravel(*args)
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    (paragraph,) = paragraphs_of(done.stderr)
    assert "Traceback" not in paragraph
    assert paragraph.startswith("Expected ")
    for word in words:
        assert word in paragraph
    assert listing(folder) == before
    return paragraph


def paragraphs_of(stderr: str) -> list[str]:
    """What was said, without what a run tells of itself before it can know of a mistake."""
    return [line for line in stderr.splitlines() if not line.startswith(("cache: ", "opening "))]


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_in_one_paragraph(case: Case, world: World, tmp_path: Path) -> None:
    refuse(case.args(world, tmp_path), case.words, tmp_path)


@pytest.fixture(scope="module")
def featurizer(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained featurizer."""
    root = tmp_path_factory.mktemp("fit")
    (root / "das.yaml").write_text(json.dumps(FAST))
    done = ravel(*fit_args(world, root / "f", "das"), "--config", root / "das.yaml")
    assert done.exit_code == 0, done.output
    return root / "f"


def truncate(folder: Path) -> None:
    path = folder / "featurizer.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def make_foreign(folder: Path) -> None:
    (folder / "featurizer.safetensors").write_bytes(b"PK\x03\x04 a zip file of somebody else")


def cut_header(folder: Path) -> None:
    path = folder / "featurizer.json"
    path.write_text(path.read_text()[:40])


@pytest.mark.parametrize("damage", [truncate, make_foreign, cut_header])
def test_damaged_featurizers_are_refused(
    damage: Callable[[Path], None], world: World, featurizer: Path, tmp_path: Path
) -> None:
    shutil.copytree(featurizer, tmp_path / "f")
    damage(tmp_path / "f")
    refuse(score_args(world, tmp_path / "f"), (str(tmp_path / "f"),), tmp_path)
    checked = ravel("verify", tmp_path / "f")
    assert checked.exit_code == 2
    assert checked.stderr.startswith("Expected ")


def test_a_featurizer_of_another_instance_or_model_needs_permission(
    world: World, featurizer: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert ravel(*build_args(world, other), "--seed", 5).exit_code == 0
    foreign = replaced(score_args(world, featurizer), "--instance", other)
    refuse(foreign, ("instance", "--allow-foreign"), tmp_path)
    assert ravel(*foreign, "--allow-foreign").exit_code == 0

    other_model = [*score_args(world, featurizer), "--model", world.other_model]
    refuse(other_model, ("the model that gave the instance's labels", "weights", "--allow-foreign"), tmp_path)
    assert ravel(*other_model, "--allow-foreign").exit_code == 0


def test_a_changed_instance_is_refused_and_verify_says_where(world: World, tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    shutil.copytree(world.instance, instance)
    prompts = instance / "prompts.jsonl"
    prompts.write_text(prompts.read_text().replace("Birthplace", "Birthplane", 1))
    args = replaced(fit_args(world, tmp_path / "out"), "--instance", instance)
    refuse(args, ("prompts.jsonl", "hash"), tmp_path)
    checked = ravel("verify", instance)
    assert (checked.exit_code, "prompts.jsonl" in checked.stderr) == (2, True)


def test_a_run_folder_of_another_config_is_left_alone(world: World, tmp_path: Path) -> None:
    small = {"methods": ["no_op"], "floors": False}
    assert ravel(*running(**small)(world, tmp_path)).exit_code == 0
    paragraph_words = ("label_tokens 2 where the run has 3", "--out")
    refuse_after = running(**small, label_tokens=2)(world, tmp_path)
    refuse(refuse_after, paragraph_words, tmp_path)


def test_an_edited_score_is_found_by_verify(world: World, tmp_path: Path) -> None:
    assert ravel(*running(methods=["no_op"], floors=False)(world, tmp_path)).exit_code == 0
    scores = tmp_path / "out" / "scores.jsonl"
    scores.write_text(scores.read_text().replace('"cause": 0.0', '"cause": 0.9', 1))
    checked = ravel("verify", tmp_path / "out")
    assert checked.exit_code == 2
    assert "the outcomes give 0.0" in checked.stderr


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")])
@pytest.mark.parametrize("command", ["build", "fit", "score", "run"])
def test_out_of_memory_says_which_flag_lowers_the_need(
    command: str,
    error: Exception,
    world: World,
    featurizer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = {
        "build": lambda: build_args(world, tmp_path / "out"),
        "fit": lambda: fitting()(world, tmp_path),
        "score": lambda: score_args(world, featurizer),
        "run": lambda: running()(world, tmp_path),
    }[command]()

    def full(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(DirectEngine, "complete", full)
    monkeypatch.setattr(StateRunner, "fill", full)
    done = ravel(*args)
    assert done.exit_code == 2
    paragraphs = paragraphs_of(done.stderr)
    assert "--batch-tokens" in paragraphs[-1]
    # A run tells of each cell that failed before it says that none is left.
    assert len(paragraphs) == 1 or command == "run"
    assert "Traceback" not in done.stderr
    unfinished = "cell.json" if command == "run" else "featurizer.json"
    assert not list((tmp_path / "out").glob(f"**/{unfinished}"))


@pytest.mark.parametrize("command", ["build", "fit"])
def test_no_write_permission(
    command: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, whom no permission bit stops.
    monkeypatch.setattr("ravel.common.folders.os.access", lambda path, mode: mode == os.R_OK)
    args = {"build": build_args(world, tmp_path / "out"), "fit": fit_args(world, tmp_path / "out")}[command]
    refuse(args, ("no permission to write in", "--out"), tmp_path)


def test_a_folder_that_may_not_even_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    done = ravel("data", "export", "city", "--out", tmp_path / "closed" / "out")
    assert done.exit_code == 2
    assert f"permission to use {tmp_path}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ravel.common.durable.os.fsync", fail)
    args: list[object] = ["data", "export", "city", "--format", "jsonl", "--out", tmp_path / "out"]
    refuse(args, ("No space left on device",), tmp_path)


@pytest.mark.parametrize("command", ["build", "score"])
def test_interrupted_before_anything_is_written(
    command: str, world: World, featurizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation.suite.execution.build_in_run, "build_instance", stop)
    monkeypatch.setattr(evaluation.suite.folders, "score_featurizer", stop)
    args = {"build": build_args(world, tmp_path / "out"), "score": score_args(world, featurizer)}[command]
    done = ravel(*args)
    assert done.exit_code == 130
    assert done.stderr.startswith("Interrupted. Nothing was written")
    assert len(done.stderr.splitlines()) == 1
    assert listing(tmp_path) == {}


def test_wrong_usage_exits_with_2() -> None:
    for args in (
        ["fit"],
        ["no-such-command"],
        ["table", "--no-such-flag"],
        ["score", "f", "--instance", "i"],
    ):
        assert ravel(*args).exit_code == 2


def test_the_site_of_these_tests_exists(world: World, tmp_path: Path) -> None:
    assert ravel(*fitting("no_op", site=SITE)(world, tmp_path)).exit_code == 0
