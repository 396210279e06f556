"""Figures of token scores: one prompt as a heat map, curves of what masking loses, edge scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.report.common.token_scores import InstanceAttribution, ScoredPrompt
from evaluation.report.plots.canvas import COLUMN, PAGE, drawing, new_figure, saved
from evaluation.report.plots.style import GRID, own_styles

_BOTH_WAYS = "PuOr"
"""A map of colours with a middle for 0: high scores violet, low ones orange."""
_CELL, _ROOM = 0.55, 1.6
"""Inches of a token, and of what stands around the panel."""


def draw_prompt(prompt: ScoredPrompt, stem: Path) -> list[Path]:
    """Draw the scores of a prompt's tokens, a row per way, each as a share of its largest; return the
    paths."""
    rows = np.array([shares_of_largest(scores) for scores in prompt.scores.values()])
    with drawing():
        width = max(COLUMN, _ROOM + _CELL * len(prompt.tokens))
        figure = new_figure(width, 0.9 + 0.24 * len(rows))
        axes = figure.add_subplot()
        image = axes.imshow(rows, cmap=_BOTH_WAYS, vmin=-1, vmax=1, aspect="auto")
        labels = [plainly(token) for token in prompt.tokens]
        axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in prompt.scores])
        axes.tick_params(length=0)
        if prompt.entity is not None:
            _mark_entity(axes, prompt.entity, len(rows))
        axes.set_title(plainly(f"what the answer {prompt.answer!r} hangs on"))
        _bar(figure, image, "share of the row's largest")
        return saved(figure, stem)


def shares_of_largest(scores: tuple[float, ...]) -> list[float]:
    """Return scores as shares of the largest without its sign; all 0 if that is 0."""
    largest = max(map(abs, scores), default=0.0)
    return [score / largest if largest else 0.0 for score in scores]


def plainly(text: str) -> str:
    """Return text in which nothing is taken for mathematics, and line ends are seen."""
    return text.replace("$", r"\$").replace("\n", "⏎")


def _mark_entity(axes: Any, entity: tuple[int, int], n_rows: int) -> None:
    first, last = entity
    xs = [first - 0.5, last + 0.5, last + 0.5, first - 0.5, first - 0.5]
    axes.plot(xs, [-0.5, -0.5, n_rows - 0.5, n_rows - 0.5, -0.5], color="black", linewidth=0.8, clip_on=False)


def _bar(figure: Any, image: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=figure.axes, shrink=0.9, pad=0.02)
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)


def draw_curves(found: InstanceAttribution, stem: Path) -> list[Path]:
    """Draw what is lost with the highest scores masked, a curve per way with its intervals; return the
    paths."""
    looks = own_styles([way.name for way in found.ways])
    with drawing():
        figure = new_figure(COLUMN, 2.6)
        axes = figure.add_subplot()
        for way in found.ways:
            look, counts = looks[way.name], range(1, len(way.curve) + 1)
            axes.plot(
                counts,
                way.curve,
                color=look.colour,
                marker=look.marker,
                markersize=3,
                label=way.name.replace("_", " "),
            )
            if all(way.curve_intervals):
                low, high = zip(*(each or (0.0, 0.0) for each in way.curve_intervals), strict=True)
                axes.fill_between(counts, low, high, color=look.colour, alpha=0.15, linewidth=0)
        axes.grid(**GRID)
        axes.set_xlabel("tokens masked, the highest scores first")
        axes.set_ylabel("share of the leaning that is lost")
        axes.legend()
        return saved(figure, stem)


def draw_edges(found: InstanceAttribution, stem: Path) -> list[Path]:
    """Draw the mean edge scores, layers by streams, a panel per position; return the paths."""
    positions = list(dict.fromkeys(edge.position for edge in found.edges))
    panels = {position: _grid(found, position) for position in positions}
    largest = max((float(np.abs(values).max()) for _, values in panels.values()), default=0.0) or 1.0
    with drawing():
        figure = new_figure(PAGE, 1.4 * len(positions))
        shown: Mapping[str, Any] = {}
        for place, (position, (streams, values)) in enumerate(panels.items()):
            axes = figure.add_subplot(len(positions), 1, place + 1)
            shown = {
                "image": axes.imshow(values, cmap=_BOTH_WAYS, vmin=-largest, vmax=largest, aspect="auto")
            }
            axes.set_yticks(range(len(streams)), streams)
            axes.tick_params(length=0)
            axes.set_title(f"at the {'entity' if position == 'entity_last' else 'prompt'}'s last token")
        axes.set_xlabel("layer")
        _bar(figure, shown["image"], "logits")
        return saved(figure, stem)


def _grid(found: InstanceAttribution, position: str) -> tuple[list[str], NDArray[np.float64]]:
    own = [edge for edge in found.edges if edge.position == position]
    streams = list(dict.fromkeys(edge.stream for edge in own))
    layers = sorted({edge.layer for edge in own})
    return streams, np.array([[found.edge(s, position, layer) for layer in layers] for s in streams])
