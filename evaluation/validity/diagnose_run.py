"""Diagnoses what lies in folders: one featurizer, or every chosen subspace of a run; what a diagnosis is
made of is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.diagnostics.agreement import subspace_of
from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.storage import FeaturizerHeader, load_featurizer
from das.methods.common.base import NotApplicableError
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.judging.recognition import note_to, recognise
from evaluation.judging.score import saved_featurizer_id
from evaluation.records.diagnosis import (
    DIAGNOSTICS,
    CellDiagnoses,
    Diagnosis,
    Undiagnosed,
    read_cell_diagnoses,
    write_cell_diagnoses,
)
from evaluation.records.headers import read_cell_header
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import ScoreRecord
from evaluation.report.page import write_report
from evaluation.tracks import TRACKS
from evaluation.validity.diagnosis.diagnose import DiagnosisConfig, diagnose, settings_of
from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Progress, counting, silent
from ravel.instance import Instance

__all__ = [
    "SHUFFLED",
    "DiagnosisConfig",
    "RunRow",
    "diagnose",
    "diagnose_folder",
    "diagnose_run",
]

SHUFFLED = "labels_shuffled"
"""The control of a run that has the same methods fitted on shuffled labels."""
_CONTROLS = "controls"
_POINT = ("method", "config", "attribute", "site", "size")
"""What a cell and its control have in common; only the first seed is controlled."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One chosen point of a run for one target attribute, with what was found."""

    cell: str
    """The cell's id."""
    method: str
    """Its method."""
    attribute: str
    """The target attribute."""
    seed: int
    """Seed of the fit."""
    found: Diagnosis | Undiagnosed
    """The diagnosis, or why there is none."""


def diagnose_folder(
    folder: Path,
    instance_folder: Path,
    target: TargetConfig,
    config: DiagnosisConfig,
    *,
    attribute: str | None = None,
    shuffled: Path | None = None,
    allow_foreign: bool = False,
    progress: Progress = silent,
) -> Diagnosis:
    """Diagnose a saved featurizer for one target attribute, by default its own; nothing is written.

    `shuffled` is the folder of the same method's featurizer that was fitted on shuffled labels. Raises
    SuiteError for damaged files, a featurizer that is no subspace, that belongs to another model or instance
    (unless allowed) or that serves every attribute where none is named, and for a split without pairs.
    """
    instance = Instance.load(instance_folder)
    # Before the model is loaded: what can't be diagnosed is refused in milliseconds.
    featurizer, header = load_featurizer(
        folder, instance_fingerprint=instance.fingerprint, allow_foreign=allow_foreign
    )
    subspace_of(featurizer)
    control = None if shuffled is None else _control(shuffled, header)
    target_attribute = _attribute_of(header, attribute)
    engine = target.open()
    recognise(engine, instance.model_fingerprint, note_to(progress))
    load_featurizer(folder, target_fingerprint=engine.target.fingerprint, allow_foreign=allow_foreign)
    return diagnose(
        featurizer,
        instance,
        engine,
        saved_featurizer_id("", header, featurizer.size, instance, engine),
        target_attribute,
        config,
        shuffled=control,
        progress=counting(progress, "patches"),
    )


def _attribute_of(header: FeaturizerHeader, attribute: str | None) -> str:
    if attribute is not None:
        return attribute
    if header.attribute == "*":
        raise SuiteError(
            expected=f"a target attribute, for {header.method} serves all of them",
            came="none",
            todo="give it with --attribute",
        )
    return header.attribute


def _control(folder: Path, header: FeaturizerHeader) -> Featurizer:
    found, own = load_featurizer(folder)
    if own.site != header.site:
        raise SuiteError(
            expected=f"a featurizer fitted on shuffled labels at {header.site}, where the diagnosed one acts",
            came=f"one at {own.site} in {folder}",
            todo="fit the control at the same site with the same size",
        )
    return found


def diagnose_run(
    folder: Path, target: TargetConfig, config: DiagnosisConfig, progress: Progress = silent
) -> list[RunRow]:
    """Diagnose every chosen subspace of a finished run and write `diagnostics.json` into its cell.

    Answers are judged as the run judged them. Floors and controls have no verdict and are passed over. What
    was diagnosed before with equal settings is read and not done again, so that an interrupted call goes on
    where it stopped. A featurizer that is no subspace is written down with the reason. In the end the page of
    the run is written anew. Raises SuiteError for a folder without scores, another model than the run's, and
    a split without pairs.
    """
    records = RunRecords.open(folder)
    run = records.folder
    suite = SuiteConfig.from_file(run.config)
    config = config.model_copy(update={"label_tokens": suite.label_tokens, "tolerance": suite.tolerance})
    instance, engine = Instance.load(run.instance), target.open()
    recognise(engine, instance.model_fingerprint, note_to(progress))
    subspaces = _ChosenSubspaces(run, instance, engine, config, records.chosen(partition=None))
    cells = subspaces.cells()
    rows: list[RunRow] = []
    for number, (cell, attributes) in enumerate(cells.items()):
        progress(Counted("cells", number, len(cells)))
        rows += subspaces.diagnosed(cell, attributes, progress)
    progress(Counted("cells", len(cells), len(cells)))
    write_report(run.path)
    return rows


