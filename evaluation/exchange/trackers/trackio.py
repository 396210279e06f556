"""Trackio, which keeps runs on this machine: curves over the steps of each cell, scores at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.exchange.trackers.base import Tracker


class _Trackio:
    def __init__(self, trackio: Any) -> None:
        self._trackio = trackio

    def curve(self, cell: str, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log({f"{cell}/{name}": value for name, value in values.items()}, step=step)

    def scores(self, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values))

    def close(self) -> None:
        self._trackio.finish()


def _begin(trackio: Any, folder: Path, config: Mapping[str, Any]) -> _Trackio:
    trackio.init(project="ravel-bench", name=folder.name, config=dict(config))
    return _Trackio(trackio)


TRACKER = Tracker("trackio", "trackio", "trackio", _begin)
