"""The chosen points of a run under one control: which cells there are, what they are judged on, where their
files lie; it runs no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from das.methods.common.base import Method
from evaluation.config.suite import TWIN, SuiteConfig
from evaluation.records.headers import swapped_in
from evaluation.records.run_folder import RunFolder
from evaluation.scoring.clusters import Clustered
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_refusal
from evaluation.suite.controls import Control, View
from evaluation.suite.grid import Cell, ChosenCells, control_cell
from ravel.instance import Instance
from ravel.terms.schema import Generalisation, split_name

_FOLDER = "controls"


def controlled_points(chosen: ChosenCells, config: SuiteConfig, control: str) -> dict[tuple[str, str], Cell]:
    """Return the cells of the grid that a control is for, by (method, attribute): the first seed of each
    point that was chosen for one of its methods."""
    methods = config.methods_under(control)
    return {key: cells[0] for key, cells in chosen.items() if key[0] in methods and cells}


@dataclass
class ControlledPoints:
    """One control at the chosen points of a run."""

    control: Control
    """The control."""
    points: Mapping[tuple[str, str], Cell]
    """The cells of the grid that are controlled, by (method, attribute)."""
    context: RunContext
    """What the cells of the grid share, test splits open."""
    config: SuiteConfig
    """The resolved suite."""
    _judged: dict[str, Instance] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Root of the control's random streams."""
        return self.config.seeds[0]

    @property
    def run(self) -> RunFolder:
        """Where the control's cells lie: `controls/<control>` of the run."""
        return RunFolder(self.context.run.path / _FOLDER / self.control.name)

    def cells(self) -> dict[Cell, Cell]:
        """Return the controlled cell of each cell of the grid that the control can say something of."""
        ordinary = dict.fromkeys(self.points.values())
        return {cell: self.cell_of(cell) for cell in ordinary if self.applies(cell)}

    def cell_of(self, ordinary: Cell) -> Cell:
        """Return the controlled cell of a cell of the grid."""
        return control_cell(ordinary, self.control.name)

    def applies(self, cell: Cell) -> bool:
        """Tell whether the control says something of a cell's method."""
        method = self.method(cell)
        return method.needs_pairs or method.needs_labels or not self.control.needs_answers

    def method(self, cell: Cell) -> type[Method]:
        """Return a cell's method."""
        return self.context.methods.get(cell.method)

    def is_twin(self, cell: Cell) -> bool:
        """Tell whether a controlled cell is the twin, on random weights, of one that has to have it."""
        return self.control.name == TWIN and cell.method in self.config.twins

    def views(self) -> Iterator[tuple[View, Generalisation]]:
        """Yield how the control is judged, and on which test splits: those with cases."""
        for view in self.control.views:
            for generalisation in self.config.generalisations:
                if self.cases(view, split_name(generalisation, "test")):
                    yield view, generalisation

    def judged_on(self, view: View) -> Instance:
        """Return the instance whose pairs are judged in a view."""
        if view.name not in self._judged:
            self._judged[view.name] = self.control.judged_on(
                self.context.instance, view, self.seed, self.config.label_tokens
            )
        return self._judged[view.name]

    def cases(self, view: View, split: str) -> Sequence[Clustered]:
        """Return what is judged of a split in a view."""
        return self.context.track.cases(self.judged_on(view), split)

    def refusal(self, cell: Cell) -> str | None:
        """Return why a controlled cell's method had no answer, or None if it had one."""
        return cell_refusal(cell, replace(self.context, run=self.run))

    def size(self, cell: Cell) -> int:
        """Return how many coordinates a controlled cell swaps."""
        return swapped_in(self.run.cell(cell.cell_id).header)

    def floor_file(self, cell: Cell, view: View, split: str) -> Path:
        """Return where a floor lies: cells with the same floor share it."""
        at = f".{cell.site}.{self.size(cell)}" if view.floor_by_size else ""
        return self.run.path / "floors" / f"{view.outcomes_of(split)}{at}.jsonl"
