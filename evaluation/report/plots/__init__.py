"""Figures from records, as PNG, SVG or PDF, told apart with every common form of colour blindness."""

from __future__ import annotations

from evaluation.report.plots.canvas import FORMATS, Format
from evaluation.report.plots.layers import plot_layer_grid
from evaluation.report.plots.matrices import plot_angles, plot_entanglement
from evaluation.report.plots.points import plot_cause_isolate
from evaluation.report.plots.sizes import plot_size_grid
from evaluation.report.plots.training import TrainingLog, plot_training
from evaluation.report.plots.write import PLOTS, PlotInputs, write_plots

__all__ = [
    "FORMATS",
    "PLOTS",
    "Format",
    "PlotInputs",
    "TrainingLog",
    "plot_angles",
    "plot_cause_isolate",
    "plot_entanglement",
    "plot_layer_grid",
    "plot_size_grid",
    "plot_training",
    "write_plots",
]
