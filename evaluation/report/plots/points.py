"""Cause against isolate of chosen points; it computes no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.records.measured import INTERCHANGE, Interval
from evaluation.records.scores import AverageRecord
from evaluation.report.plots.canvas import FORMATS, Format, drawing, fit, new_figure, saved
from evaluation.report.plots.labels import label_points
from evaluation.report.plots.style import FEW, FLOOR_COLOUR, GRID, Style, handles_of, styles, tip
from evaluation.tracks import TRACKS
from ravel.terms.schema import GENERALISATIONS

_PANEL = 2.4
_CROWDED = 2.9


def plot_cause_isolate(
    averages: Sequence[AverageRecord], stem: Path, *, formats: Sequence[Format] = FORMATS
) -> list[Path]:
    """Draw cause against isolate, a panel per generalisation, a marker per method, floors in grey; return the
    paths.

    `averages` are records of one scope, partition and source kind. Records without both scores are left out.
    The dashed line joins the points that score what doing nothing scores. More than eight methods have their
    names beside their points, the best first, where there is room.
    """
    panels = [g for g in GENERALISATIONS if any(r.generalisation == g for r in averages)]
    looks = styles([r.method for r in averages], TRACKS.get(INTERCHANGE).floors)
    crowded = sum(style.colour != FLOOR_COLOUR for style in looks.values()) > FEW
    side, columns = (_CROWDED if crowded else _PANEL), max(len(panels), 1)
    with drawing():
        figure = new_figure((side + 1) * columns, side + 2)
        for index in range(columns):
            figure.add_subplot(1, columns, index + 1)
        for axes, generalisation in zip(figure.axes, panels, strict=False):
            frame(axes, generalisation)
            own = {r.method: r for r in averages if r.generalisation == generalisation}
            for method in looks:
                if method in own:
                    _point(axes, own[method], looks[method])
        fit(figure, (side, side), columns, 1, handles_of(figure))
        if crowded:
            for axes, generalisation in zip(figure.axes, panels, strict=True):
                _names(axes, [r for r in averages if r.generalisation == generalisation], looks)
        partitions = ", ".join(sorted({r.partition for r in averages}))
        return saved(
            figure,
            stem,
            f"Cause against isolate of the chosen points, {partitions} pairs: up and right is "
            "better. On the dashed line are those that score what doing nothing scores."
            if averages
            else "",
            formats,
        )


def frame(axes: Any, title: str) -> None:
    """Make axes of cause and isolate, with the line of those that score what doing nothing scores."""
    # Cause 0 and isolate 1, as what doing nothing scores.
    axes.plot([0, 1], [1, 0], linestyle="--", linewidth=0.6, color=FLOOR_COLOUR)
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xlabel="cause", ylabel="isolate", title=title)
    axes.set_aspect("equal")
    axes.grid(**GRID)


def _scored(record: AverageRecord) -> tuple[float, float] | None:
    cause, isolate = record.value("cause"), record.value("isolate")
    return None if cause is None or isolate is None else (cause, isolate)


def _names(axes: Any, records: Sequence[AverageRecord], looks: Mapping[str, Style]) -> None:
    places = {r.method: place for r in records if (place := _scored(r)) is not None}
    learned = [m for m in places if looks[m].colour != FLOOR_COLOUR]
    best_first = sorted(learned, key=lambda method: -sum(places[method]))
    floors = [place for method, place in places.items() if method not in learned]
    label_points(axes, [(method, *places[method]) for method in best_first], floors)


def _point(axes: Any, record: AverageRecord, style: Style) -> None:
    place = _scored(record)
    if place is None:
        return
    cause, isolate = place
    drawn = axes.errorbar(
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
    drawn[0].set_gid(tip(f"{record.method}: cause {cause:.3f}, isolate {isolate:.3f}"))


def _bar(value: float, interval: Interval | None) -> list[list[float]] | None:
    # A percentile interval need not hold the point itself; a bar can't have a negative length.
    if interval is None:
        return None
    return [[max(value - interval[0], 0.0)], [max(interval[1] - value, 0.0)]]
