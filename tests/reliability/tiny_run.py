"""A run of a few cells that takes a fraction of a second, for tests that do it some hundred times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted_world import SITE, PlantedWorld

import evaluation.report.publish
from evaluation.config.suite import SuiteConfig
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.common.io import write_bytes
from ravel.instance import Instance

__all__ = ["TinyRun"]

QUICK = {"epochs": 2, "learning_rate": 0.05, "validation_pairs": 16}


class TinyRun:
    """A suite on the planted world; called with a folder it runs there, or goes on there."""

    def __init__(self, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "instance": "in-memory",
            "methods": [{"name": "das", "config": QUICK}, "pca"],
            "attributes": ["A"],
            "floors": False,
            "sites": [str(SITE)],
            "sizes": [2],
            "seeds": [0],
            "generalisations": ["context"],
            "resamples": 20,
        }
        self.config = SuiteConfig.from_mapping(fields | changes, origin="a test")
        self.engine = PlantedWorld(0, n_entities=60)
        self.instance: Instance = self.engine.instance(n_pairs=40, n_held_out=40)

    def __call__(self, folder: Path) -> RunSummary:
        """Run in `folder`."""
        return run_suite(RunRequest(self.config, folder, engine=self.engine, instance=self.instance))

    def draw_once(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        """Run once; from then on the same figures are written without being drawn again, which is most of the
        time.

        Every file is still written, by the same calls and in the same order.
        """
        self(folder)
        figures = sorted((folder / "plots").glob("*.*g"))
        drawn = [(path.name, path.read_bytes()) for path in figures]

        def write_drawn(inputs: object, place: Path, *asked: object) -> list[Path]:
            for name, content in drawn:
                write_bytes(place / name, content)
            return [place / name for name, _ in drawn]

        monkeypatch.setattr(evaluation.report.publish, "write_plots", write_drawn)
