"""Colours, markers, legends: what looks alike in all figures; it draws no data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.records.scores import CONTROL_MARK
from evaluation.report.common.families import CONTROLLED, FLOORS, by_family

# Okabe and Ito's palette without its yellow, which white drowns: told apart with every common form of colour
# blindness, and in grey by the markers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# As many as share no divisor with the colours, so that no two of 77 methods look alike.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p")
_KNOWN = (
    *("das", "mdas", "boundless_das"),
    *("pca", "mean_difference", "lda", "linear_probe", "inlp", "rlap", "leace"),
    *(
        "neurons_probe",
        "neurons_anova",
        "neurons_mutual_info",
        "neurons_attribution",
        "dbm",
        "mdbm",
        "pca_mdbm",
    ),
    *("sae", "sae_attribution", "mdbm_sae"),
    *("soft_mdas", "null_mdas", "counterfactual_latent", "budget_mask"),
)
"""The bundled methods: each looks the same in every figure of every run. Others follow in the order of their
names."""
FLOOR_COLOUR = "#767676"
"""Grey, for what learns nothing."""
_FLOOR_MARKERS = ("1", "2", "3", "4", "+", "x")
_MOST_COLUMNS = 6
_CONTROL_MARKERS = ("h", "p", "<", ">", "8")
_FLOOR_LINES = (":", "--", "-.", (0, (3, 1, 1, 1, 1, 1)))
FEW = len(_COLOURS)
"""As many methods share a panel; more have one per family, or their names written beside them."""
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


def styles(names: Sequence[str], floors: Sequence[str]) -> dict[str, Style]:
    """Return a colour and a marker per method, in the order of families, whatever else is drawn; the track's
    floors and then controls in grey, last."""
    grouped = by_family(names, floors)
    learned = [n for family, own in grouped.items() if family not in (FLOORS, CONTROLLED) for n in own]
    order = [*_KNOWN, *sorted(set(learned) - set(_KNOWN))]
    made = {name: _style(order.index(name)) for name in learned}
    grey = {
        name: Style(
            FLOOR_COLOUR, _FLOOR_MARKERS[i % len(_FLOOR_MARKERS)], _FLOOR_LINES[i % len(_FLOOR_LINES)]
        )
        for i, name in enumerate(floors)
        if name in names
    }
    return made | grey | _control_styles(grouped.get(CONTROLLED, ()))


def own_styles(names: Sequence[str]) -> dict[str, Style]:
    """Return a colour and a marker per name of something else than methods, such as attributes."""
    return {name: _style(index) for index, name in enumerate(names)}


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


def legend_below(figure: Any, *, handles: Mapping[str, Any] | None = None) -> None:
    """Put one legend under all axes, each label once, in as many columns as have room, and make the figure
    larger by it."""
    entries = handles_of(figure) if handles is None else handles
    for columns in range(min(len(entries), _MOST_COLUMNS), 0, -1):
        rows = -(-len(entries) // columns)
        legend = figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=-(-len(entries) // rows),
            frameon=False,
        )
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            wide, high = max(figure.bbox.width, box.width), figure.bbox.height + box.height
            figure.set_size_inches(wide / figure.dpi, high / figure.dpi)
            return
        legend.remove()


def handles_of(figure: Any) -> dict[str, Any]:
    """Return what a legend of all axes would show, by label."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return entries


def broken(name: str, letters: int) -> str:
    """Return a name in lines of at most so many letters, broken after `_` and blanks where that is enough."""
    lines = [""]
    for part in re.findall(r"[^_\s]+[_\s]*|[_\s]+", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line[at : at + letters] for line in lines for at in range(0, max(len(line), 1), letters))


def tip(text: str) -> str:
    """Return a group's id in an SVG that the page of a run shows as text at the pointer."""
    return f"tip:{text}"


def slug(text: str) -> str:
    """Return text as a part of a file's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in text.lower()).strip("_")
