"""Curves of many methods as small multiples: cause against isolate over sizes, disentangle over layers; it
computes no score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import ScoreRecord
from evaluation.report.common.families import FLOORS, by_family, family_of
from evaluation.report.plots.canvas import PAGE, drawing, new_figure, saved
from evaluation.report.plots.curves import SizeCurve, layer_curve, size_curve, validation_records
from evaluation.report.plots.points import frame
from evaluation.report.plots.style import (
    FEW,
    FLOOR_COLOUR,
    GRID,
    HELD_OUT,
    Style,
    family_colour,
    handles_of,
    legend_below,
    styles,
    titled,
)
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from ravel.terms.schema import GENERALISATIONS, Generalisation

__all__ = ["plot_layer_grid", "plot_size_grid"]

_FAINT = "#DADADA"
_LETTERS = 21
_MOST_TICKS = 9


def plot_size_grid(scores: Sequence[ScoreRecord], generalisation: Generalisation, stem: Path) -> list[Path]:
    """Draw cause against isolate over sizes, a panel per method in its family's colour; return the paths.

    Validation pairs, each attribute at its chosen site, means over attributes and seeds. A ring marks what
    was chosen; floors are drawn in grey in every panel, the other methods faintly.
    """
    found = validation_records(scores)
    names = {r.method for r in found if r.generalisation == generalisation}
    curves = {m: size_curve(found, m, generalisation) for m in sorted(names)}
    references = TRACKS.get(INTERCHANGE).floors
    learned = [m for family, own in by_family(curves, references).items() if family != FLOORS for m in own]
    columns = max(1, min(len(learned), 5 if len(learned) > FEW else 4))
    rows = max(1, -(-len(learned) // columns))
    with drawing():
        side = PAGE / 5 if columns == 5 else 1.75
        figure = new_figure(max(side * columns + 0.3, 3.4), (side + 0.12) * rows + 1.0)
        for index, method in enumerate(learned):
            axes = figure.add_subplot(rows, columns, index + 1)
            _size_panel(axes, method, curves, references)
            _outer_ticks(axes, left=index % columns == 0, bottom=index + columns >= len(learned))
            if index // columns + 1 < rows:
                axes.set_xlabel("")
        titled(figure, _size_title(generalisation))
        legend_below(figure, columns=min(4, columns + 1), handles=_size_legend(figure, learned, references))
        return saved(figure, stem)


def _size_title(generalisation: Generalisation) -> str:
    what = f"Cause against isolate over sizes, {HELD_OUT[generalisation]}"
    return f"{what}, validation pairs at the chosen sites"


def _size_panel(axes: Any, method: str, curves: Mapping[str, SizeCurve], references: Sequence[str]) -> None:
    family = family_of(method, references)
    frame(axes, "")
    # A long name must not run into that of the next panel.
    size = min(7.5, 7.5 * _LETTERS / max(len(method), 1))
    axes.set_title(method, color=family_colour(family), fontsize=size)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    for other, curve in curves.items():
        if other != method and other not in references:
            _line(axes, curve, Style(_FAINT, ""), width=0.7)
    floors = styles([m for m in curves if m in references], references)
    for floor, style in floors.items():
        _line(axes, curves[floor], style, width=0.8, label=floor)
    colour = family_colour(family)
    _line(axes, curves[method], Style(colour, "o"), width=1.3, label=family)
    _ring(axes, curves[method], colour)
    _end_labels(axes, curves[method])


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


def _ring(axes: Any, curve: SizeCurve, colour: str) -> None:
    if curve.chosen is not None:
        axes.plot(
            [curve.chosen.cause],
            [curve.chosen.isolate],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=colour,
            linestyle="none",
            label="chosen on validation",
        )


def _end_labels(axes: Any, curve: SizeCurve) -> None:
    """Write the sizes at both ends of the curve, on its lower side unless the panel ends there."""
    ends = dict.fromkeys((curve.points[0], curve.points[-1])) if curve.points else {}
    if len(ends) == 2:
        first, last = ends
        if abs(first.cause - last.cause) + abs(first.isolate - last.isolate) < 0.2:
            ends = {last: None}
    for point in ends:
        left, below = point.cause > 0.15, point.isolate > 0.15
        axes.annotate(
            point.label(),
            (point.cause, point.isolate),
            xytext=(-3 if left else 4, -3 if below else 4),
            textcoords="offset points",
            ha="right" if left else "left",
            va="top" if below else "bottom",
            fontsize=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
        )


def _outer_ticks(axes: Any, *, left: bool, bottom: bool) -> None:
    if not left:
        axes.set_ylabel("")
        axes.set_yticklabels([])
    if not bottom:
        axes.set_xticklabels([])


def _size_legend(figure: Any, learned: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Return a handle per family, per floor and for the ring; the ring last."""
    entries = handles_of(figure)
    order = [*by_family(learned, references), *references, "chosen on validation"]
    return {label: entries[label] for label in order if label in entries}


