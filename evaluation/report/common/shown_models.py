"""What a target model is called in tables and on pages; records keep the name that it was loaded by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import AverageRecord, ComparisonRecord, ScoreRecord
from ravel.common.io import read_text
from ravel.common.strict_yaml import YamlError, parse_yaml

_LABEL = "model_label"
OfModel = TypeVar("OfModel", ScoreRecord, AverageRecord, ComparisonRecord)


def called(records: Sequence[OfModel], label: str | None) -> list[OfModel]:
    """Return records with the model's label in place of its name or, without one, of a local path its last
    part."""
    return [replace(record, model=label or _short(record.model)) for record in records]


def shown_records(run: RunFolder, label: str | None = None) -> RunRecords:
    """Return the records of a run with its model called by a label: this one, or else the suite's."""
    if label is None and run.config.is_file():
        label = _stated(run.config)
    name: Callable[[str], str] = _short if label is None else (lambda _: label)
    return RunRecords(run, name)


def shown_run(path: Path, label: str | None = None) -> RunRecords:
    """Return what `shown_records` does. Raises SuiteError unless there is a finished run in the folder."""
    return shown_records(RunRecords.open(path).folder, label)


def _stated(config: Path) -> str | None:
    """Return the label in a suite's file, whatever else is in it: tables need nothing of the rest."""
    try:
        stated = parse_yaml(read_text(config))
    except YamlError:
        return None
    label = stated.get(_LABEL) if isinstance(stated, dict) else None
    return label if isinstance(label, str) else None


def _short(model: str) -> str:
    path = Path(model)
    return path.name if path.is_absolute() or model.startswith(".") else model
