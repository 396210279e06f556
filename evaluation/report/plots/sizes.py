"""Cause against isolate over sizes, a panel per method; it computes no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import ScoreRecord
from evaluation.report.common.families import FLOORS, by_family
from evaluation.report.plots.canvas import FORMATS, PAGE, Format, drawing, fit, new_figure, saved
from evaluation.report.plots.curves import SizeCurve, size_curve, validation_records
from evaluation.report.plots.labels import label_points
from evaluation.report.plots.points import frame
from evaluation.report.plots.style import (
    FEW,
    FLOOR_COLOUR,
    HELD_OUT,
    Style,
    broken,
    handles_of,
    styles,
)
from evaluation.tracks import TRACKS
from ravel.terms.schema import Generalisation

_FAINT = "#DADADA"
_LETTERS_PER_INCH = 15
_CHOSEN = "chosen on validation"


def plot_size_grid(
    scores: Sequence[ScoreRecord],
    generalisation: Generalisation,
    stem: Path,
    *,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Draw cause against isolate over sizes, a panel per method; return the paths, none where no method has
    two sizes.

    Validation pairs, each attribute at its chosen site, means over attributes and seeds. A ring marks what
    was chosen; floors are drawn in grey in every panel, the other methods faintly.
    """
    found = validation_records(scores)
    names = {r.method for r in found if r.generalisation == generalisation}
    curves = {m: size_curve(found, m, generalisation) for m in sorted(names)}
    references = TRACKS.get(INTERCHANGE).floors
    learned = [m for family, own in by_family(curves, references).items() if family != FLOORS for m in own]
    if all(len(curves[method].points) < 2 for method in learned):
        return []
    looks = styles(list(curves), references)
    columns = min(len(learned), 5 if len(learned) > FEW else 4)
    rows = -(-len(learned) // columns)
    with drawing():
        side = PAGE / 5 if columns == 5 else 1.6
        figure = new_figure((side + 1) * columns, (side + 1) * rows + 1)
        for index, method in enumerate(learned):
            axes = figure.add_subplot(rows, columns, index + 1)
            _size_panel(axes, method, curves, looks, references)
            axes.set_title(broken(method, int(side * _LETTERS_PER_INCH)))
            _outer_ticks(axes, left=index % columns == 0, bottom=index + columns >= len(learned))
            if index // columns + 1 < rows:
                axes.set_xlabel("")
        handles = handles_of(figure)
        legend = {n: handles[n] for n in (*references, _CHOSEN) if n in handles}
        fit(figure, (side, side), columns, rows, legend)
        for axes, method in zip(figure.axes, learned, strict=True):
            _end_labels(axes, curves[method])
        what = f"Cause against isolate over the number of swapped coordinates, {HELD_OUT[generalisation]}"
        return saved(
            figure,
            stem,
            f"{what}, validation pairs at the chosen sites. Numbers are the smallest and the largest size; "
            "other methods are drawn faintly.",
            formats,
        )


def _size_panel(
    axes: Any,
    method: str,
    curves: Mapping[str, SizeCurve],
    looks: Mapping[str, Style],
    references: Sequence[str],
) -> None:
    frame(axes, "")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    for other, curve in curves.items():
        if other != method and other not in references:
            _line(axes, curve, Style(_FAINT, ""), width=0.7)
    for floor in (m for m in looks if m in references):
        _line(axes, curves[floor], looks[floor], width=0.8, label=floor)
    _line(axes, curves[method], looks[method], width=1.3)
    _ring(axes, curves[method])


def _line(axes: Any, curve: SizeCurve, style: Style, *, width: float, label: str | None = None) -> None:
    axes.plot(
        [p.cause for p in curve.points],
        [p.isolate for p in curve.points],
        marker=style.marker,
        markersize=5 if style.colour == FLOOR_COLOUR else 3,
        color=style.colour,
        linewidth=width,
        linestyle=style.line,
        label=label,
    )


def _ring(axes: Any, curve: SizeCurve) -> None:
    if curve.chosen is not None:
        axes.plot(
            [curve.chosen.cause],
            [curve.chosen.isolate],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor="#000000",
            markeredgewidth=0.7,
            linestyle="none",
            label=_CHOSEN,
        )


def _end_labels(axes: Any, curve: SizeCurve) -> None:
    """Write the sizes at both ends of the curve."""
    ends = dict.fromkeys((curve.points[-1], curve.points[0])) if curve.points else {}
    label_points(
        axes,
        [(point.label(), point.cause, point.isolate) for point in ends],
        [(point.cause, point.isolate) for point in curve.points],
    )


def _outer_ticks(axes: Any, *, left: bool, bottom: bool) -> None:
    if not left:
        axes.set_ylabel("")
        axes.set_yticklabels([])
    if not bottom:
        axes.set_xticklabels([])
