"""Makes a folder of golden files: small artefacts of every schema version in force, from a tiny real run.

For a NEW folder only, after a schema version was raised: `python scripts/keep_golden.py tests/golden/v4`.
What is there already is never made again, for it stands for files that users have.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "evaluation")]

import torch  # noqa: E402
from cli_world import FAST, SITE, build_args, make_world, ravel, suite_text  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import evaluation.records.run_folder  # noqa: E402
from das.engine.kept.disk_cache import DiskCache  # noqa: E402
from das.engine.kept.state_file import key_of  # noqa: E402
from das.featurizers import load_featurizer  # noqa: E402
from evaluation.records.planted import PLANTED_SCHEMA_VERSION, PlantedRecord, write_planted  # noqa: E402
from evaluation.records.run_folder import RunFolder  # noqa: E402
from ravel.common.folders import new_folder  # noqa: E402
from ravel.common.io import write_json  # noqa: E402
from ravel.instance import Instance  # noqa: E402

_AUTOENCODER = {"architecture": "jump_relu", "expansion": 1, "steps": 20, "training_vectors": 64}
_METHODS: list[dict[str, Any]] = [
    {"name": "das", "config": FAST},
    {"name": "dbm", "config": {"epochs": 1, "batch_size": 16}},
    {"name": "pca_mdbm", "config": {"epochs": 1, "batch_size": 16}},
    {"name": "mdbm_sae", "config": {"epochs": 1, "batch_size": 16, "autoencoder": _AUTOENCODER}},
]
_KEPT = (
    *("config.yaml", "environment.json", "instance", "cells", "scores.jsonl", "averages.jsonl"),
    *("comparisons.jsonl", "refusals.jsonl", "control_checks.jsonl", "balanced.jsonl"),
    *("breakdowns.jsonl", "dependence.jsonl", "values.jsonl"),
)
_FEW_LINES = 12
"""Lines of the long files that are kept: records are alike."""


def main() -> None:
    """Make the folder that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as place, new_folder(out) as staging:
        _make(Path(place), staging)
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    sys.stdout.write(f"{out}: {total} bytes\n")


def _make(place: Path, out: Path) -> None:
    world = make_world(place)
    small = [*build_args(world, place / "small"), "--train-pairs", 24, "--evaluation-pairs", 8]
    done = ravel(*small, "--keep-entities", 24)
    assert done.exit_code == 0, done.output
    world = replace(world, instance=place / "small")
    suite = place / "suite.yaml"
    suite.write_text(
        suite_text(
            world,
            methods=[*_METHODS, _of_another_width(place / "narrow")],
            attributes=["Birthplace"],
            generalisations=["context"],
            controls=["labels_shuffled"],
            control_methods=["das"],
        )
    )
    # Checkpoints of finished fits are dropped; here they are kept.
    drop, evaluation.records.run_folder.shutil.rmtree = shutil.rmtree, lambda *args, **kwargs: None  # type: ignore[assignment]
    try:
        done = ravel("run", suite, "--out", place / "run")
    finally:
        evaluation.records.run_folder.shutil.rmtree = drop
    assert done.exit_code == 0, done.output
    das = next(c["cell"] for c in RunFolder(place / "run").finished_cells() if c["method"] == "das")
    shutil.move(place / "run" / "cells" / das / "checkpoint", out / "checkpoint")
    for checkpoint in (place / "run").rglob("checkpoint"):
        shutil.rmtree(checkpoint)
    done = ravel("diagnose", place / "run", "--limit-pairs", 4)
    assert done.exit_code == 0, done.output
    _keep(place / "run", out / "run")
    shutil.copytree(world.data, out / "tables")
    shutil.copyfile(ROOT / "data" / "planted" / "planted.yaml", out / "planted.yaml")
    write_planted(out / "planted.jsonl", [_planted()])
    spill = DiskCache(out / "spill", {"model_fingerprint": "abc", "dtype": "float32"})
    spill.put({key_of(1, "prefix", [1, 2, i], 2): torch.arange(8.0).reshape(2, 4) + i for i in range(3)})
    write_json(out / "expected.json", _expected(out))


def _keep(run: Path, out: Path) -> None:
    for name in _KEPT:
        source = run / name
        out.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, out / name)
        elif name in ("config.yaml", "environment.json"):
            shutil.copyfile(source, out / name)
        else:
            lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
            (out / name).write_text("".join(lines[:: len(lines) // _FEW_LINES + 1]), encoding="utf-8")


def _of_another_width(folder: Path) -> dict[str, Any]:
    """Write an autoencoder that fits no site of the model, and return a method that will have no answer."""
    write_json(folder / "cfg.json", {"architecture": "standard", "d_in": 4, "d_sae": 6})
    shapes = {"W_enc": (4, 6), "b_enc": (6,), "W_dec": (6, 4), "b_dec": (4,)}
    save_file({n: torch.ones(*shape) for n, shape in shapes.items()}, folder / "sae_weights.safetensors")
    return {"name": "sae", "sizes": [2], "config": {"autoencoder": {"pretrained": f"lens:{folder}"}}}


def _planted() -> PlantedRecord:
    return PlantedRecord(
        schema_version=PLANTED_SCHEMA_VERSION,
        world="small-disjoint",
        layout="disjoint",
        rotated=True,
        method="mdas",
        setting="{}",
        attribute="A",
        asked=2,
        found=2,
        true=2,
        seed=0,
        generalisation="context",
        cause=0.75,
        isolate=0.5,
        by_kind={"same_attribute": (0.75, None), "other_attribute": (None, 0.5)},
        similarity=0.875,
        largest_angle=12.5,
        mean_angle=6.25,
    )


def _expected(out: Path) -> dict[str, Any]:
    """Return what the readers of today make of the files, as plain values."""
    instance = Instance.load(out / "run" / "instance")
    swapped = {}
    for folder in sorted((out / "run" / "cells").iterdir()):
        if (folder / "featurizer.json").is_file():
            featurizer, header = load_featurizer(folder)
            base, source = torch.arange(32.0)[None] / 32, torch.ones(1, 32)
            swapped[folder.name] = {
                "kind": featurizer.kind,
                "method": header.method,
                "size": featurizer.size,
                "interchange": featurizer.interchange(base, source)[0].tolist(),
            }
    return {
        "site": SITE,
        "instance_fingerprint": instance.fingerprint,
        "pairs": {split: len(instance.pairs(split)) for split in instance.splits()},
        "featurizers": swapped,
    }


if __name__ == "__main__":
    main()
