"""A suite small enough for every way of carrying it out, and what of a run must be equal to the byte."""

from __future__ import annotations

import json
from pathlib import Path

from cli_world import FAST, SITE, World

from das.methods.registry import METHODS, methods_in
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.suite.run import RunRequest, RunSummary, run_suite

FAILING = methods_in((*METHODS.packages, "failing_methods"))
TWO_SITES = [SITE, "block_output.2@entity_last"]


def suite(world: World, kind: str = "serial", **changes: object) -> SuiteConfig:
    """Two methods that train, one that looks at vectors, and the floors, at two sites."""
    settings: dict[str, object] = {
        "instance": str(world.instance),
        "model": str(world.model),
        "methods": [
            {"name": "mdas", "config": {**FAST, "epochs": 2}},
            {"name": "das", "config": FAST},
            "pca",
        ],
        "sites": TWO_SITES,
        "sizes": [4],
        "seeds": [0],
        "generalisations": ["context"],
        "resamples": 20,
        # One thread in every process: at the miniature's width of 48 two may round otherwise.
        "execution": {"kind": kind, "workers": 2, "threads": 2 if kind == "processes" else 1},
    }
    return SuiteConfig.from_mapping({**settings, **changes}, origin="the test")


def carried_out(config: SuiteConfig, out: Path) -> RunSummary:
    """Run a suite whose methods may fail."""
    return run_suite(RunRequest(config, out, TargetConfig(model=config.model), methods=FAILING))


def results(folder: Path) -> dict[str, bytes]:
    """Scores, tables, featurizers, outcomes and logs of a run, by relative path."""
    kept = ("cells", "controls", "tables", "plots")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (path.suffix == ".jsonl" or path.relative_to(folder).parts[0] in kept)
        and path.name != "failures.jsonl"
    }


def cell_ids(folder: Path) -> set[str]:
    """The finished cells."""
    return {json.loads(path.read_text())["cell"] for path in folder.glob("cells/*/cell.json")}
