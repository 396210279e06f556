"""Files of earlier versions load to the values they had; files of newer ones are refused with a way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from readers import GOLDEN, RUN

from das.engine.kept.disk_cache import DiskCache
from das.engine.kept.state_file import key_of
from das.featurizers import load_featurizer
from das.models.planted.spec import PlantedSpec, check_spec
from das.training.checkpoint import read_checkpoint
from evaluation.config.suite import SuiteConfig
from evaluation.records.breakdowns import BreakdownRecord
from evaluation.records.control_checks import read_control_checks
from evaluation.records.diagnosis import read_cell_diagnoses, read_diagnosis
from evaluation.records.headers import read_cell_header, read_environment, swapped_in
from evaluation.records.planted import PlantedRecord
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import (
    Outcome,
    read_averages,
    read_comparisons,
    read_refusals,
    read_scores,
)
from evaluation.verify.folders import verify_artefact
from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.manifest import read_submission
from ravel.checking.dependence import read_dependence, read_skews
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, read_jsonl
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.tables import read_tables
from ravel.instance import ALL_SPLITS, Instance, verify_instance

V1, V2 = GOLDEN / "v1", GOLDEN / "v2"
EXPECTED: dict[str, Any] = json.loads((V2 / "expected.json").read_text(encoding="utf-8"))
ROWS: dict[str, Callable[[Path], list[Any]]] = {
    "v1/scores.jsonl": read_scores,
    "v1/averages.jsonl": read_averages,
    "v1/comparisons.jsonl": read_comparisons,
    "v2/run/scores.jsonl": read_scores,
    "v2/run/averages.jsonl": read_averages,
    "v2/run/balanced.jsonl": read_averages,
    "v2/run/comparisons.jsonl": read_comparisons,
    "v2/run/refusals.jsonl": read_refusals,
    "v2/run/control_checks.jsonl": read_control_checks,
    "v2/run/breakdowns.jsonl": BreakdownRecord.read,
    "v2/run/dependence.jsonl": read_dependence,
    "v2/run/values.jsonl": read_skews,
    "v2/planted.jsonl": PlantedRecord.read,
    **{str(path.relative_to(GOLDEN)): Outcome.read for path in RUN.glob("cells/*/outcomes/*.jsonl")},
}
ADDED: dict[str, dict[str, Any]] = {
    "v1/scores.jsonl": {"source_kind": "all"},
    "v1/averages.jsonl": {"source_kind": "all"},
    "v1/comparisons.jsonl": {"disentangle_p": None, "disentangle_p_adjusted": None},
}
"""Fields that came with a later version, and the value they have for older files."""


@pytest.mark.parametrize("name", ROWS)
def test_records_have_the_values_of_their_lines(name: str) -> None:
    found = ROWS[name](GOLDEN / name)
    lines = [json.loads(line) for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines()]
    assert lines
    assert json.loads(json.dumps([r.to_json() for r in found])) == [
        {**row, **ADDED.get(name, {})} for row in lines
    ]


INSTANCES: dict[int, tuple[Path, str, dict[str, int]]] = {
    1: (RUN / "instance", EXPECTED["instance_fingerprint"], EXPECTED["pairs"]),
    2: (
        GOLDEN / "v3" / "instance",
        "0ce9d34c5cd3a56855f681fc033e0f86b36f998dc35148f53d39aa27299cd86f",
        {split: 48 if split == "train" else 16 for split in ALL_SPLITS},
    ),
}


@pytest.mark.parametrize("version", INSTANCES)
def test_the_instance(version: int) -> None:
    folder, fingerprint, pairs = INSTANCES[version]
    instance = Instance.load(folder)
    assert instance.manifest.schema_version == version
    assert instance.fingerprint == fingerprint
    assert {split: len(instance.pairs(split)) for split in instance.splits()} == pairs
    assert verify_instance(folder) == []
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(instance.manifest.to_json())) == manifest
    free = [record.label for record in instance.prompts() if record.prompt.attribute is None]
    assert free
    assert all(free) if version == 1 else not any(free)


@pytest.mark.parametrize("cell", EXPECTED["featurizers"])
def test_featurizers_do_what_they_did(cell: str) -> None:
    featurizer, header = load_featurizer(RUN / "cells" / cell)
    known = EXPECTED["featurizers"][cell]
    assert (featurizer.kind, header.method, featurizer.size) == (
        known["kind"],
        known["method"],
        known["size"],
    )
    swapped = featurizer.interchange(torch.arange(32.0)[None] / 32, torch.ones(1, 32))[0]
    assert torch.allclose(swapped, torch.tensor(known["interchange"]), atol=1e-5)


def test_every_kind_of_featurizer_is_there() -> None:
    kinds = {known["kind"] for known in EXPECTED["featurizers"].values()}
    assert kinds == {"subspace", "masked_basis", "dictionary"}


def test_a_dictionary_of_before_it_could_drop_its_error_keeps_it() -> None:
    featurizer, _ = load_featurizer(V1 / "dictionary")
    base = torch.arange(32.0)[None] / 32
    assert featurizer.keeps_error is True
    assert torch.equal(featurizer.interchange(base, base), base)


def test_cells_and_environment() -> None:
    run = RunFolder(RUN)
    headers = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(RUN.glob("cells/*/cell.json"))]
    assert run.finished_cells() == headers
    assert {header["method"] for header in headers} >= {"das", "dbm", "pca_mdbm", "mdbm_sae", "sae", "no_op"}
    assert [swapped_in(run.cell(h["cell"]).header) for h in headers] == [h["swapped"] for h in headers]
    assert sum(header.get("refused") is not None for header in headers) == 1
    stated = read_environment(run.environment)
    assert stated["instance_fingerprint"] == EXPECTED["instance_fingerprint"]
    assert stated["environments"][0]["ravel_bench"] == "0.1.0"


def test_the_run_is_sound() -> None:
    found = verify_artefact(RUN)
    # Of its records only some are kept, to stay small, and no controls; of those every number is right.
    known = ("leak", ": no record of ", "~labels_shuffled")
    assert [problem for problem in found.problems if not any(word in problem for word in known)] == []


@pytest.mark.parametrize("version", [1, 2])
def test_the_submission(version: int) -> None:
    folder, instance = GOLDEN / "v4" / f"submission_{version}", Instance.load(RUN / "instance")
    assert read_submission(folder).schema_version == version
    for known in (instance, None):
        found = check_submission(folder, known)
        assert (found.problems, len(found.claims)) == ((), 4)
    # With the instance both speak of templates by their texts.
    outcomes = check_submission(folder, instance).outcomes.values()
    said = {outcome.base_template for of_one in outcomes for outcome in of_one}
    assert said == {pair.base_template for pair in instance.pairs("context_test")}


def test_the_checkpoint() -> None:
    stated = json.loads((V2 / "checkpoint" / "checkpoint.json").read_text(encoding="utf-8"))
    found = read_checkpoint(V2 / "checkpoint", identity=stated["identity"])
    assert found is not None
    tensors, progress = found
    assert progress == stated["progress"]
    assert tensors["trainable.weight"].shape == (32, 4)
    assert torch.equal(tensors["trainable.weight"], tensors["best.weight"])


def test_settings() -> None:
    suite = SuiteConfig.from_file(RUN / "config.yaml")
    assert [spec.name for spec in suite.methods][:4] == ["das", "dbm", "pca_mdbm", "mdbm_sae"]
    assert (suite.sites, suite.sizes, suite.seeds) == ((EXPECTED["site"],), (4,), (0,))
    assert SuiteConfig.from_yaml(suite.to_yaml()) == suite
    spec = PlantedSpec.from_file(V2 / "planted.yaml")
    check_spec(spec)
    assert PlantedSpec.from_yaml(spec.to_yaml()) == spec


def test_tables_diagnoses_and_spilled_states(tmp_path: Path) -> None:
    tables = read_tables(V2 / "tables", ENTITY_TYPES.get("invented_person"))
    assert (len(tables.entities), len(tables.templates)) == (100, 17)
    diagnosed = [read_cell_diagnoses(path) for path in sorted(RUN.glob("cells/*/diagnostics.json"))]
    subspaces = [d for cell in diagnosed for d in cell.diagnoses]
    assert subspaces
    assert all((d.attribute, d.site, d.width) == ("Birthplace", EXPECTED["site"], 32) for d in subspaces)
    shutil.copytree(V2 / "spill", tmp_path / "spill")
    spill = DiskCache(tmp_path / "spill", {"model_fingerprint": "abc", "dtype": "float32"})
    key = key_of(1, "prefix", [1, 2, 1], 2)
    assert torch.equal(spill.get([key])[key], torch.arange(8.0).reshape(2, 4) + 1)


NEWER: dict[str, tuple[Path, str, Callable[[Path], Any]]] = {
    "scores": (RUN / "scores.jsonl", "schema_version", read_scores),
    "averages": (RUN / "averages.jsonl", "schema_version", read_averages),
    "comparisons": (RUN / "comparisons.jsonl", "schema_version", read_comparisons),
    "breakdowns": (RUN / "breakdowns.jsonl", "schema_version", BreakdownRecord.read),
    "dependence": (RUN / "dependence.jsonl", "schema_version", read_dependence),
    "values": (RUN / "values.jsonl", "schema_version", read_skews),
    "planted": (V2 / "planted.jsonl", "schema_version", PlantedRecord.read),
    "manifest.json": (RUN / "instance", "schema_version", Instance.load),
    "submission.json": (GOLDEN / "v4" / "submission_2", "schema_version", read_submission),
    "featurizer.json": (V1 / "dictionary", "schema_version", load_featurizer),
    "diagnostics.json": (
        next(RUN.glob("cells/*/diagnostics.json")),
        "schema_version",
        lambda path: read_cell_diagnoses(path),
    ),
    "diagnosis": (next(RUN.glob("cells/*/diagnostics.json")), "schema_version", read_diagnosis),
    "cell.json": (next(RUN.glob("cells/*/cell.json")), "suite_schema", read_cell_header),
}


@pytest.mark.parametrize("name", NEWER)
@pytest.mark.parametrize("fields", ["the same", "others"])
def test_a_newer_version_says_to_update(name: str, fields: str, tmp_path: Path) -> None:
    """Whatever else has changed in it, the version is what is looked at first."""
    source, field, read = NEWER[name]
    place = tmp_path / source.name
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)
    path = place / name if place.is_dir() else place
    rows = [row for _, row in read_jsonl(path)] if path.suffix == ".jsonl" else [read_json(path)]
    for row in rows:
        row[field] = 99
        if fields == "others":
            row["from_the_future"] = row.pop("attribute", 1)
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(SuiteError, match=r"got version 99, which is newer\. To mend it: update ravel-bench"):
        read(place)


def test_golden_files_stay_small_and_are_listed() -> None:
    """A new folder needs values to compare with: an entry in this file."""
    folders = [path for path in GOLDEN.iterdir() if path.is_dir()]
    assert {path.name for path in folders} == {"v1", "v2", "v3", "v4"}
    sizes = [p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file()]
    assert sum(sizes) < 310_000 * len(folders) / 2