def plot_layer_grid(scores: Sequence[ScoreRecord], place: str, stem: Path, track: Track[Any]) -> list[Path]:
    """Draw the criterion over layers, a column per generalisation and a row per family; return the paths.

    Validation pairs at one stream and position, each attribute with its best size of the layer, means over
    attributes and seeds. Few methods share one row; floors are drawn in grey in every panel.
    """
    found = validation_records(scores)
    panels = [g for g in GENERALISATIONS if any(r.generalisation == g for r in found)]
    curves = {
        (m, g): layer_curve(found, m, g, place, track)
        for m in sorted({r.method for r in found})
        for g in panels
    }
    grouped = by_family([m for m, _ in curves], track.floors)
    floors = grouped.pop(FLOORS, [])
    if sum(map(len, grouped.values())) <= FEW:
        grouped = {"": [m for own in grouped.values() for m in own]}
    limits = _limits([value for curve in curves.values() for value in curve.values()])
    with drawing():
        figure = new_figure(1.9 * len(panels) + 1.5, 1.6 * len(grouped) + 0.8)
        for row, (family, own) in enumerate(grouped.items()):
            for column, generalisation in enumerate(panels):
                axes = figure.add_subplot(len(grouped), len(panels), row * len(panels) + column + 1)
                _layer_panel(axes, {m: curves[m, generalisation] for m in [*own, *floors]}, track.floors)
                named = None if column else [*([family] if family else []), track.criterion]
                _layer_frame(axes, generalisation if not row else "", named)
                axes.set_ylim(*limits)
                if row + 1 == len(grouped):
                    axes.set_xlabel("layer")
            _row_legend(axes, own)
        what = f"{track.criterion.capitalize()} over layers, {place}"
        titled(figure, f"{what}\nvalidation {track.unit}, best size of each layer")
        handles = handles_of(figure)
        legend_below(figure, columns=4, handles={f: handles[f] for f in floors if f in handles})
        return saved(figure, stem)


def _layer_panel(axes: Any, curves: Mapping[str, Mapping[int, float]], references: Sequence[str]) -> None:
    looks = styles(list(curves), references, own_colours=True)
    for method, style in looks.items():
        curve = curves[method]
        axes.plot(
            list(curve),
            list(curve.values()),
            marker=style.marker,
            color=style.colour,
            linestyle=style.line,
            linewidth=0.9 if method in references else 1.2,
            label=method,
        )
    layers = sorted({layer for curve in curves.values() for layer in curve})
    axes.set_xticks(layers[:: -(-len(layers) // _MOST_TICKS)] if layers else [])


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the limits that all panels share, in tenths, a little wider than the values."""
    low = math.floor(10 * min(values, default=0.0) - 0.3) / 10
    high = math.ceil(10 * max(values, default=1.0) + 0.3) / 10
    return max(low, -0.03), min(high, 1.03)


def _layer_frame(axes: Any, title: str, named: Sequence[str] | None) -> None:
    axes.set_title(title)
    axes.grid(**GRID)
    if named is None:
        axes.set_yticklabels([])
    else:
        axes.set_ylabel("\n".join(named))


def _row_legend(axes: Any, methods: Sequence[str]) -> None:
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    own = {m: handles[m] for m in methods if m in handles}
    axes.legend(own.values(), own.keys(), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
