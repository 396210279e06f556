"""Which cells a suite comes to: its settings spelled out, and a cell for each fit; nothing is run."""

from evaluation.suite.grid.cell import Cell, ChosenCells, control_cell
from evaluation.suite.grid.plan import check_splits, narrowed, plan_cells
from evaluation.suite.grid.resolve import PlannedOn, resolve

__all__ = [
    "Cell",
    "ChosenCells",
    "PlannedOn",
    "check_splits",
    "control_cell",
    "narrowed",
    "plan_cells",
    "resolve",
]
