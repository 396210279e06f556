"""Texts beside points, where they touch nothing that is there already; it knows no method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from matplotlib.transforms import Bbox

_SIZE = 5.5
_DISTANCES = (5.0, 8.0, 13.0, 19.0)
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_NEAR = _DISTANCES[1]
_REACH = 3.0
_ACROSS = {1: "left", 0: "center", -1: "right"}
_UP = {1: "bottom", 0: "center", -1: "top"}


def label_points(
    axes: Any, points: Iterable[tuple[str, float, float]], avoid: Sequence[tuple[float, float]] = ()
) -> None:
    """Write each point's text beside it, unless there is no place inside the axes where it touches no other
    text and no point; `avoid` are further points. The figure must have its final size and layout."""
    wanted = list(points)
    dots = axes.transData.transform([*avoid, *((x, y) for _, x, y in wanted)]) if wanted else []
    reach = _REACH * axes.figure.dpi / 72
    taken: list[Bbox] = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in dots]
    for text, x, y in wanted:
        label = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize=_SIZE)
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.2})
        label.set_in_layout(False)
        found = _moved(axes, label, taken)
        if found is None:
            label.remove()
        elif max(map(abs, found)) > _NEAR:
            line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#767676", "shrinkA": 0, "shrinkB": 2}
            axes.annotate("", (x, y), found, textcoords="offset points", arrowprops=line).set_in_layout(False)


def _moved(axes: Any, label: Any, taken: list[Bbox]) -> tuple[float, float] | None:
    """Put a label to the nearest free place, which is then taken; return the place, or None if there is
    none."""
    for distance, (right, up) in product(_DISTANCES, _DIRECTIONS):
        place = (right * distance, up * distance)
        label.set_position(place)
        label.set(ha=_ACROSS[right], va=_UP[up])
        box = label.get_window_extent()
        inside = axes.bbox.fully_contains(*box.min) and axes.bbox.fully_contains(*box.max)
        if inside and not any(box.fully_overlaps(other) for other in taken):
            taken.append(box)
            return place
    return None
