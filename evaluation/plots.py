"""Figures from records, as PNG and SVG; the only file that draws, and it computes no score.

Figures are made without pyplot, so that no back-end is chosen for the whole process, and equal records give
equal files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.records import FLOORS, NO_OP_DISENTANGLE, AverageRecord, Interval
from ravel.common.io import write_bytes
from ravel.schema import GENERALISATIONS

__all__ = ["LayerPoint", "plot_cause_isolate", "plot_layers"]

# Okabe and Ito's palette: told apart with every common form of colour blindness, and in grey by its markers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
_FLOOR_COLOUR = "#767676"
_FLOOR_MARKERS = {"no_op": "1", "full_vector": "2", "random_subspace": "3"}
# Fixed ids in place of random ones, and text kept as text.
_SETTINGS = {"svg.hashsalt": "ravel-bench", "svg.fonttype": "none"}
_DPI = 160


@dataclass(frozen=True, slots=True)
class LayerPoint:
    """One point of a curve over layers."""

    curve: str
    """Name of the curve: a method, or a score."""
    layer: int
    """Index of the block."""
    value: float
    """Height of the point."""
    interval: Interval | None = None
    """95 % interval, or None."""


@dataclass(frozen=True, slots=True)
class _Style:
    colour: str
    marker: str


def plot_cause_isolate(averages: Sequence[AverageRecord], stem: Path) -> list[Path]:
    """Draw cause against isolate, a panel per generalisation, a marker per method, floors in grey; return the
    paths.

    `averages` are records of one scope and partition. Records without both scores are left out. The dashed
    line joins the points that score what doing nothing scores.
    """
    panels = [g for g in GENERALISATIONS if any(r.generalisation == g for r in averages)]
    styles = _styles([r.method for r in averages])
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.2 * max(len(panels), 1), 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        for index, generalisation in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), index + 1)
            _frame(axes, generalisation)
            for record in averages:
                if record.generalisation == generalisation:
                    _point(axes, record, styles[record.method])
        _legend(figure)
        return _saved(figure, stem)


def plot_layers(
    points: Sequence[LayerPoint], stem: Path, *, title: str = "", score: str = "score"
) -> list[Path]:
    """Draw one curve per name over the layers, with intervals as thin bars; return the paths."""
    styles = _styles([point.curve for point in points])
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(5.6, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(1, 1, 1)
        for curve, style in styles.items():
            _curve(axes, sorted((p for p in points if p.curve == curve), key=lambda p: p.layer), style)
        axes.set(xlabel="layer", ylabel=score, ylim=(-0.03, 1.03), title=title)
        axes.set_xticks(sorted({point.layer for point in points}))
        _legend(figure)
        return _saved(figure, stem)


def _styles(names: Sequence[str]) -> dict[str, _Style]:
    unique = sorted(set(names))
    learned = [name for name in unique if name not in FLOORS]
    styles = {
        name: _Style(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(learned)
    }
    floors = [name for name in FLOORS if name in unique]
    return styles | {name: _Style(_FLOOR_COLOUR, _FLOOR_MARKERS[name]) for name in floors}


def _frame(axes: Any, title: str) -> None:
    level = 2 * NO_OP_DISENTANGLE
    axes.plot([0, level], [level, 0], linestyle="--", linewidth=0.8, color=_FLOOR_COLOUR)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="cause", ylabel="isolate", title=title)
    axes.set_aspect("equal")
    axes.grid(linewidth=0.3)


def _point(axes: Any, record: AverageRecord, style: _Style) -> None:
    if record.cause is None or record.isolate is None:
        return
    axes.errorbar(
        record.cause,
        record.isolate,
        xerr=_bar(record.cause, record.cause_interval),
        yerr=_bar(record.isolate, record.isolate_interval),
        fmt=style.marker,
        color=style.colour,
        markersize=8,
        elinewidth=0.8,
        label=record.method,
    )


def _curve(axes: Any, points: Sequence[LayerPoint], style: _Style) -> None:
    values = [point.value for point in points]
    axes.plot(
        [point.layer for point in points],
        values,
        marker=style.marker,
        color=style.colour,
        linewidth=1.4,
        label=points[0].curve,
    )
    for point in points:
        if point.interval is not None:
            axes.vlines(point.layer, *point.interval, color=style.colour, linewidth=0.8)


def _bar(value: float, interval: Interval | None) -> list[list[float]] | None:
    # A percentile interval need not hold the point itself; a bar can't have a negative length.
    if interval is None:
        return None
    return [[max(value - interval[0], 0.0)], [max(interval[1] - value, 0.0)]]


def _legend(figure: Figure) -> None:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = 5 if len(entries) <= 5 else 3
        figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False
        )


def _saved(figure: Figure, stem: Path) -> list[Path]:
    paths = []
    metadata: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}}
    for suffix, fixed in metadata.items():
        content = io.BytesIO()
        figure.savefig(content, format=suffix, dpi=_DPI, metadata=fixed)
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_bytes(path, content.getvalue())
        paths.append(path)
    return paths
