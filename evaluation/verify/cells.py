"""The cells of a run, checked through file by file, and read for whatever is worked out from them.

It knows what a cell's files must say, and nothing of the grid they are from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from evaluation.records.failures import FAILURES, Failure, read_failures
from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import CellFolder, RunFolder
from evaluation.records.scores import JudgedCase
from evaluation.scoring.track import Track
from evaluation.verify.checks.files import (
    check_cell_file,
    check_featurizer,
    check_outcomes,
    json_problems,
    lines_problems,
)
from evaluation.verify.controls import ControlFolder
from ravel.common.io import read_json
from ravel.instance import Instance

_KEPT = 200
"""Files of outcomes that are kept in memory: each serves several scores, and a large run has many."""


class CheckedCells:
    """The finished cells of a run, with what is wrong with them."""

    def __init__(self, run: RunFolder, instance: Instance, track: Track[Any]) -> None:
        """Check every cell of the run on this instance, judged as the run's track has it."""
        self.problems: list[str] = []
        """What is wrong, in words."""
        self.headers: dict[str, Mapping[str, Any]] = {}
        """`cell.json` of each sound cell, by id."""
        self.unfinished = 0
        """Cells without a `cell.json`."""
        self.failures = _failures(run)
        """Cells that broke each time they were tried; what they left is not counted."""
        self.outcomes = lru_cache(maxsize=_KEPT)(self._outcomes)
        """Reads what the model said in a cell on a split."""
        self._run = run
        self._instance = instance
        self._track = track
        failed = {failure.cell for failure in self.failures}
        for path in sorted(run.path.glob("cells/*")):
            if not (path / "cell.json").is_file():
                self.unfinished += path.is_dir()
                continue
            problems = _cell_problems(CellFolder(path), instance, track)
            self.problems += [f"cell {path.name}: {problem}" for problem in problems]
            if not problems and path.name not in failed:
                self.headers[path.name] = read_json(path / "cell.json")

    def _outcomes(self, cell: str, split: str) -> Sequence[JudgedCase]:
        expected = len(self._track.cases(self._instance, split))
        return self._run.cell(cell).read_outcomes(split, expected, self._track.outcome)


def control_problems(control: ControlFolder, instance: Instance) -> Iterator[str]:
    """Say what is wrong with the files of a run's control."""
    for cell in control.cells():
        problems = _files_problems(CellFolder(cell), instance, control=True) or control.file_problems(cell)
        yield from (f"control {control.name}, cell {cell.name}: {problem}" for problem in problems)
    yield from (f"control {control.name}: {problem}" for problem in control.floor_problems())


def _failures(run: RunFolder) -> list[Failure]:
    path = run.path / FAILURES
    return [] if path.is_file() and lines_problems(path, "failures") else read_failures(run.path)


def _cell_problems(cell: CellFolder, instance: Instance, track: Track[Any]) -> list[str]:
    problems = _files_problems(cell, instance, control=False)
    if not problems and (named := read_json(cell.header).get("track", INTERCHANGE)) != track.name:
        problems.append(f"cell.json states the track {named}, the run is of {track.name}")
    for path in sorted(cell.path.glob("outcomes/*.jsonl")):
        if path.stem in instance.splits():
            problems += check_outcomes(path, track.cases(instance, path.stem), track.outcome).problems
        else:
            problems.append(f"outcomes of {path.stem}, of which the instance has no pairs")
    return problems


def _files_problems(cell: CellFolder, instance: Instance, *, control: bool) -> list[str]:
    """Return what is wrong with header, log, diagnoses and featurizer."""
    if problems := json_problems(cell.header, "cell"):
        return problems
    stated = read_json(cell.header)
    if stated["cell"] != cell.path.name:
        problems.append(f"cell.json states the id {stated['cell']}")
    if "refused" in stated:
        return problems
    if cell.train_log.is_file():
        problems += lines_problems(cell.train_log, "train_log")
    if (cell.path / "diagnostics.json").is_file():
        problems += json_problems(cell.path / "diagnostics.json", "diagnostics")
    # A control that does not fit again has no featurizer of its own; one that does had another instance.
    if control and not (cell.path / "featurizer.json").is_file():
        return problems
    checked = check_featurizer(
        cell.path,
        target_fingerprint=stated["model_fingerprint"] if control else instance.model_fingerprint,
        instance_fingerprint=stated["instance_fingerprint"] if control else instance.fingerprint,
    )
    problems += checked.problems
    if checked.header is not None and checked.featurizer is not None:
        problems += check_cell_file(cell.header, checked.header, checked.featurizer.size)
    return problems
