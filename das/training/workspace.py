"""Where a running fit reports and checkpoints: a protocol and one that does nothing; it knows no method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor

from das.passes import PassCount


class Workspace(Protocol):
    """Where a running fit reports and checkpoints; both may do nothing."""

    folder: Path | None
    """Folder for checkpoints, or None if the fit is not to be resumable."""

    def log(self, row: dict[str, float | int | str]) -> None:
        """Append one row to the training log, which starts empty: a resumed fit repeats its earlier rows."""

    def progress(self, done: int, total: int) -> None:
        """Report that `done` of `total` steps are finished."""

    def shared(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the tensors that `make` makes, or made earlier for another fit with the same key, which must
        name all that determines them (`das.methods.common.alignment.shared_key`)."""

    def asked(self, passes: PassCount) -> None:
        """Be told, when a training ends, what it asked of the model, before a checkpoint too."""


class SilentWorkspace:
    """Keeps nothing and reports nothing: for fits that are neither watched nor resumed."""

    folder: Path | None = None

    def log(self, row: dict[str, float | int | str]) -> None:
        """Drop the row."""

    def progress(self, done: int, total: int) -> None:
        """Drop the report."""

    def shared(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Make the tensors: nothing is kept."""
        return make()

    def asked(self, passes: PassCount) -> None:
        """Count nothing."""
