"""The command line from facts to a table on a miniature: what it prints and leaves, and that it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_world import SITE, World, build_args, fit_args, ravel, score_args, suite_text
from same_bytes import bytes_in

import evaluation.suite.cells.fit
import evaluation.suite.execution.build_in_run
from das.models import FAMILIES
from evaluation import api
from evaluation.records.scores import read_scores
from evaluation.suite.cells.fit import run_cells
from ravel.common.errors import SuiteError

COMMANDS = [
    *(["demo"], ["build"], ["fit"], ["score"], ["run"], ["table"], ["plot"], ["verify"]),
    *(["share"], ["knowledge"]),
    *(["data", name] for name in ("list", "show", "audit", "import", "export")),
    *(["list", name] for name in ("methods", "models", "entity-types")),
]
QUICK = [
    *(["--help"], ["run", "--help"], ["data", "list"], ["planted", "list"]),
    *(["list", name] for name in ("methods", "tracks", "models", "entity-types")),
    *(["list", name] for name in ("controls", "presets", "tasks")),
]
"""Commands that only say what there is: nobody should wait for torch there."""
Rows = Callable[[], list[dict[str, Any]]]
SCORE_FIELDS = {
    *("schema_version", "cell", "method", "entity_type", "attribute", "model", "site", "size", "seed"),
    *("generalisation", "partition", "cause", "isolate", "disentangle", "n_cause", "n_isolate"),
    *("cause_interval", "isolate_interval", "disentangle_interval", "chosen", "source_kind"),
}


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of five cells."""
    root = tmp_path_factory.mktemp("runs")
    (root / "suite.yaml").write_text(suite_text(world))
    done = ravel("run", root / "suite.yaml", "--out", root / "run")
    assert done.exit_code == 0, done.output
    return root / "run"