@dataclass(frozen=True, slots=True)
class _ChosenSubspaces:
    """The chosen subspaces of a run, to be diagnosed with one engine."""

    run: RunFolder
    instance: Instance
    engine: Engine
    config: DiagnosisConfig
    chosen: Sequence[ScoreRecord]

    def cells(self) -> dict[str, list[str]]:
        """Return the cells to be diagnosed, each with the attributes it was chosen for."""
        found: dict[str, list[str]] = {}
        for record in self.chosen:
            apart = TRACKS.get(record.track).set_apart(record.method)
            served = [] if apart else found.setdefault(record.cell, [])
            if record.attribute not in served:
                served.append(record.attribute)
        return found

    def diagnosed(self, cell: str, attributes: Sequence[str], progress: Progress) -> Iterator[RunRow]:
        """Yield the rows of one cell, from its file where that was written with equal settings."""
        path = self.run.cell(cell).path / DIAGNOSTICS
        found = read_cell_diagnoses(path) if path.is_file() else None
        if found is None or not self._current(cell, found, attributes):
            found = self._made(cell, attributes, progress)
            write_cell_diagnoses(path, found)
        record = next(r for r in self.chosen if r.cell == cell)
        for each in found.each():
            yield RunRow(cell, record.method, each.attribute, record.seed, each)

    def _current(self, cell: str, found: CellDiagnoses, attributes: Sequence[str]) -> bool:
        covered = {each.attribute for each in found.each()}
        split = self.config.generalisation, self.config.partition
        same = all(
            dict(d.settings) == self._settings(cell, d.method, d.attribute)
            and (d.generalisation, d.partition) == split
            for d in found.diagnoses
        )
        return same and covered == set(attributes)

    def _settings(self, cell: str, method: str, attribute: str) -> dict[str, Any]:
        siblings = len(self._cells_of(method, attribute)) - 1
        return settings_of(self.config, siblings=siblings, shuffled=self._shuffled(cell) is not None)

    def _shuffled(self, cell: str) -> Path | None:
        """Return the folder of the same fit on shuffled labels, if the run has that control."""
        own = read_cell_header(self.run.cell(cell).header)
        controls = RunFolder(self.run.path / _CONTROLS / SHUFFLED)
        alike = (
            controls.cell(header["cell"]).path
            for header in controls.finished_cells()
            if "refused" not in header and all(header.get(name) == own.get(name) for name in _POINT)
        )
        return next(alike, None)

    def _made(self, cell: str, attributes: Sequence[str], progress: Progress) -> CellDiagnoses:
        featurizer, header = self._load(cell)
        diagnoses: list[Diagnosis] = []
        refused: list[Undiagnosed] = []
        for attribute in attributes:
            try:
                subspace_of(featurizer)
            except SuiteError as refusal:
                refused.append(Undiagnosed(attribute, str(refusal)))
                continue
            try:
                diagnoses.append(self._one(cell, featurizer, header, attribute, progress))
            except NotApplicableError as refusal:
                refused.append(Undiagnosed(attribute, str(refusal)))
        return CellDiagnoses(tuple(diagnoses), tuple(refused))

    def _one(
        self,
        cell: str,
        featurizer: Featurizer,
        header: FeaturizerHeader,
        attribute: str,
        progress: Progress,
    ) -> Diagnosis:
        label = f"judge {header.method} {attribute} seed {header.seed}"
        siblings = [other for other in self._cells_of(header.method, attribute) if other != cell]
        control = self._shuffled(cell)
        return diagnose(
            featurizer,
            self.instance,
            self.engine,
            saved_featurizer_id(cell, header, featurizer.size, self.instance, self.engine),
            attribute,
            self.config,
            shuffled=None if control is None else load_featurizer(control)[0],
            siblings=[self._load(other)[0] for other in siblings],
            progress=counting(progress, label),
        )

    def _cells_of(self, method: str, attribute: str) -> list[str]:
        found = [r.cell for r in self.chosen if (r.method, r.attribute) == (method, attribute)]
        return list(dict.fromkeys(found))

    def _load(self, cell: str) -> tuple[Featurizer, FeaturizerHeader]:
        return load_featurizer(
            self.run.cell(cell).path,
            target_fingerprint=self.engine.target.fingerprint,
            instance_fingerprint=self.instance.fingerprint,
        )
