"""The criterion over layers, a row per family, below the ceiling that says where anything can be brought; it
computes no score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.records.scores import ScoreRecord
from evaluation.report.common.families import FLOORS, by_family
from evaluation.report.plots.canvas import FORMATS, Format, drawing, fit, new_figure, saved
from evaluation.report.plots.curves import layer_curve, validation_records, worth_fitting
from evaluation.report.plots.style import FEW, GRID, Style, handles_of, styles, tip
from evaluation.scoring.track import Track
from ravel.terms.schema import GENERALISATIONS, Generalisation

_PANEL = (1.75, 1.3)
_MOST_TICKS = 9
_BAND = "#E8EEF4"
_Curves = Mapping[tuple[str, Generalisation], Mapping[int, float]]
"""By method and generalisation, a value per layer."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Panels side by side, one per generalisation."""

    label: str
    """What they show, at their left."""
    named: tuple[str, ...]
    """Methods in the legend at their right."""
    curves: _Curves
    """What is drawn."""
    limits: tuple[float, float]
    """Of their values."""


def plot_layer_grid(
    scores: Sequence[ScoreRecord],
    place: str,
    stem: Path,
    track: Track[Any],
    *,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Draw the track's criterion over the layers of one stream and position, a panel per generalisation;
    return the paths.

    Validation cases, means over attributes and seeds, each layer with its best size. More than eight methods
    have a row per family. The first row is what the ceiling reaches, of interchange the cause of swapping the
    whole vector; a band marks the layers where that is high, which are worth fitting.
    """
    found = validation_records(scores)
    panels = [g for g in GENERALISATIONS if any(r.generalisation == g for r in found)]
    methods = sorted({r.method for r in found})
    curves = {(m, g): layer_curve(found, m, g, place, track) for m in methods for g in panels}
    ceiling = next((r for r in track.references if r.ceiling_of and r.method in methods), None)
    rows, caption, worth = _rows(curves, methods, track), "", list[int]()
    if ceiling is not None and ceiling.ceiling_of is not None:
        name, measure = ceiling.method, ceiling.ceiling_of
        highest = {(name, g): layer_curve(found, name, g, place, track, measure) for g in panels}
        worth = worth_fitting(list(highest.values()))
        rows = [_Row(f"{measure} of\n{name}", (), highest, (-0.03, 1.03)), *rows]
        caption = _worth_caption(worth, f"{measure} of {name}")
    looks = styles(methods, track.floors)
    with drawing():
        figure = new_figure((_PANEL[0] + 1) * len(panels) + 3, (_PANEL[1] + 1) * len(rows) + 1)
        for at, row in enumerate(rows):
            drawn = [
                figure.add_subplot(len(rows), len(panels), at * len(panels) + i + 1)
                for i in range(len(panels))
            ]
            for axes, generalisation in zip(drawn, panels, strict=True):
                _panel(axes, {m: c for (m, g), c in row.curves.items() if g == generalisation}, looks, worth)
                axes.set(ylim=row.limits, title="" if at else generalisation)
            _row_frame(drawn, row, last=at + 1 == len(rows))
        handles = handles_of(figure)
        legend = {m: handles[m] for m in track.floors if m in handles}
        fit(figure, _PANEL, len(panels), len(rows), legend)
        what = f"{track.criterion.capitalize()} over layers, {place}, validation {track.unit}"
        return saved(figure, stem, f"{what}, best size of each layer.{caption}", formats)


def _rows(curves: _Curves, methods: Sequence[str], track: Track[Any]) -> list[_Row]:
    """Return a row for few methods, or rows by family, each of few; floors stand in each."""
    grouped = by_family(methods, track.floors)
    floors = grouped.pop(FLOORS, [])
    if sum(map(len, grouped.values())) <= FEW:
        grouped = {"": [m for own in grouped.values() for m in own]}
    limits = _limits([value for curve in curves.values() for value in curve.values()])
    parts = [(f, own[at : at + FEW]) for f, own in grouped.items() for at in range(0, max(len(own), 1), FEW)]
    return [
        _Row(
            "\n".join([*([family] if family else []), track.criterion]),
            tuple(own),
            {key: curve for key, curve in curves.items() if key[0] in (*own, *floors)},
            limits,
        )
        for family, own in parts
    ]


def _worth_caption(worth: Sequence[int], what: str) -> str:
    if not worth:
        return f" No layer is worth fitting: the {what} is next to nothing everywhere."
    layers = ", ".join(map(str, worth))
    return f" Worth fitting (band), as the {what} is within a fifth of its highest there: layer {layers}."


def _panel(
    axes: Any, curves: Mapping[str, Mapping[int, float]], looks: Mapping[str, Style], worth: Sequence[int]
) -> None:
    for layer in worth:
        axes.axvspan(layer - 0.5, layer + 0.5, color=_BAND, linewidth=0, zorder=0)
    for method, style in looks.items():
        if method in curves:
            (drawn,) = axes.plot(
                list(curves[method]),
                list(curves[method].values()),
                marker=style.marker,
                color=style.colour,
                linestyle=style.line,
                linewidth=1.2,
                label=method,
            )
            drawn.set_gid(tip(method))
    layers = sorted({layer for curve in curves.values() for layer in curve})
    axes.set_xticks(layers[:: -(-len(layers) // _MOST_TICKS)] if layers else [])
    if layers:
        axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
    axes.grid(**GRID)


def _row_frame(drawn: Sequence[Any], row: _Row, *, last: bool) -> None:
    drawn[0].set_ylabel(row.label)
    for axes in drawn[1:]:
        axes.set_yticklabels([])
    for axes in drawn:
        axes.tick_params(labelbottom=last)
        axes.set_xlabel("layer" if last else "")
    handles = dict(zip(*reversed(drawn[-1].get_legend_handles_labels()), strict=True))
    own = {m: handles[m] for m in row.named if m in handles}
    if own:
        drawn[-1].legend(
            own.values(), own.keys(), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False
        )


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the limits that all panels share, in tenths, a little wider than the values."""
    low = math.floor(10 * min(values, default=0.0) - 0.3) / 10
    high = math.ceil(10 * max(values, default=1.0) + 0.3) / 10
    return max(low, -0.03), min(high, 1.03)
