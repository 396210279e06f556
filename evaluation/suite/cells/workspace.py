"""A fit's workspace in the folder of its cell; it knows no method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from das.passes import PassCount, PassCounter
from evaluation.records.run_folder import CellFolder
from evaluation.suite.cells.shared_tensors import SharedTensors
from ravel.common.io import append_text, canonical_json, make_folder, write_text
from ravel.common.progress import Counted, Progress


class FolderWorkspace:
    """A fit's workspace on disk: checkpoints in `checkpoint/`, log rows in `train_log.jsonl`."""

    def __init__(
        self,
        cell: CellFolder,
        label: str,
        progress: Progress,
        shared: SharedTensors | None = None,
        counter: PassCounter | None = None,
    ) -> None:
        self.folder: Path | None = make_folder(cell.checkpoint)
        """Where the fit keeps its checkpoints."""
        self._log = cell.train_log
        self._label = label
        self._progress = progress
        self._shared = shared
        self._counter = counter or PassCounter()
        # A resumed fit repeats its earlier rows, so every attempt begins with an empty log.
        write_text(self._log, "")

    def log(self, row: dict[str, float | int | str]) -> None:
        """Append one row to `train_log.jsonl`."""
        append_text(self._log, canonical_json(row) + "\n")

    def progress(self, done: int, total: int) -> None:
        """Pass the report on as stage `fit <cell>`."""
        self._progress(Counted(f"fit {self._label}", done, total, part=True))

    def shared(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return what the run keeps under the key, or make it; without a store it is made each time."""
        if self._shared is None:
            return make()
        with self._counter.sharing(key) as passes:
            return self._shared.get(key, make, passes)

    def asked(self, passes: PassCount) -> None:
        """Count what a training asked."""
        self._counter.add(passes)
