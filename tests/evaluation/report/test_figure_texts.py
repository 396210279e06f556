"""No text of a figure leaves the canvas or lies on another, a method looks alike in all of them, no figure is
empty; drawn with 24 methods of long names, with one size and with one layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from outcome_world import TRACK, average_record, score_record

from evaluation.records.overlaps import AngleRecord, EntanglementRecord
from evaluation.report.plots import PLOTS, PlotInputs, TrainingLog, write_plots
from evaluation.report.plots.style import styles
from ravel.checking.dependence import dependences

LONG = "_with_a_name_that_does_not_end_so_soon"
FEW = ("das", f"mdas{LONG}", "lda")
MANY = (
    *(*FEW, "mdas", "boundless_das", "pca", "dbm", "sae", f"sae{LONG}"),
    *(f"method_{chr(97 + i)}{LONG}" for i in range(15)),
)
ATTRIBUTES = ("Country", "Language of most", "An attribute with a name of some length")
SPLITS = ("context", "entity", "entity_context")


def world(
    methods: Sequence[str], sizes: Sequence[int] = (2, 8), layers: Sequence[int] = (0, 1, 2)
) -> PlotInputs:
    """Something for every figure; each method has another cause and isolate."""
    named = (*methods, *TRACK.floors)
    towns = {f"{land}{i}": land for land in "XYZ" for i in range(8)}
    scores: dict[str, dict[str, Any]] = {
        m: {"cause": i * 7 % 24 / 24, "isolate": 1 - i * 5 % 24 / 24, "disentangle": 0.5}
        for i, m in enumerate(named)
    }
    seen = {"disentangle_interval": (0.4, 0.6), "cause_interval": (0, 1), "isolate_interval": (0, 1)}
    return PlotInputs(
        scores=[
            score_record(
                **{**scores[m], **seen, "cause": scores[m]["cause"] / (1 + sizes.index(size))},
                **{"method": m, "size": size, "generalisation": g, "chosen": size == sizes[0]},
                site=f"block_output.{layer}@entity_last",
            )
            for m in named
            for size in sizes
            for layer in layers
            for g in SPLITS
        ],
        averages=[
            average_record(method=m, generalisation=g, **scores[m], **seen) for m in named for g in SPLITS
        ],
        entanglement=[
            EntanglementRecord(m, "city", "m", "s", 8, 0, "context", "test", a, b, 0.0, 0.0, 1.0, 9)
            for m in named
            for a in ATTRIBUTES
            for b in ATTRIBUTES
        ],
        angles=[
            AngleRecord(m, "s", a, seed, 8, b, seed, 8, 128, (1.0,), 1.0, 0.0625)
            for m in named
            for a, b in combinations(ATTRIBUTES, 2)
            for seed in (0, 1)
        ],
        logs=[TrainingLog(m, a, 0, _rows()) for m in methods for a in ATTRIBUTES],
        dependence=dependences(dict.fromkeys(ATTRIBUTES, towns), "facts"),
    )


def _rows() -> tuple[dict[str, Any], ...]:
    train = [{"phase": "train", "step": step, "loss": 2.0 + step % 7} for step in range(100)]
    return (*train, {"phase": "validation", "step": 99, "cause_accuracy": 0.5, "kept": 1})


def drawn(inputs: PlotInputs, names: Sequence[str] | None, folder: Path) -> dict[str, Figure]:
    """Write figures; return them by the stem of their files."""
    kept: dict[str, Figure] = {}

    def keep(figure: Figure, stem: Path, caption: str = "", formats: Sequence[str] = ()) -> list[Path]:
        assert caption
        kept[stem.name] = figure
        return [stem]

    with pytest.MonkeyPatch.context() as patch:
        for module in ("points", "sizes", "layers", "matrices", "training"):
            patch.setattr(f"evaluation.report.plots.{module}.saved", keep)
        write_plots(inputs, folder, names)
    return kept


def texts_of(figure: Figure) -> list[tuple[str, Any]]:
    """Every text that is drawn, with its box in pixels."""
    found: list[Text] = []
    draw = Text.draw

    def noted(text: Text, *args: Any, **kwargs: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append(text)
        draw(text, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", noted)
        figure.draw_without_rendering()
    return [(text.get_text(), Text.get_window_extent(text)) for text in found]


def faults(figure: Figure) -> list[str]:
    """What can't be read: texts that leave the canvas, and two on one another, by more than half a pixel."""
    texts, canvas = texts_of(figure), figure.bbox
    outside = [
        f"{text!r} leaves the canvas"
        for text, box in texts
        if min(box.x0, box.y0, canvas.x1 - box.x1, canvas.y1 - box.y1) < -0.5
    ]
    return outside + [
        f"{one!r} lies on {other!r}"
        for (one, a), (other, b) in combinations(texts, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
    ]


def looks_of(figure: Figure) -> dict[str, tuple[str, str]]:
    """Colour and marker of everything with a label."""
    return {
        line.get_label(): (to_hex(line.get_color()).upper(), str(line.get_marker()))
        for axes in figure.axes
        for line in [*axes.lines, *(bars[0] for bars in axes.containers)]
    } | {
        bars.get_label(): (to_hex(bars[0].get_color()).upper(), str(bars[0].get_marker()))
        for axes in figure.axes
        for bars in axes.containers
    }


@pytest.mark.parametrize("name", PLOTS)
def test_every_text_can_be_read(name: str, tmp_path: Path) -> None:
    found = drawn(world(FEW), [name], tmp_path)
    assert found
    assert {stem: faults(figure) for stem, figure in found.items() if faults(figure)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLOTS)
def test_every_text_can_be_read_with_24_methods(name: str, tmp_path: Path) -> None:
    assert len(MANY) == 24
    found = drawn(world(MANY), [name], tmp_path)
    assert found
    assert {stem: said for stem, figure in found.items() if (said := faults(figure))} == {}


@pytest.mark.parametrize(("sizes", "layers"), [((8,), (0, 1, 2)), ((2, 8), (1,)), ((8,), (1,))])
def test_one_size_or_one_layer_leaves_no_figure_empty(
    sizes: Sequence[int], layers: Sequence[int], tmp_path: Path
) -> None:
    found = drawn(world(FEW, sizes, layers), ["methods", "sizes", "layers"], tmp_path)
    assert {stem: said for stem, figure in found.items() if (said := faults(figure))} == {}
    kinds = {stem.partition("_")[0] for stem in found}
    assert kinds == {"cause"} | ({"sizes"} if len(sizes) > 1 else set()) | (
        {"layers"} if len(layers) > 1 else set()
    )


def test_a_method_looks_the_same_in_every_figure_and_whatever_else_is_drawn(tmp_path: Path) -> None:
    looks = styles(FEW, TRACK.floors)
    for figure in drawn(world(FEW), ["methods", "layers"], tmp_path).values():
        shown = looks_of(figure)
        assert {m: shown[m] for m in FEW} == {m: (looks[m].colour, looks[m].marker) for m in FEW}
    more = styles(MANY, TRACK.floors)
    assert (more["das"], more["lda"]) == (looks["das"], looks["lda"])
    assert len({(style.colour, style.marker) for style in more.values()}) == len(more)
