"""Results for SAEBench: its schema, our numbers, and nothing made up."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_world import FAST, World, ravel, suite_text

from evaluation.exchange.saebench import saebench_results
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import AverageRecord, read_averages

TEXT, WHOLE, NUMBER, FLAG, LIST, OBJECT, NONE = str, int, (int, float), bool, list, dict, type(None)
RESULT: dict[str, Any] = {
    "eval_type_id": TEXT,
    "eval_config": OBJECT,
    "eval_id": TEXT,
    "datetime_epoch_millis": WHOLE,
    "eval_result_metrics": OBJECT,
    "eval_result_details": LIST,
    "sae_bench_commit_hash": TEXT,
    "sae_lens_id": (TEXT, NONE),
    "sae_lens_release_id": (TEXT, NONE),
    "sae_lens_version": (TEXT, NONE),
    "sae_cfg_dict": (OBJECT, NONE),
    "eval_result_unstructured": object,
}
"""Fields of a result with their types, from SAEBench's JSON schema of its RAVEL evaluation; the details and
the unstructured part may be left out there, and only the fields that admit it here may be null."""
CONFIG: dict[str, Any] = {
    "entity_attribute_selection": OBJECT,
    "top_n_entities": WHOLE,
    "top_n_templates": WHOLE,
    "full_dataset_downsample": (WHOLE, NONE),
    "num_pairs_per_attribute": WHOLE,
    "train_test_split": NUMBER,
    "force_dataset_recompute": FLAG,
    "model_name": TEXT,
    "llm_dtype": TEXT,
    "llm_batch_size": WHOLE,
    "learning_rate": NUMBER,
    "num_epochs": WHOLE,
    "train_mdas": FLAG,
    "n_generated_tokens": WHOLE,
    "random_seed": WHOLE,
    "artifact_dir": TEXT,
}
"""Fields of its settings with their types. All have defaults there, so that one left out would be read as a
setting that was never made."""
METRICS = {"disentanglement_score": NUMBER, "cause_score": NUMBER, "isolation_score": NUMBER}
SMALL = {"autoencoder": {"steps": 20, "expansion": 2, "training_vectors": 200}}


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two methods on latents and one without."""
    root = tmp_path_factory.mktemp("sae")
    methods = [
        {"name": "sae", "config": SMALL},
        {"name": "mdbm_sae", "config": {**SMALL, **FAST}},
        {"name": "pca"},
    ]
    (root / "suite.yaml").write_text(suite_text(world, methods=methods))
    done = ravel("run", root / "suite.yaml", "--out", root / "run")
    assert done.exit_code == 0, done.output
    return root / "run"


def check(value: dict[str, Any], fields: dict[str, Any]) -> None:
    assert value.keys() == fields.keys()
    for name, kinds in fields.items():
        assert isinstance(value[name], kinds), name
        if kinds in (WHOLE, NUMBER):
            assert not isinstance(value[name], bool), name


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, float):
        yield value


def average(run: Path, method: str, *, attribute: str | None = None) -> AverageRecord:
    (found,) = (
        record
        for record in read_averages(RunFolder(run).averages)
        if record.method == method
        and record.scope == ("macro" if attribute is None else "attribute")
        and record.attributes == ((attribute,) if attribute else record.attributes)
        and (record.partition, record.generalisation, record.source_kind) == ("test", "context", "all")
    )
    return found


def test_it_has_the_schema_and_the_scores_of_the_run(finished: Path) -> None:
    results = saebench_results(finished, "context")
    assert sorted(results) == ["mdbm_sae", "sae"]
    for method, result in results.items():
        check(result, RESULT)
        check(result["eval_config"], CONFIG)
        check(result["eval_result_metrics"]["ravel"], METRICS)
        assert list(result["eval_result_metrics"]) == ["ravel"]
        assert result["eval_type_id"] == "ravel"
        assert 0 <= result["datetime_epoch_millis"] <= 9_999_999_999_999
        assert all(math.isfinite(number) for number in numbers(result))
        found, record = result["eval_result_metrics"]["ravel"], average(finished, method)
        assert list(found.values()) == [
            record.value("disentangle"),
            record.value("cause"),
            record.value("isolate"),
        ]
        assert found["disentanglement_score"] == pytest.approx(
            (found["cause_score"] + found["isolation_score"]) / 2
        )