def loaded(*args: object) -> Any:
    """Run with --json; standard output must be JSON and nothing else."""
    done = ravel(*args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_a_command_does_with_one_example(command: list[str]) -> None:
    done = ravel(*command, "--help")
    assert done.exit_code == 0
    assert f"Example: ravel {' '.join(command)}" in " ".join(done.stdout.split())


def test_version() -> None:
    assert ravel("--version").stdout.startswith("ravel-bench ")


@pytest.mark.parametrize("args", QUICK, ids=" ".join)
def test_starts_without_torch(args: list[str]) -> None:
    code = (
        "import sys\nfrom evaluation.cli import main\n"
        f"try:\n    main({args!r})\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "slow = {'torch', 'transformers', 'pandas', 'matplotlib', 'datasets'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_build_gives_equal_bytes_for_equal_seeds(world: World, tmp_path: Path) -> None:
    summary = loaded(*build_args(world, tmp_path / "again"))
    assert bytes_in(tmp_path / "again") == bytes_in(world.instance)
    assert set(summary["pairs"]) == {
        "train",
        *(f"{g}_{p}" for g in ("context", "entity", "entity_context") for p in ("val", "test")),
    }
    other = loaded(*build_args(world, tmp_path / "other"), "--seed", 1)
    assert other["fingerprint"] != summary["fingerprint"]


def test_build_flags_override_the_config_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "build.yaml").write_text("train_pairs: 10\nevaluation_pairs: 6\nmax_new_tokens: 2\n")
    summary = loaded(
        *build_args(world, tmp_path / "out")[:-2],
        "--config",
        tmp_path / "build.yaml",
        "--out",
        tmp_path / "out",
    )
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["config"]["train_pairs"] == 60
    assert manifest["config"]["max_new_tokens"] == 3
    assert summary["out"] == str(tmp_path / "out")


def test_doing_nothing_scores_cause_0_and_isolate_1(world: World, tmp_path: Path) -> None:
    header = loaded(*fit_args(world, tmp_path / "f"))
    assert (header["method"], header["attribute"], header["site"]) == ("no_op", "*", SITE)
    lines = ravel(*score_args(world, tmp_path / "f"), "--json").stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert [set(record) for record in records] == [SCORE_FIELDS] * 2
    for record in records:
        assert (record["cause"], record["isolate"], record["disentangle"]) == (0, 1, 0.5)
        assert record["n_cause"] > 0


def test_fit_alone_gives_the_same_featurizer_as_the_run(world: World, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "das.yaml").write_text(yaml.safe_dump(json.loads(suite_text(world))["methods"][0]["config"]))
    done = ravel(*fit_args(world, tmp_path / "f", "das"), "--config", tmp_path / "das.yaml")
    assert done.exit_code == 0, done.output
    cell = json.loads((tmp_path / "f" / "cell.json").read_text())["cell"]
    for name in ("featurizer.safetensors", "train_log.jsonl", "cell.json"):
        assert (tmp_path / "f" / name).read_bytes() == (finished / "cells" / cell / name).read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []

    # The bootstrap's draws are those of the run too, so the record is the same but for its mark.
    args = [*score_args(world, tmp_path / "f"), "--partition", "val", "--json"]
    alone = json.loads(ravel(*args).stdout)
    of_run = [r for r in read_scores(finished / "scores.jsonl") if r.cell == cell]
    (same,) = [r for r in of_run if (r.generalisation, r.partition) == ("context", "val")]
    assert alone == {**json.loads(json.dumps(same.to_json())), "chosen": False}


def test_run_again_changes_no_byte(world: World, finished: Path) -> None:
    before = bytes_in(finished)
    summary = loaded("run", finished.parent / "suite.yaml", "--out", finished, "--resume")
    assert bytes_in(finished) == before
    assert {record["method"] for record in summary["averages"]} == {
        "das",
        "no_op",
        "full_vector",
        "random_subspace",
    }
    assert all(Path(path).exists() for path in summary["files"].values())


def test_plan_tells_what_is_finished(world: World, finished: Path) -> None:
    (finished.parent / "more.yaml").write_text(suite_text(world, seeds=[0, 1]))
    planned = loaded("run", finished.parent / "more.yaml", "--out", finished, "--plan")
    assert planned["estimate"]["cells"] == 3
    assert planned["estimate"]["seconds"] > 0
    assert planned["estimate"]["memory"] > 0
    cells = planned["cells"]
    by_seed = {seed: [cell["finished"] for cell in cells if cell["seed"] == seed] for seed in (0, 1)}
    assert by_seed == {0: [True] * 5, 1: [False] * 3}


@pytest.mark.parametrize("style", ["markdown", "latex", "csv"])
@pytest.mark.parametrize("name", ["main", "attributes"])
def test_table_prints_what_the_run_wrote(finished: Path, style: str, name: str) -> None:
    suffix = {"markdown": "md", "latex": "tex", "csv": "csv"}[style]
    shown = ravel("table", finished, "--format", style, "--table", name).stdout
    written = (finished / "tables" / f"{name}.{suffix}").read_text()
    # The run does not know the name of its folder; whoever prints tables of several runs needs it in labels.
    assert shown == written.replace("\\label{tab:", f"\\label{{tab:{finished.name}-")


def test_table_as_json_has_every_row(finished: Path) -> None:
    table = loaded("table", finished)
    assert [row["label"] for row in table["rows"]] == ["das", "no_op", "full_vector", "random_subspace"]


def test_plot_writes_pictures(finished: Path, tmp_path: Path) -> None:
    paths = loaded("plot", finished, "--out", tmp_path)
    assert {Path(path).suffix for path in paths} == {".png", ".svg", ".pdf"}
    assert all(Path(path).stat().st_size > 1000 for path in paths)


def test_verify_finds_nothing_in_what_was_just_written(world: World, finished: Path) -> None:
    cell = next((finished / "cells").iterdir())
    for folder, kind in ((world.instance, "instance"), (finished, "run"), (cell, "featurizer")):
        found = loaded("verify", folder)
        assert (found["kind"], found["sound"], found["problems"]) == (kind, True, [])


def test_an_interrupted_run_says_what_is_kept_and_ends_in_the_same_bytes(
    world: World, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def interrupted(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        run_cells(*args)

    suite = finished.parent / "suite.yaml"
    with monkeypatch.context() as patch:
        patch.setattr("evaluation.suite.execution.jobs.run_cells", interrupted)
        # On a slow machine lines of progress would come between.
        patch.setattr("evaluation.commands.printing.log_lines._SECONDS_BETWEEN_LINES", 1e9)
        stopped = ravel("run", suite, "--out", tmp_path / "run")
    assert stopped.exit_code == 130
    told = ("[", "cache: ", "opening ")
    said = [line for line in stopped.stderr.strip().splitlines() if not line.startswith(told)]
    assert said == [
        f"Interrupted. Finished cells are kept in {tmp_path / 'run'}; the same command goes on from there."
    ]
    finished_before = sum(len(args[0]) for args in calls[:2])
    assert len(list((tmp_path / "run").glob("cells/*/cell.json"))) == finished_before
    assert ravel("verify", tmp_path / "run").exit_code == 0

    assert ravel("run", suite, "--out", tmp_path / "run").exit_code == 0
    assert bytes_in(tmp_path / "run") == bytes_in(finished)


def test_an_interrupted_fit_goes_on_from_its_checkpoint(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "das.yaml").write_text("epochs: 3\nbatch_size: 16\nvalidation_pairs: 8\n")
    config = ["--config", tmp_path / "das.yaml"]
    assert ravel(*fit_args(world, tmp_path / "whole", "das"), *config).exit_code == 0

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation.suite.cells.fit, "save_featurizer", stop)
        stopped = ravel(*fit_args(world, tmp_path / "f", "das"), *config)
    assert stopped.exit_code == 130
    assert "Checkpoints are kept in" in stopped.stderr
    assert not (tmp_path / "f").exists()
    assert list(tmp_path.glob(".f.fit/cells/*/checkpoint/*"))

    assert ravel(*fit_args(world, tmp_path / "f", "das"), *config).exit_code == 0
    assert bytes_in(tmp_path / "f") == bytes_in(tmp_path / "whole")


def test_release_data_round_trip(tmp_path: Path) -> None:
    exported = loaded("data", "export", "city", "--out", tmp_path / "release")
    imported = loaded(
        "data", "import", tmp_path / "release", "--entity-type", "city", "--out", tmp_path / "ours"
    )
    assert exported["entities"] == imported["entities"] > 2000
    shown = [loaded("data", "show", "city", "--data", source) for source in ("bundled", tmp_path / "ours")]
    assert shown[0] == shown[1]


def test_audit_of_the_bundled_data(tmp_path: Path) -> None:
    assert loaded("data", "audit", "invented_person")["entity_type"] == "invented_person"
    assert ravel("data", "audit", "invented_person").stdout.startswith("invented_person: ")


def test_lists_name_what_is_registered() -> None:
    assert {"das", "mdas", "no_op", "full_vector", "random_subspace"} <= {
        m["name"] for m in loaded("list", "methods")
    }
    assert {"gpt2", "llama"} <= {m["name"] for m in loaded("list", "models")}
    assert {"city", "verb"} <= {t["name"] for t in loaded("list", "entity-types")}
    assert [t["name"] for t in loaded("data", "list")] == [t["name"] for t in loaded("list", "entity-types")]


def test_a_fault_of_ours_keeps_its_traceback(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(evaluation.suite.execution.build_in_run, "build_instance", fail)
    done = ravel(*build_args(world, tmp_path / "out"))
    assert (done.exit_code, type(done.exception)) == (1, ZeroDivisionError)


def test_an_error_is_one_paragraph() -> None:
    error = SuiteError(expected="a line", came="a\nb", todo="nothing")
    assert "\n" in str(error)
    assert ravel("data", "show", "ci\nty").stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (api.list_method_lines, api.list_methods),
        (api.list_control_lines, api.list_controls),
        (api.list_preset_lines, api.list_presets),
    ],
    ids=["methods", "controls", "presets"],
)
def test_a_quick_listing_says_what_the_whole_one_does(lines: Rows, rows: Rows) -> None:
    assert lines() == [{key: row[key] for key in ("name", "summary")} for row in rows()]


def test_the_listing_of_models_says_which_types_their_configs_have() -> None:
    stated = {row["name"]: tuple(row["model_types"]) for row in api.list_models()}
    assert stated == {family.name: family.model_types for family in FAMILIES}
    for family in FAMILIES:
        assert family.miniature().model_type in family.model_types


def test_a_run_says_what_it_opens_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom evaluation.cli import main\n"
        f"main(['run', '--preset', 'bundled-city-all', '--out', {str(tmp_path / 'run')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[0] == f"opening bundled for the run in {tmp_path / 'run'}"
