"""A workspace that keeps what a fit reports and shares, for tests to read."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from das.training.workspace import SilentWorkspace


class KeepingWorkspace(SilentWorkspace):
    """Keeps log rows, and shared tensors by key, as a run does between fits."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float | int | str]] = []
        self.kept: dict[str, dict[str, Tensor]] = {}

    def log(self, row: dict[str, float | int | str]) -> None:
        self.rows.append(row)

    def shared(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]