def test_each_attribute_is_there_under_saebenchs_names(finished: Path) -> None:
    result = saebench_results(finished, "context")["sae"]
    (selection,) = result["eval_config"]["entity_attribute_selection"].items()
    parts = result["eval_result_unstructured"][f"{selection[0]}_results"]
    assert list(parts) == [f"{selection[0]}_{attribute}" for attribute in sorted(selection[1])]
    for attribute in selection[1]:
        record = average(finished, "sae", attribute=attribute)
        assert list(parts[f"{selection[0]}_{attribute}"].values()) == [
            record.value("disentangle"),
            record.value("cause"),
            record.value("isolate"),
        ]


def test_nothing_is_claimed_that_did_not_happen(finished: Path) -> None:
    results = saebench_results(finished, "context")
    for result in results.values():
        assert result["sae_bench_commit_hash"] == ""
        assert result["sae_lens_id"] is result["sae_lens_release_id"] is result["sae_cfg_dict"] is None
        assert "not comparable" in result["eval_result_unstructured"]["ravel_bench"]["note"]
        assert result["eval_config"]["train_mdas"] is False
    assert results["sae"]["eval_config"]["num_epochs"] == 0
    assert results["mdbm_sae"]["eval_config"]["num_epochs"] == FAST["epochs"]


def test_equal_runs_give_equal_results_and_each_its_own_id(finished: Path) -> None:
    first, second = saebench_results(finished, "context"), saebench_results(finished, "context")
    assert first == second
    other = saebench_results(finished, "entity")
    assert len({result["eval_id"] for found in (first, other) for result in found.values()}) == 4


def test_the_command_writes_a_file_per_method(finished: Path, tmp_path: Path) -> None:
    done = ravel("export", finished, "--format", "saebench", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    paths = [Path(path) for path in json.loads(done.stdout)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in paths)
    expected = saebench_results(finished, "context")
    assert {json.loads(p.read_text())["eval_id"] for p in paths} == {r["eval_id"] for r in expected.values()}


def with_pretrained(run: Path, out: Path, name: str) -> Path:
    """A copy of a run whose dictionaries came from elsewhere, by name."""
    shutil.copytree(run, out)
    for header in out.glob("cells/*/cell.json"):
        cell = json.loads(header.read_text())
        if "autoencoder" in cell["config"]:
            cell["config"]["autoencoder"]["pretrained"] = name
            header.write_text(json.dumps(cell))
    return out


def test_a_pretrained_dictionary_is_named(finished: Path, tmp_path: Path) -> None:
    run = with_pretrained(finished, tmp_path / "hub", "lens:gemma-scope-2b-pt-res/layer_10/width_16k")
    result = saebench_results(run, "context")["sae"]
    assert (result["sae_lens_release_id"], result["sae_lens_id"]) == (
        "gemma-scope-2b-pt-res",
        "layer_10/width_16k",
    )
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "cfg.json").write_text('{"d_in": 32}')
    run = with_pretrained(finished, tmp_path / "run", f"lens:{tmp_path / 'local'}")
    result = saebench_results(run, "context")["sae"]
    assert (result["sae_lens_id"], result["sae_cfg_dict"]) == (None, {"d_in": 32})


def test_a_local_dictionary_that_is_gone_or_odd_leaves_no_config(finished: Path, tmp_path: Path) -> None:
    run = with_pretrained(finished, tmp_path / "run", f"lens:{tmp_path / 'gone'}")
    for written in (None, '{"d_in": NaN}', "[1]", "{"):
        if written is not None:
            (tmp_path / "gone").mkdir(exist_ok=True)
            (tmp_path / "gone" / "cfg.json").write_text(written)
        result = saebench_results(run, "context")["sae"]
        assert result["sae_lens_release_id"] is result["sae_cfg_dict"] is None


def test_a_run_without_autoencoders_is_refused(finished: Path, tmp_path: Path) -> None:
    refused = ravel(
        *("export", finished, "--format", "saebench", "--split", "entity_context", "--out", tmp_path / "out")
    )
    assert refused.exit_code == 2
    assert "sparse autoencoder" in refused.stderr
    assert not (tmp_path / "out").exists()
