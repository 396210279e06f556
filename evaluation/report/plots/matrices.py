"""Heat maps: what else changed when an attribute was swapped, and how far swapped parts overlap; it computes
no share and no angle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.report.plots.canvas import FORMATS, PAGE, Format, drawing, fit, new_figure, saved
from evaluation.report.plots.style import HELD_OUT, broken
from ravel.checking.dependence import preferred

if TYPE_CHECKING:
    from evaluation.records.overlaps import AngleRecord, EntanglementRecord
    from ravel.checking.dependence import Dependence


_MAP = "Blues"
_DARK = 0.55
_NONE = "#E4E4E4"
# Neither black nor white, which a dark page turns round: cells keep their colours there.
_ON_DARK, _ON_LIGHT = "#FDFEFF", "#0A0C10"
_MOST_WITH_TEXT = 9
_MOST_IN_A_ROW = 3
_CELL, _LEAST_CELL, _LEAST = 0.27, 0.125, 1.3
"""Inches of a row with texts in its cells, of one without, and of a panel."""
_LETTERS_PER_INCH = 14


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One panel."""

    title: str
    """Above it."""
    rows: tuple[str, ...]
    """Names of rows."""
    columns: tuple[str, ...]
    """Names of columns."""
    values: Mapping[tuple[str, str], float]
    """From 0 to 1; what is missing is drawn in grey."""
    texts: Mapping[tuple[str, str], str]
    """What is written into a cell."""


