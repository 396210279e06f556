"""Rows of sparse autoencoders of a finished run as result files in SAEBench's schema of its RAVEL evaluation.

The schema is SAEBench's, the numbers are not: data, pairs, judging and averages are this suite's. Nothing is
scored here, and no torch is needed.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluation.records.environment import version_of
from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import AverageRecord, ScoreRecord
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import canonical_json, read_json, read_text, write_json
from ravel.instance import Instance
from ravel.terms.schema import Generalisation, split_name

SAEBENCH_TYPE = "ravel"
"""SAEBench's name of the evaluation."""
_PREFIX = "lens:"
_DISCLAIMER = (
    "Scores are of ravel-bench: its data, pairs, answers, judging and averages. They are not comparable with "
    "scores that SAEBench computed."
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A method with an autoencoder, at its chosen points."""

    method: str
    """As on the command line."""
    macro: AverageRecord
    """The mean over attributes."""
    attributes: list[AverageRecord]
    """Each attribute's mean over seeds."""
    cells: list[dict[str, Any]]
    """What `cell.json` says of the chosen cells."""


def export_saebench(run_path: Path, out: Path, generalisation: Generalisation) -> list[Path]:
    """Write a file per method with an autoencoder into the new folder `out`; return their paths.

    Raises SuiteError for a run that is not finished or damaged, and one without such methods.
    """
    check_new_folder(out)
    results = saebench_results(run_path, generalisation)
    names = [f"{method}_{generalisation}_eval_results.json" for method in results]
    with new_folder(out) as staging:
        for name, result in zip(names, results.values(), strict=True):
            write_json(staging / name, result)
    return [out / name for name in names]


def saebench_results(run_path: Path, generalisation: Generalisation) -> dict[str, dict[str, Any]]:
    """Return a result in SAEBench's schema for each method with an autoencoder, from its test pairs.

    Equal runs give equal results: the id is made from the content, the time is that of the scores. Raises
    SuiteError as `export_saebench` does.
    """
    records = RunRecords.open(run_path)
    run = records.folder
    if records.track != INTERCHANGE:
        raise SuiteError(
            expected=f"a run of the track {INTERCHANGE}, which SAEBench's schema is about",
            came=f"one of {records.track}",
            todo="give another run",
        )
    suite, instance = _suite(run), Instance.load(run.instance)
    rows = _rows(records, generalisation)
    if not rows:
        raise SuiteError(
            expected=f"a sparse autoencoder's row in {run_path}, scored on {generalisation} test pairs",
            came="none",
            todo="run a suite with sae, sae_attribution or mdbm_sae, or choose another --split",
        )
    millis = int(run.scores.stat().st_mtime * 1000)
    return {row.method: _result(row, suite, instance, generalisation, millis) for row in rows}


def _suite(run: RunFolder) -> dict[str, Any]:
    try:
        found = yaml.safe_load(read_text(run.config))
    except (yaml.YAMLError, RecursionError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise SuiteError(
            expected=f"the suite of the run in {run.config}",
            came="no YAML mapping",
            todo="restore the file; the run's environment.json and cells are untouched",
        )
    return found


def _rows(run: RunRecords, generalisation: Generalisation) -> list[_Row]:
    averages = [
        record
        for record in run.averages or ()
        if (record.partition, record.generalisation, record.source_kind) == ("test", generalisation, "all")
        and not TRACKS.get(INTERCHANGE).set_apart(record.method)
    ]
    scores = [record for record in run.chosen() if record.generalisation == generalisation]
    rows = []
    for macro in averages:
        if macro.scope != "macro" or macro.value("disentangle") is None:
            continue
        cells = _cells(run.folder, [record for record in scores if record.method == macro.method])
        if cells and all(isinstance(cell["config"].get("autoencoder"), dict) for cell in cells):
            own = [a for a in averages if a.method == macro.method and a.scope == "attribute"]
            rows.append(_Row(macro.method, macro, own, cells))
    return rows


def _cells(run: RunFolder, chosen: Sequence[ScoreRecord]) -> list[dict[str, Any]]:
    found = []
    for name in sorted({record.cell for record in chosen}):
        path = run.cell(name).header
        cell = read_json(path)
        if not isinstance(cell, dict) or not isinstance(cell.get("config"), dict):
            raise SuiteError(
                expected=f"a cell with its config in {path}",
                came="something else",
                todo="see what is wrong with ravel verify",
            )
        found.append(cell)
    return found


# --- the schema


def _result(
    row: _Row, suite: Mapping[str, Any], instance: Instance, generalisation: Generalisation, millis: int
) -> dict[str, Any]:
    result = {
        "eval_type_id": SAEBENCH_TYPE,
        "eval_config": _eval_config(row, suite, instance, generalisation),
        "eval_result_metrics": {"ravel": _metrics(row.macro, "disentanglement_score")},
        "eval_result_details": [],
        # No commit of SAEBench ran this, and its schema wants a text.
        "sae_bench_commit_hash": "",
        **_autoencoder(row),
        "eval_result_unstructured": _unstructured(row, instance, generalisation),
        "datetime_epoch_millis": millis,
    }
    return {**result, "eval_id": str(uuid.uuid5(uuid.NAMESPACE_OID, canonical_json(result)))}


def _metrics(record: AverageRecord, name_of_mean: str) -> dict[str, float | None]:
    return {
        name_of_mean: record.value("disentangle"),
        "cause_score": record.value("cause"),
        "isolation_score": record.value("isolate"),
    }


def _eval_config(
    row: _Row, suite: Mapping[str, Any], instance: Instance, generalisation: Generalisation
) -> dict[str, Any]:
    """Return SAEBench's settings as far as ours have the same meaning; its whole numbers can't be null, so
    that 0 stands for what the suite does not have."""
    config = row.cells[0]["config"]
    train = instance.pairs("train") if "train" in instance.splits() else ()
    test = instance.pairs(split_name(generalisation, "test"))
    prompts = [record.prompt for record in instance.prompts()]
    per_attribute = [sum(pair.attribute == a for pair in train) for a in row.macro.attributes]
    total = len(train) + len(test)
    return {
        "entity_attribute_selection": {row.macro.entity_type: list(row.macro.attributes)},
        "top_n_entities": len({prompt.entity for prompt in prompts if prompt.entity is not None}),
        "top_n_templates": len({prompt.template for prompt in prompts if prompt.attribute is not None}),
        "full_dataset_downsample": None,
        "num_pairs_per_attribute": max(per_attribute, default=0),
        "train_test_split": len(train) / total if total else 0.0,
        "force_dataset_recompute": False,
        "model_name": row.macro.model,
        "llm_dtype": str(suite.get("dtype", "float32")),
        "llm_batch_size": 0,
        "learning_rate": _number(config, "learning_rate"),
        "num_epochs": int(_number(config, "epochs")),
        "train_mdas": False,
        "n_generated_tokens": int(_number(suite, "label_tokens")),
        "random_seed": min(row.macro.seeds, default=0),
        "artifact_dir": "",
    }


def _number(settings: Mapping[str, Any], name: str) -> float:
    """Return a number among settings, 0 where there is none."""
    found = settings.get(name)
    return float(found) if isinstance(found, (int, float)) and math.isfinite(found) else 0.0


def _autoencoder(row: _Row) -> dict[str, Any]:
    """Return SAEBench's fields on the autoencoder; null where it was trained in the run, or where several
    were chosen."""
    names = {cell["config"]["autoencoder"].get("pretrained") for cell in row.cells}
    found = {"sae_lens_id": None, "sae_lens_release_id": None, "sae_lens_version": None, "sae_cfg_dict": None}
    (name,) = names if len(names) == 1 else (None,)
    if name is None:
        return found
    plain = str(name).removeprefix(_PREFIX)
    if plain.startswith(("/", ".", "~")) or Path(plain).is_dir():
        return {**found, "sae_cfg_dict": _local_config(Path(plain).expanduser() / "cfg.json")}
    release, _, sae_id = plain.partition("/")
    return {
        **found,
        "sae_lens_id": sae_id or None,
        "sae_lens_release_id": release,
        "sae_lens_version": version_of("sae-lens"),
    }


def _local_config(path: Path) -> dict[str, Any] | None:
    """Return the config of a local autoencoder, or None where it is gone or can't stand in JSON."""
    try:
        found = read_json(path)
        canonical_json(found)
    except (SuiteError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unstructured(row: _Row, instance: Instance, generalisation: Generalisation) -> dict[str, Any]:
    entity_type = row.macro.entity_type
    return {
        f"{entity_type}_results": {
            f"{entity_type}_{record.attributes[0]}": _metrics(record, "disentangle_score")
            for record in sorted(row.attributes, key=lambda record: record.attributes)
        },
        "ravel_bench": {
            "note": _DISCLAIMER,
            "method": row.method,
            "held_out": generalisation,
            "n_cause": row.macro.n("cause"),
            "n_isolate": row.macro.n("isolate"),
            "cause_interval": _listed(row.macro.interval("cause")),
            "isolate_interval": _listed(row.macro.interval("isolate")),
            "disentangle_interval": _listed(row.macro.interval("disentangle")),
            "seeds": list(row.macro.seeds),
            "instance_fingerprint": instance.fingerprint,
            "cells": [
                {key: cell.get(key) for key in ("cell", "attribute", "site", "size", "seed", "config")}
                for cell in row.cells
            ],
        },
    }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
