"""The controls of a run, checked through: cells, outcomes against the pairs that the control makes, floors,
averages; it runs no model.

What a control is held against is not worked out again: of `control_checks.jsonl` only the form is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import AverageRecord, control_row
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.summary import SplitContext, average_records, estimate_methods, seed_outcomes_of
from evaluation.scoring.track import Track
from evaluation.suite.controls import CONTROLS, View
from evaluation.suite.grid import Cell, control_cell
from evaluation.tracks import track_of
from evaluation.verify.checks.files import check_outcomes, lines_problems
from ravel.common.errors import SuiteError
from ravel.common.io import read_json
from ravel.instance import Instance
from ravel.terms.schema import Generalisation, split_name


@dataclass
class ControlFolder:
    """`controls/<control>` of a run."""

    path: Path
    """The folder."""
    instance: Instance
    """The run's instance."""
    config: SuiteConfig
    """The resolved suite."""
    _judged: dict[str, Instance] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The control."""
        return self.path.name

    @property
    def track(self) -> Track[Any]:
        """The run's track."""
        return track_of(self.config)

    def cells(self) -> list[Path]:
        """Return the folders of finished cells."""
        return sorted(path.parent for path in self.path.glob("cells/*/cell.json"))

    def file_problems(self, cell: Path) -> Iterator[str]:
        """Say what is wrong with the outcomes of a cell, pair by pair, and which lines of its diversity
        ratios do not fit their schema."""
        for path in cell.glob("diversity.jsonl"):
            yield from lines_problems(path, "diversity")
        known = {
            view.outcomes_of(split_name(generalisation, "test")): (generalisation, view)
            for view in CONTROLS.get(self.name).views
            for generalisation in self.config.generalisations
        }
        for path in sorted(cell.glob("outcomes/*.jsonl")):
            if path.stem not in known:
                yield f"outcomes/{path.name} is of no split and view of {self.name}"
                continue
            generalisation, view = known[path.stem]
            cases = self.track.cases(self._judged_on(view), split_name(generalisation, "test"))
            yield from check_outcomes(path, cases, self.track.outcome).problems

    def floor_problems(self) -> Iterator[str]:
        """Say which lines of floors do not fit their schema."""
        for path in sorted(self.path.glob("floors/*.jsonl")):
            yield from lines_problems(path, "floors")

    def averages(self, choice: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[AverageRecord]:
        """Yield the rows that the control's outcomes give, for the cells of the grid that were chosen."""
        folders = {
            (control_row(method, self.name), attribute): self._controlled(cells[0])
            for (method, attribute), cells in choice.items()
            if method in self.config.methods_under(self.name) and cells
        }
        for view in CONTROLS.get(self.name).views:
            for generalisation in self.config.generalisations if view.is_row else ():
                yield from self._row_averages(folders, view, generalisation)

    def _row_averages(
        self, folders: Mapping[tuple[str, str], Path], view: View, generalisation: Generalisation
    ) -> list[AverageRecord]:
        name = f"outcomes/{view.outcomes_of(split_name(generalisation, 'test'))}.jsonl"
        judged = {
            key: [folder]
            for key, folder in folders.items()
            if (folder / name).is_file() and "refused" not in read_json(folder / "cell.json")
        }
        seed_outcomes = seed_outcomes_of(
            judged,
            lambda folder: int(read_json(folder / "cell.json")["seed"]),
            lambda folder: self.track.outcome.read(folder / name),
        )
        if not seed_outcomes:
            return []
        clusters = clusters_of(seed_outcomes[0].read()[0])
        context = SplitContext(self.track, self.instance.entity_type, "", generalisation, "test", clusters)
        return average_records(estimate_methods(seed_outcomes, context), context)

    def _controlled(self, cell_id: str) -> Path:
        """Return the folder of a cell under the control, whose id follows from the cell's own."""
        return (
            self.path
            / "cells"
            / control_cell(Cell(cell_id, "", "", None, Site(0), None, 0), self.name).cell_id
        )

    def _judged_on(self, view: View) -> Instance:
        if view.name not in self._judged:
            self._judged[view.name] = CONTROLS.get(self.name).judged_on(
                self.instance, view, self.config.seeds[0], self.config.label_tokens
            )
        return self._judged[view.name]


def control_folders(run: Path, instance: Instance, config: SuiteConfig) -> list[ControlFolder]:
    """Return the folders of the controls that lie in a run. Raises SuiteError for an unknown control."""
    found = [path for path in sorted(run.glob("controls/*")) if path.is_dir()]
    for path in found:
        if path.name not in CONTROLS:
            raise SuiteError(
                expected=f"the controls {', '.join(CONTROLS.names())} in {run / 'controls'}",
                came=repr(path.name),
                todo="use the version of ravel-bench that wrote the run",
            )
    return [ControlFolder(path, instance, config) for path in found]
