"""What a run has written down, read from its folder; it knows the files and their records, and computes
nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from evaluation.records.control_checks import CONTROL_CHECKS, ControlCheck, read_control_checks
from evaluation.records.failures import Failure, read_failures
from evaluation.records.headers import FitCost, cost_in, passes_together, read_cell_header
from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import (
    AverageRecord,
    ComparisonRecord,
    JudgedCase,
    Refusal,
    ScoredKind,
    ScoreRecord,
    read_averages,
    read_comparisons,
    read_refusals,
    read_scores,
)
from ravel.common.errors import SuiteError
from ravel.common.seeds import grouped
from ravel.instance import Instance
from ravel.terms.schema import Partition

Case = TypeVar("Case", bound=JudgedCase)
OfModel = TypeVar("OfModel", ScoreRecord, AverageRecord, ComparisonRecord)


class RunRecords:
    """The records of a run; each file is read when it is first asked for, and then kept. `model_name` says
    what its model is called where that is not what the files say.

    Every property raises SuiteError for a file that does not fit, naming it.
    """

    def __init__(self, folder: RunFolder, model_name: Callable[[str], str] | None = None) -> None:
        self.folder = folder
        """Where they lie."""
        self.as_written = self if model_name is None else RunRecords(folder)
        """The same with the model called as the files call it; scores and instance are read once for both."""
        self._model_name = model_name
        self._costs: dict[str, FitCost | None] = {}

    @classmethod
    def open(cls, path: Path) -> RunRecords:
        """Return the records of a finished run. Raises SuiteError unless there is one in the folder."""
        folder = RunFolder(path)
        folder.require("give the folder of a run")
        if not folder.scores.is_file():
            raise SuiteError(
                expected=f"{folder.scores.name} in {path}",
                came="none, for the run is not finished",
                todo="go on with it: ravel run SUITE.yaml with the same --out",
            )
        return cls(folder)

    @cached_property
    def scores(self) -> list[ScoreRecord]:
        """All of `scores.jsonl`."""
        written = self.as_written
        return self._named(read_scores(self.folder.scores) if written is self else written.scores)

    def _named(self, records: list[OfModel]) -> list[OfModel]:
        if self._model_name is None:
            return records
        return [replace(record, model=self._model_name(record.model)) for record in records]

    @property
    def track(self) -> str:
        """The track of the scores, by name."""
        return self.scores[0].track if self.scores else INTERCHANGE

    @cached_property
    def averages(self) -> list[AverageRecord] | None:
        """All of `averages.jsonl`; None where there is none."""
        return self._named(read_averages(self.folder.averages)) if self.folder.averages.is_file() else None

    @cached_property
    def comparisons(self) -> list[ComparisonRecord]:
        """All of `comparisons.jsonl`; empty where there is none."""
        known = read_comparisons(self.folder.comparisons) if self.folder.comparisons.is_file() else []
        return self._named(known)

    @cached_property
    def refusals(self) -> list[Refusal]:
        """All of `refusals.jsonl`; empty where there is none."""
        return read_refusals(self.folder.refusals) if self.folder.refusals.is_file() else []

    @cached_property
    def failures(self) -> list[Failure]:
        """All of `failures.jsonl`; empty where nothing failed."""
        return read_failures(self.folder.path)

    @cached_property
    def control_checks(self) -> list[ControlCheck]:
        """All of `control_checks.jsonl`; empty for a run without controls."""
        return read_control_checks(self.folder.path / CONTROL_CHECKS)

    @cached_property
    def instance(self) -> Instance | None:
        """The run's instance; None where its folder holds none."""
        if self.as_written is not self:
            return self.as_written.instance
        return Instance.load(self.folder.instance) if self.folder.instance.is_dir() else None

    def chosen(
        self, partition: Partition | None = "test", source_kind: ScoredKind | None = "all"
    ) -> list[ScoreRecord]:
        """Return the scores of chosen points; None takes every partition, or every kind of source."""
        return [
            record
            for record in self.scores
            if record.chosen
            and partition in (None, record.partition)
            and source_kind in (None, record.source_kind)
        ]

    def cost(self, cell: str) -> FitCost | None:
        """Return what the fit of a cell asked of the model; None where its header is not there, or does not
        say."""
        if cell not in self._costs:
            try:
                self._costs[cell] = cost_in(read_cell_header(self.folder.cell(cell).header))
            except SuiteError:
                self._costs[cell] = None
        return self._costs[cell]

    def passes(self, points: Iterable[ScoreRecord]) -> int | None:
        """Return the passes of the model that fitting these points took, a mean over seeds; what fits of one
        seed share counts once. None where that is not known."""
        by_seed = grouped(points, lambda record: record.seed).values()
        counts = [passes_together(map(self.cost, {r.cell: None for r in own})) for own in by_seed]
        known = [count for count in counts if count is not None]
        return round(sum(known) / len(known)) if known and len(known) == len(counts) else None

    def outcomes(self, cell: str, split: str, kind: type[Case]) -> list[Case] | None:
        """Return what was judged in a cell on a split; None where that is not kept."""
        path = self.folder.cell(cell).outcomes(split)
        return kind.read(path) if path.is_file() else None
