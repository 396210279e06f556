"""Weights & Biases: every cell has curves over its own steps, scores stand in the summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.exchange.trackers.base import Tracker


class _Wandb:
    def __init__(self, run: Any) -> None:
        self._run = run
        self._cells: set[str] = set()

    def curve(self, cell: str, step: int, values: Mapping[str, float]) -> None:
        if cell not in self._cells:
            # Its own count of steps only grows, and every cell begins anew.
            self._run.define_metric(f"{cell}/*", step_metric=f"{cell}/step")
            self._cells.add(cell)
        self._run.log({f"{cell}/step": step, **{f"{cell}/{name}": value for name, value in values.items()}})

    def scores(self, values: Mapping[str, float]) -> None:
        self._run.summary.update(dict(values))

    def close(self) -> None:
        self._run.finish()


def _begin(wandb: Any, folder: Path, config: Mapping[str, Any]) -> _Wandb:
    run = wandb.init(project="ravel-bench", name=folder.name, dir=str(folder.parent), config=dict(config))
    return _Wandb(run)


TRACKER = Tracker("wandb", "wandb", "wandb", _begin)
