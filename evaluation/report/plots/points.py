"""Cause against isolate of chosen points; it computes no score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.records.measured import INTERCHANGE, Interval
from evaluation.records.scores import AverageRecord
from evaluation.report.plots.canvas import drawing, new_figure, saved
from evaluation.report.plots.style import FLOOR_COLOUR, GRID, Style, legend_below, styles, titled
from evaluation.tracks import TRACKS
from ravel.terms.schema import GENERALISATIONS

__all__ = ["frame", "plot_cause_isolate"]

_PANEL = 2.6


def plot_cause_isolate(averages: Sequence[AverageRecord], stem: Path) -> list[Path]:
    """Draw cause against isolate, a panel per generalisation, a marker per method, floors in grey; return the
    paths.

    `averages` are records of one scope, partition and source kind. Records without both scores are left out.
    The dashed line joins the points that score what doing nothing scores. Up to eight methods have a colour
    each; more have that of their family.
    """
    panels = [g for g in GENERALISATIONS if any(r.generalisation == g for r in averages)]
    looks = styles([r.method for r in averages], TRACKS.get(INTERCHANGE).floors)
    with drawing():
        lines = -(-len(looks) // 4)
        figure = new_figure(_PANEL * max(len(panels), 1) + 0.4, _PANEL + 0.5 + 0.14 * lines)
        for index, generalisation in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), index + 1)
            frame(axes, generalisation)
            own = {r.method: r for r in averages if r.generalisation == generalisation}
            for method in looks:
                if method in own:
                    _point(axes, own[method], looks[method])
        partitions = ", ".join(sorted({r.partition for r in averages}))
        titled(figure, f"Cause against isolate of the chosen points, {partitions} pairs" if averages else "")
        wide = (3 if len(looks) <= 6 else 2) * max(len(panels), 1)
        legend_below(figure, columns=min(len(looks), wide) or None)
        return saved(figure, stem)


def frame(axes: Any, title: str) -> None:
    """Make axes of cause and isolate, with the line of those that score what doing nothing scores."""
    # Cause 0 and isolate 1, as what doing nothing scores.
    axes.plot([0, 1], [1, 0], linestyle="--", linewidth=0.6, color=FLOOR_COLOUR)
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xlabel="cause", ylabel="isolate", title=title)
    axes.set_aspect("equal")
    axes.grid(**GRID)


def _point(axes: Any, record: AverageRecord, style: Style) -> None:
    cause, isolate = record.value("cause"), record.value("isolate")
    if cause is None or isolate is None:
        return
    axes.errorbar(
        cause,
        isolate,
        xerr=_bar(cause, record.interval("cause")),
        yerr=_bar(isolate, record.interval("isolate")),
        fmt=style.marker,
        color=style.colour,
        markersize=5.5,
        elinewidth=0.6,
        label=record.method,
    )


def _bar(value: float, interval: Interval | None) -> list[list[float]] | None:
    # A percentile interval need not hold the point itself; a bar can't have a negative length.
    if interval is None:
        return None
    return [[max(value - interval[0], 0.0)], [max(interval[1] - value, 0.0)]]