def plot_entanglement(
    records: Sequence[EntanglementRecord],
    stem: Path,
    *,
    family: str = "",
    dependence: Sequence[Dependence] = (),
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Draw attribute x attribute, a panel per method: what the pairs of the column said once the row was
    swapped; return the paths.

    `records` are of one generalisation. The colour and the upper number are the share that no longer gave the
    base's answer; the lower number is the share that gave the source's; both in percent, means over seeds. A
    faithful method has 100 on the diagonal and 0 elsewhere.

    With `dependence` a first panel on the same axes shows how well the row's attribute tells the column's in
    the world: as colour the share of errors that knowing it avoids, as upper number the share guessed right,
    each entity from the others, as lower number the share of the commonest value. Where it is dark, no swap
    can change the one, keep the other, and leave a world that could be.
    """
    methods = list(dict.fromkeys(r.method for r in records))
    asked = tuple(sorted({r.asked for r in records}))
    matrices = [_entangled([r for r in records if r.method == m], m, asked) for m in methods]
    world = _world(dependence, asked)
    held_out = HELD_OUT[records[0].generalisation] if records else ""
    partition = records[0].partition if records else ""
    beside = (
        " First panel: column guessed from row and, below, blindly, in %; colour: errors avoided."
        if world
        else ""
    )
    return _grid(
        [*world, *matrices],
        stem,
        caption=f"What changed when an attribute was swapped{_of(family)}, {held_out}, {partition} pairs. "
        f"Upper: answer changed, lower: source's answer given, in %.{beside}",
        axes=("swapped", "asked"),
        scale="answers changed",
        formats=formats,
    )


def plot_angles(
    records: Sequence[AngleRecord], stem: Path, *, family: str = "", formats: Sequence[Format] = FORMATS
) -> list[Path]:
    """Draw the overlap of the swapped parts of every two attributes and seeds, a panel per method; return the
    paths.

    The overlap is the mean squared cosine of the principal angles: the share of the smaller part that lies in
    the larger. Parts of different sites have none and stay grey.
    """
    matrices = [
        _overlaps([r for r in records if r.method == m], m) for m in dict.fromkeys(r.method for r in records)
    ]
    return _grid(
        matrices,
        stem,
        caption=f"Overlap of what is swapped{_of(family)}, by attribute and seed: mean squared cosine of the "
        "principal angles, in %. Grey: itself, or at another site.",
        axes=("", ""),
        scale="mean squared cosine",
        formats=formats,
    )


def _of(family: str) -> str:
    return f", {family}" if family else ""


def _entangled(records: Sequence[EntanglementRecord], method: str, asked: tuple[str, ...]) -> _Matrix:
    changed = _means(records, lambda r: 1.0 - r.kept)
    took = _means(records, lambda r: r.took)
    texts = {key: f"{100 * changed[key]:.0f}\n{100 * took[key]:.0f}" for key in changed}
    return _Matrix(method, asked, asked, changed, texts)


def _world(dependence: Sequence[Dependence], asked: tuple[str, ...]) -> list[_Matrix]:
    found = [d for d in preferred(dependence) if d.given in asked and d.told in asked]
    if not found:
        return []
    values = {(d.given, d.told): max(0.0, d.reduction_left_out or 0.0) for d in found}
    texts = {(d.given, d.told): f"{100 * d.left_out:.0f}\n{100 * d.majority:.0f}" for d in found}
    return [_Matrix(f"dependence ({found[0].source})", asked, asked, values, texts)]


def _means(
    records: Sequence[EntanglementRecord], share: Callable[[EntanglementRecord], float]
) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        found.setdefault((record.swapped, record.asked), []).append(share(record))
    return {key: math.fsum(values) / len(values) for key, values in found.items()}


def _overlaps(records: Sequence[AngleRecord], method: str) -> _Matrix:
    seeds = {r.first_seed for r in records} | {r.second_seed for r in records}
    values: dict[tuple[str, str], float] = {}
    for record in records:
        first = _part_name(record.first, record.first_seed, several=len(seeds) > 1)
        second = _part_name(record.second, record.second_seed, several=len(seeds) > 1)
        values[first, second] = values[second, first] = record.overlap
    names = tuple(sorted({name for key in values for name in key}))
    texts = {key: f"{100 * value:.0f}" for key, value in values.items()}
    chances = sorted({round(100 * r.chance) for r in records})
    span = f"{chances[0]}" if len(chances) == 1 else f"{chances[0]}–{chances[-1]}"
    return _Matrix(f"{method} (by chance {span})", names, names, values, texts)


def _part_name(attribute: str, seed: int, *, several: bool) -> str:
    name = "any" if attribute == "*" else attribute
    return f"{name}, seed {seed}" if several else name


def _grid(
    matrices: Sequence[_Matrix],
    stem: Path,
    *,
    caption: str,
    axes: tuple[str, str],
    scale: str,
    formats: Sequence[Format],
) -> list[Path]:
    longest = max((len(m.rows) for m in matrices), default=1)
    side = max((_CELL if longest <= _MOST_WITH_TEXT else _LEAST_CELL) * longest, _LEAST)
    columns = max(1, min(len(matrices), _MOST_IN_A_ROW, int((PAGE - 1.4) / side)))
    rows = max(1, -(-len(matrices) // columns))
    names = {m.rows for m in matrices}
    with drawing():
        room = 2 + max((len(name) for m in matrices for name in m.rows), default=0) / _LETTERS_PER_INCH
        figure = new_figure((side + room) * columns + 2, (side + room) * rows)
        for index, matrix in enumerate(matrices):
            panel = figure.add_subplot(rows, columns, index + 1)
            image = _panel(panel, matrix, int(side * _LETTERS_PER_INCH))
            if len(names) == 1 and index % columns:
                panel.set_yticklabels([])
            if axes[0] and not index % columns:
                panel.set_ylabel(axes[0])
            if len(names) == 1 and index + columns < len(matrices):
                panel.set_xticklabels([])
            elif axes[1]:
                panel.set_xlabel(axes[1])
        if matrices:
            bar = figure.colorbar(
                image, ax=figure.axes, shrink=min(1.0, 2.5 / rows / side), aspect=20, pad=0.02
            )
            bar.set_ticks([0, 0.5, 1])
            bar.set_label(scale)
            bar.outline.set_linewidth(0.4)
            fit(figure, (side, side), columns, rows)
        return saved(figure, stem, caption, formats)


def _panel(axes: Any, matrix: _Matrix, letters: int) -> Any:
    values = [
        [matrix.values.get((row, column), math.nan) for column in matrix.columns] for row in matrix.rows
    ]
    axes.set_facecolor(_NONE)
    image = axes.imshow(values, cmap=_MAP, vmin=0.0, vmax=1.0, aspect="equal")
    axes.set_title(broken(matrix.title, letters))
    axes.set_xticks(range(len(matrix.columns)), matrix.columns, rotation=90)
    axes.set_yticks(range(len(matrix.rows)), matrix.rows)
    axes.tick_params(length=0)
    if len(matrix.rows) <= _MOST_WITH_TEXT:
        _texts(axes, matrix)
    return image


def _texts(axes: Any, matrix: _Matrix) -> None:
    for y, row in enumerate(matrix.rows):
        for x, column in enumerate(matrix.columns):
            if (row, column) in matrix.texts:
                dark = matrix.values[row, column] > _DARK
                axes.text(
                    x,
                    y,
                    matrix.texts[row, column],
                    ha="center",
                    va="center",
                    fontsize=5.5,
                    linespacing=1.0,
                    color=_ON_DARK if dark else _ON_LIGHT,
                    # It lies inside its panel, and measuring hundreds of texts takes seconds.
                    in_layout=False,
                )
