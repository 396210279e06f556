"""The two measures behind a criterion drawn against each other, as places in a square; it writes no SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluation.report.site.boards import Board, BoardRow
from ravel.terms.schema import Generalisation

_SIDE, _LEFT, _TOP, _RIGHT, _BOTTOM = 340.0, 34.0, 22.0, 328.0, 300.0
_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
_NEAR_THE_EDGE = 0.75
_HIGH, _WIDE = 9.0, 4.8
"""Height of a line of names, and width of a letter."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Dot:
    """A method."""

    name: str
    """The method."""
    said: str
    """Both numbers."""
    at: float
    """From the left."""
    up: float
    """From the top."""
    reference: bool
    """Whether it is a floor or a ceiling."""
    anchor: str
    """At which end of its name the dot is."""
    shift: float
    """How far to the right of the dot its name begins or ends."""
    line: float
    """The height of its name, from the top."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid, upright and level."""

    text: str
    """What it stands for."""
    at: float
    """The upright one's place from the left."""
    up: float
    """The level one's place from the top."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One way of holding out."""

    generalisation: Generalisation
    """What was held out."""
    x: str
    """The measure from left to right."""
    y: str
    """The measure from bottom to top."""
    dots: tuple[Dot, ...]
    """The methods."""
    nothing: str
    """The line of what doing nothing scores of the mean of both; empty where there is none."""
    ticks: tuple[Tick, ...] = tuple(
        Tick(f"{step:g}", _LEFT + step * (_RIGHT - _LEFT), _BOTTOM - step * (_BOTTOM - _TOP))
        for step in _STEPS
    )
    """The grid."""
    side: float = _SIDE
    """Of the square."""
    left: float = _LEFT
    """Where the plane begins."""
    top: float = _TOP
    """Where it begins from above."""
    right: float = _RIGHT
    """Where it ends."""
    bottom: float = _BOTTOM
    """Where it ends below."""


def planes_of(board: Board) -> list[Plane]:
    """Return a plane per way of holding out; none for a track whose criterion is no mean of two measures."""
    x, y, *others = board.track.names
    if others != [board.track.criterion]:
        return []
    return [_plane(board, g, x, y) for g in board.generalisations]


def _plane(board: Board, generalisation: Generalisation, x: str, y: str) -> Plane:
    dots = [dot for row in board.of() if (dot := _dot(row, generalisation, x, y)) is not None]
    return Plane(generalisation, x, y, tuple(_apart(dots)), _nothing(board.track.nothing_scores))


def _apart(dots: Sequence[Dot]) -> list[Dot]:
    """Move names down until none lies on another."""
    placed: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: dot.line):
        while (above := next((other for other in placed if _overlap(dot, other)), None)) is not None:
            dot = replace(dot, line=above.line + _HIGH)
        placed.append(dot)
    return placed


def _overlap(one: Dot, other: Dot) -> bool:
    (left, right), (other_left, other_right) = _span(one), _span(other)
    return abs(one.line - other.line) < _HIGH - _ROUNDING and left < other_right and other_left < right


def _span(dot: Dot) -> tuple[float, float]:
    """Return where a name begins and ends, by the number of its letters."""
    width, start = _WIDE * len(dot.name), dot.at + dot.shift
    return (start, start + width) if dot.anchor == "start" else (start - width, start)


def _dot(row: BoardRow, generalisation: Generalisation, x: str, y: str) -> Dot | None:
    across, above = row.value(generalisation, x), row.value(generalisation, y)
    if across is None or above is None:
        return None
    at, up = _place(across, above)
    far = across > _NEAR_THE_EDGE
    return Dot(
        name=row.method,
        said=f"{x} {across:.3f}, {y} {above:.3f}",
        at=at,
        up=up,
        reference=row.reference,
        anchor="end" if far else "start",
        shift=-7.0 if far else 7.0,
        line=up + 3.0,
    )


def _place(across: float, above: float) -> tuple[float, float]:
    return round(_LEFT + across * (_RIGHT - _LEFT), 1), round(_BOTTOM - above * (_BOTTOM - _TOP), 1)


def _nothing(score: float | None) -> str:
    """Return the line on which the mean of both measures is `score`."""
    if score is None:
        return ""
    ends = [(max(0.0, 2 * score - 1), min(1.0, 2 * score)), (min(1.0, 2 * score), max(0.0, 2 * score - 1))]
    return " ".join(f"{at:g},{up:g}" for at, up in (_place(*end) for end in ends))
