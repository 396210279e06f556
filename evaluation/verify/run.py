"""The folder of a run, checked through: every file, every featurizer, every pair, every number; it runs no
model.

What follows from outcomes is worked out again: validation scores, the chosen points, test scores, averages,
comparisons.
"""

from __future__ import annotations

from pathlib import Path

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.tracks import track_of
from evaluation.verify.cells import CheckedCells, control_problems
from evaluation.verify.checks.files import errors_of, json_problems, measured_problems
from evaluation.verify.controls import control_folders
from evaluation.verify.numbers import number_problems
from ravel.common.errors import SuiteError
from ravel.common.io import read_json
from ravel.instance import Instance

RUN_RECORDS = (
    *("scores", "averages", "comparisons", "balanced", "breakdowns", "dependence", "values", "refusals"),
    *("control_checks", "failures"),
)
"""Files of lines at the top of a run; each is absent or fits the schema of its name."""


def check_run(path: Path, instance: Instance) -> tuple[list[str], list[str]]:
    """Return what is wrong with a run on this instance, and notes on what is there."""
    run = RunFolder(path)
    try:
        config = SuiteConfig.from_file(run.config)
        track = track_of(config)
        controls = control_folders(path, instance, config)
    except SuiteError as error:
        return [str(error)], []
    problems = json_problems(run.environment, "environment") or _fingerprint_problems(run, instance)
    for name in RUN_RECORDS:
        if (path / f"{name}.jsonl").is_file():
            problems += measured_problems(path / f"{name}.jsonl", name, track)
    cells = CheckedCells(run, instance, track)
    problems += cells.problems
    for control in controls:
        problems += control_problems(control, instance)
    notes = [f"{len(cells.headers)} finished cells, {cells.unfinished} unfinished"]
    if not run.scores.is_file():
        return problems, [*notes, "no scores yet: the run is not finished"]
    # The last file that a run writes.
    if not run.page.is_file():
        notes.append(f"no {run.page.name}: tables and figures may be missing; `ravel run` goes on to them")
    if not problems:
        records = RunRecords(run)
        numbers = number_problems(records, cells, instance, config, controls)
        problems += errors_of(lambda: problems.extend(numbers))
        notes.append(f"{len(records.scores)} score records")
    return problems, notes


def _fingerprint_problems(run: RunFolder, instance: Instance) -> list[str]:
    stated = read_json(run.environment)
    expected = {
        "instance_fingerprint": instance.fingerprint,
        "model_fingerprint": instance.model_fingerprint,
    }
    return [
        f"{run.environment.name} states {name} {stated.get(name)}, the instance gives {value}"
        for name, value in expected.items()
        if stated.get(name) != value
    ]
