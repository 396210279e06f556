"""Colours, markers, legends: what looks alike in all figures; it draws no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from evaluation.records.scores import CONTROL_MARK
from evaluation.report.common.families import CONTROLLED, FLOORS, by_family

__all__ = [
    "FEW",
    "FLOOR_COLOUR",
    "GRID",
    "HELD_OUT",
    "Style",
    "family_colour",
    "handles_of",
    "legend_below",
    "slug",
    "styles",
    "titled",
]

# Okabe and Ito's palette: told apart with every common form of colour blindness, and in grey by its markers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
_FAMILY_COLOURS = {
    "trained subspaces": "#0072B2",
    "closed-form subspaces": "#D55E00",
    "neurons and masks": "#009E73",
    "dictionaries": "#CC79A7",
    "other methods": "#000000",
}
_LETTERS_PER_INCH = 14.0
FLOOR_COLOUR = "#767676"
"""Grey, for what learns nothing."""
_FLOOR_MARKERS = ("1", "2", "3", "4", "+", "x")
_CONTROL_MARKERS = ("h", "p", "<", ">", "8")
_FLOOR_LINES = (":", "--", "-.", (0, (3, 1, 1, 1, 1, 1)))
FEW = len(_COLOURS)
"""As many methods can have a colour each; more are told apart by family."""
GRID = {"linewidth": 0.3, "color": "#D0D0D0"}
"""Of grid lines."""
HELD_OUT = {"context": "held-out templates", "entity": "held-out entities", "entity_context": "both held out"}
"""Generalisations in words."""


@dataclass(frozen=True, slots=True)
class Style:
    """How one curve or point looks."""

    colour: str
    """As hexadecimal digits."""
    marker: str
    """Matplotlib's letter."""
    line: Any = "-"
    """Matplotlib's line style."""


def styles(
    names: Sequence[str], floors: Sequence[str], *, own_colours: bool | None = None
) -> dict[str, Style]:
    """Return a style per name: a colour each if there are few, otherwise that of the family with a
    marker each; the track's floors and then controls in grey, last.

    `own_colours` decides it whatever their number.
    """
    grouped = by_family(names, floors)
    families = {f: own for f, own in grouped.items() if f not in (FLOORS, CONTROLLED)}
    learned = [name for own in families.values() for name in own]
    if own_colours or (own_colours is None and len(learned) <= FEW):
        made = {name: _style(i) for i, name in enumerate(learned)}
    else:
        made = {
            name: Style(family_colour(family), _MARKERS[i % len(_MARKERS)])
            for family, own in families.items()
            for i, name in enumerate(own)
        }
    grey = {
        name: Style(
            FLOOR_COLOUR, _FLOOR_MARKERS[i % len(_FLOOR_MARKERS)], _FLOOR_LINES[i % len(_FLOOR_LINES)]
        )
        for i, name in enumerate(floors)
        if name in names
    }
    return made | grey | _control_styles(grouped.get(CONTROLLED, ()))


def _control_styles(names: Sequence[str]) -> dict[str, Style]:
    """Return a marker per control, whatever the method."""
    controls = sorted({name.split(CONTROL_MARK)[1] for name in names})
    return {
        name: Style(
            FLOOR_COLOUR,
            _CONTROL_MARKERS[controls.index(name.split(CONTROL_MARK)[1]) % len(_CONTROL_MARKERS)],
            ":",
        )
        for name in names
    }


def _style(index: int) -> Style:
    line = ("-", "--", ":")[index // len(_COLOURS) % 3]
    return Style(_COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)], line)


def family_colour(family: str) -> str:
    """Return a family's colour; grey for floors."""
    return _FAMILY_COLOURS.get(family, FLOOR_COLOUR)


def legend_below(figure: Any, *, columns: int | None = None, handles: dict[str, Any] | None = None) -> None:
    """Put one legend under all axes, each label once."""
    entries = handles_of(figure) if handles is None else handles
    if entries:
        wide = columns or (min(len(entries), 5) if len(entries) <= 5 or len(entries) > 9 else 3)
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=wide, frameon=False)


def handles_of(figure: Any) -> dict[str, Any]:
    """Return what a legend of all axes would show, by label."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return entries


def titled(figure: Any, text: str) -> int:
    """Write a title over all axes, its lines broken where the figure ends; return how many lines it has."""
    widest = max(20, int(_LETTERS_PER_INCH * figure.get_figwidth()))
    lines = [part for line in text.splitlines() for part in wrap(line, widest)]
    figure.suptitle("\n".join(lines))
    return len(lines)


def slug(text: str) -> str:
    """Return text as a part of a file's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in text.lower()).strip("_")
