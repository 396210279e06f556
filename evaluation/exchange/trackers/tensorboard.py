"""TensorBoard: event files in a folder beside that of the run, in which no foreign file may lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.exchange.trackers.base import Tracker
from ravel.common.io import canonical_json


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def curve(self, cell: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{cell}/{name}", value, step)

    def scores(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, 0)

    def close(self) -> None:
        self._writer.close()


def _begin(tensorboard: Any, folder: Path, config: Mapping[str, Any]) -> _TensorBoard:
    writer = tensorboard.SummaryWriter(log_dir=str(folder.with_name(f"{folder.name}.tensorboard")))
    writer.add_text("suite", canonical_json(config))
    return _TensorBoard(writer)


TRACKER = Tracker("tensorboard", "tensorboard", "torch.utils.tensorboard", _begin)
