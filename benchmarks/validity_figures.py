"""The figures of `validity.py`, one per pitfall; a figure whose numbers are missing is not drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from validity_tables import enough

from evaluation.records.measured import INTERCHANGE
from evaluation.report.plots.canvas import COLUMN, PAGE, drawing, new_figure, saved
from evaluation.report.plots.style import FLOOR_COLOUR, GRID, legend_below, styles
from evaluation.tracks import TRACKS

__all__ = ["draw_all"]

BLUE, RED, GREEN, PINK, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
_SEEN = ("mdas", "das", "boundless_das", "dbm", "mdbm", "pca", "random_subspace", "full_vector")
Rows = Sequence[Mapping[str, Any]]


def draw_all(whole: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw every figure whose numbers are there; return the paths."""
    drawers = {
        "dependence": _dependence,
        "values": _values,
        "layers": _layers,
        "aggregation": _aggregation,
        "selection": _selection,
        "planted": _planted,
    }
    paths: list[Path] = []
    for name, drawer in drawers.items():
        if name in whole:
            with drawing():
                paths += saved(drawer(whole[name]), folder / f"validity_{name}")
    return paths


def _dependence(found: Mapping[str, Any]) -> Any:
    parts = enough(found["parts"])
    methods = [m for m in ("mdas", "das") if any(p["method"] == m for p in parts)]
    labels = list(dict.fromkeys((p["target"], p["by"]) for p in parts))
    figure = new_figure(PAGE, 1.0 + 0.22 * len(labels))
    for axes, method in zip(_panels(figure, max(1, len(methods))), methods, strict=False):
        for part in (p for p in parts if p["method"] == method):
            y = labels.index((part["target"], part["by"]))
            ends = [part[side]["isolate"] for side in ("same", "changes")]
            axes.plot(ends, [y, y], color="#BBBBBB", linewidth=1.0, zorder=1)
            for side, colour, label in (("same", BLUE, "value stays"), ("changes", RED, "value changes")):
                low, high = part[side]["interval"]
                axes.plot([low, high], [y, y], color=colour, linewidth=0.5, alpha=0.6)
                axes.plot([part[side]["isolate"]], [y], "o", color=colour, label=label)
        axes.set_title(method)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("isolate, held-out templates")
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), [_target(*label) for label in labels])
        axes.grid(axis="x", **GRID)
    legend_below(figure)
    return figure


def _panels(figure: Any, n: int) -> list[Any]:
    made = figure.subplots(1, n, sharey=True)
    return list(made) if n > 1 else [made]


def _target(target: str, by: str) -> str:
    return f"target {target}" if target == by else f"target {target}, by {by}"


def _values(rows: Rows) -> Any:
    labels = [f"{r['attribute']}, {r['origin']}" for r in rows]
    figure = new_figure(PAGE, 1.0 + 0.15 * len(rows))
    for axes, key, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("majority", "new_test"),
        ("share of the commonest value", "test entities whose value is new"),
        strict=True,
    ):
        axes.barh(range(len(rows)), [r[key] or 0.0 for r in rows], color=BLUE, height=0.65)
        axes.set_title(title)
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), labels)
        axes.grid(axis="x", **GRID)
        axes.set_axisbelow(True)
    return figure


def _layers(rows: Rows) -> Any:
    kinds = list(dict.fromkeys(r["entity_type"] for r in rows))
    figure = new_figure(COLUMN, 2.3)
    axes = figure.subplots()
    for kind, line in zip(kinds, ("-", "--", ":", "-."), strict=False):
        own = [r for r in rows if r["entity_type"] == kind]
        for score, colour in (("cause", RED), ("isolate", BLUE)):
            places = [r["layer"] for r in own]
            axes.plot(
                places,
                [r[score] for r in own],
                line,
                marker="o",
                color=colour,
                markersize=3,
                label=f"{score}, {kind}",
            )
    axes.set_xticks(sorted({r["layer"] for r in rows}))
    axes.set_xlabel("whole vector of the entity swapped after block")
    axes.set_ylim(-0.03, 1.03)
    axes.grid(**GRID)
    legend_below(figure)
    return figure


def _aggregation(found: Mapping[str, Any]) -> Any:
    rules = [r for r in found["rules"] if "rounded" not in r]
    rows = sorted(found["rows"], key=lambda r: -r[rules[0]])
    figure = new_figure(PAGE, 1.2 + 0.19 * len(rows))
    axes = figure.subplots()
    looks = zip(rules, (BLUE, RED, ORANGE, GREEN, PINK), ("o", "s", "D", "^", "v"), strict=False)
    for rule, colour, marker in looks:
        floor = next((r[rule] for r in rows if r["method"] == "no_op"), None)
        if floor is not None:
            axes.axvline(floor, color=colour, linewidth=0.7, linestyle=":")
        axes.plot([r[rule] for r in rows], range(len(rows)), marker, color=colour, label=rule, alpha=0.9)
    axes.set_yticks(range(len(rows)), [r["method"] for r in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("score of the same outcomes; dotted: what doing nothing scores by that rule")
    axes.grid(axis="y", **GRID)
    legend_below(figure)
    return figure


def _selection(rows: Rows) -> Any:
    methods = list(dict.fromkeys(r["method"] for r in rows))
    looks = styles(methods, TRACKS.get(INTERCHANGE).floors)
    figure = new_figure(COLUMN, 2.4)
    axes = figure.subplots()
    for method in methods:
        own = [r for r in rows if r["method"] == method]
        look = looks[method]
        axes.plot(
            [r["points"] for r in own],
            [r["optimism"] for r in own],
            color=look.colour,
            marker=look.marker,
            markersize=3,
            label=method,
        )
    axes.set_xlabel("points (site, size, setting) to choose from")
    axes.set_ylabel("too high by")
    axes.grid(**GRID)
    legend_below(figure)
    return figure


def _planted(found: Mapping[str, Any]) -> Any:
    fits = found["fits"]
    figure = new_figure(PAGE, 2.9)
    named = [m for m in _SEEN if any(f["method"] == m for f in fits)]
    looks = styles(named, TRACKS.get(INTERCHANGE).floors)
    for axes, score in zip(
        figure.subplots(1, 3, sharex=True), ("disentangle", "cause", "isolate"), strict=True
    ):
        rest = [f for f in fits if f["method"] not in (*named, "truth", "illusion")]
        axes.plot(*_points(rest, score), ".", color="#C8C8C8", markersize=3, label="other methods")
        for method in named:
            own = [f for f in fits if f["method"] == method]
            look = looks[method]
            axes.plot(
                *_points(own, score),
                look.marker,
                color=look.colour,
                markersize=3.5,
                alpha=0.8,
                label=method,
            )
        for method, marker, colour in (("truth", "*", "#000000"), ("illusion", "X", "#000000")):
            own = [f for f in fits if f["method"] == method]
            if own:
                mean = [fmean(f[key] for f in own) for key in ("similarity", score)]
                axes.plot([mean[0]], [mean[1]], marker, color=colour, markersize=7, label=method)
        axes.axhline(
            {"disentangle": 0.5, "cause": 0.0, "isolate": 1.0}[score],
            color=FLOOR_COLOUR,
            linewidth=0.6,
            linestyle=":",
        )
        axes.set_title(score)
        axes.set_xlabel("similarity to the planted subspace")
        axes.set_ylim(-0.03, 1.03)
        axes.grid(**GRID)
    legend_below(figure)
    return figure


def _points(fits: Rows, score: str) -> tuple[list[float], list[float]]:
    return [f["similarity"] for f in fits], [f[score] for f in fits]
