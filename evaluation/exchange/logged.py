"""A run is told to a tracker while it goes on, from what its folder holds; nothing in the run changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from evaluation.exchange.trackers import TRACKERS, Writer
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import read_averages
from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl
from ravel.common.progress import Event, Finished, Note, Progress

_NO_MEASURES = {"step", "seed"}


@contextmanager
def logged_run(
    tracker: str | None, folder: Path, config: Mapping[str, Any], progress: Progress
) -> Iterator[Progress]:
    """Yield the progress of a run in `folder` that also tells a tracker of `TRACKERS`: of each finished cell
    the curves of its fit, and at the end the averages. With None it yields `progress`.

    A tracker that fails in between is left with a note, and the run goes on. Raises SuiteError for an unknown
    name, and where the tracker's package is absent or can't begin.
    """
    if tracker is None:
        yield progress
        return
    log = _Log(TRACKERS.get(tracker).open(folder, config), tracker, RunFolder(folder), progress)
    try:
        yield log
        log.finish()
    finally:
        log.close()


class _Log:
    """Passes events on; what was written down since the last finished cell goes to the writer."""

    def __init__(self, writer: Writer, tracker: str, run: RunFolder, progress: Progress) -> None:
        self._writer: Writer | None = writer
        self._tracker = tracker
        self._run = run
        self._progress = progress
        self._told: set[str] = set()

    def __call__(self, event: Event, /) -> None:
        self._progress(event)
        if isinstance(event, Finished):
            self._safely(self._tell_cells)

    def finish(self) -> None:
        """Tell what is left, and the averages of the finished run."""
        self._safely(self._tell_cells)
        self._safely(lambda writer: writer.scores(_averages(self._run)))

    def close(self) -> None:
        """Close the writer, if it is open."""
        self._safely(lambda writer: writer.close())

    def _safely(self, work: Callable[[Writer], None]) -> None:
        if self._writer is None:
            return
        try:
            work(self._writer)
        # Whatever a stranger's package raises, a network that is gone, must not cost the run.
        except Exception as error:
            self._writer = None
            reason = " ".join(str(error).split())[:300]
            self._progress(Note(f"--log {self._tracker} ends here: {type(error).__name__}: {reason}"))

    def _tell_cells(self, writer: Writer) -> None:
        for header in self._run.finished_cells(known=self._told):
            cell = header["cell"]
            self._told.add(cell)
            for step, values in _curve(self._run.cell(cell).train_log):
                writer.curve(_called(header), step, values)


def _called(header: Mapping[str, Any]) -> str:
    """Return what a person calls a cell; the id tells apart those that differ in settings."""
    point = (header.get(name) for name in ("method", "attribute", "site", "size", "seed"))
    return " ".join(str(part) for part in (*point, header["cell"][:6]) if part is not None)


def _curve(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (step, numbers by `phase/name`) of every row of a fit's log that has a step."""
    if not path.is_file():
        return
    for _, row in read_jsonl(path):
        phase, step = row.get("phase"), row.get("step")
        if isinstance(step, int):
            numbers = {
                f"{phase or 'fit'}/{name}": float(value)
                for name, value in row.items()
                if name not in _NO_MEASURES and _is_number(value)
            }
            if numbers:
                yield step, numbers


def _averages(run: RunFolder) -> dict[str, float]:
    """Return the macro averages of all source kinds by `method/split/measure`."""
    try:
        records = read_averages(run.averages)
    except SuiteError:
        return {}
    return {
        f"{record.method}/{record.generalisation}_{record.partition}/{measure}": value
        for record in records
        if record.scope == "macro" and record.source_kind == "all"
        for measure in record.measures
        if (value := record.value(measure)) is not None
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
