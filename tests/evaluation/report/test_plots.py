"""Figures are written in both formats, alike each time, say what they show, and use validation where they
must."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcome_world import TRACK, average_record, score_record

from evaluation.records.overlaps import AngleRecord, EntanglementRecord
from evaluation.records.scores import ScoreRecord
from evaluation.report.plots import (
    PLOTS,
    PlotInputs,
    TrainingLog,
    plot_cause_isolate,
    plot_size_grid,
    write_plots,
)
from evaluation.report.plots.curves import (
    layer_curve,
    place_of,
    size_curve,
    validation_records,
    worth_fitting,
)
from evaluation.report.plots.style import FLOOR_COLOUR, styles
from evaluation.report.plots.training import smoothed
from ravel.checking.dependence import dependences
from ravel.common.errors import SuiteError

RECORDS = [
    average_record(method=method, generalisation=g, cause=cause, isolate=isolate)
    for g in ("context", "entity")
    for method, cause, isolate in (("mdas", 0.75, 0.85), ("das", 0.9, 0.4), ("no_op", 0.0, 1.0))
]
MANY = [
    *(
        "das",
        "mdas",
        "boundless_das",
        "pca",
        "mean_difference",
        "lda",
        "linear_probe",
        "inlp",
        "rlap",
        "leace",
    ),
    *("neurons_probe", "neurons_anova", "neurons_integrated_gradients", "dbm", "mdbm", "pca_mdbm"),
    *("sae_l1", "sae_attribution", "mdbm_sae", "strange"),
]

FLOORS = TRACK.floors


def point(size: int, cause: float, isolate: float, **changes: Any) -> ScoreRecord:
    """A validation record at a size."""
    return score_record(
        size=size, cause=cause, isolate=isolate, disentangle=(cause + isolate) / 2, cell=f"c{size}", **changes
    )


def grid(methods: list[str]) -> list[ScoreRecord]:
    """Validation records of two sizes, layers and attributes per method."""
    return [
        point(
            size,
            min(1.0, 0.1 * size / (1 + i % 3)),
            1 - 0.05 * size,
            method=method,
            attribute=attribute,
            site=f"block_output.{layer}@entity_last",
            chosen=(size, layer) == (8, 1),
        )
        for i, method in enumerate(methods)
        for attribute in ("Country", "Language")
        for layer in (0, 1)
        for size in ((0,) if method == "no_op" else (2, 8))
    ]


def inputs() -> PlotInputs:
    """Something for every figure."""
    entangled = [
        EntanglementRecord("mdas", "city", "m", "s", 8, 0, "context", "test", a, b, 0.25, 0.5, 0.25, 9)
        for a in ("Country", "Language")
        for b in ("Country", "Language")
    ]
    angle = AngleRecord("mdas", "s", "Country", 0, 8, "Language", 0, 8, 128, (0.5,), 0.25, 0.0625)
    rows: list[dict[str, Any]] = [
        {"phase": "train", "step": 10, "loss": 2.0},
        {"phase": "train", "step": 20, "loss": 1.0},
        {"phase": "validation", "step": 20, "cause_accuracy": 0.5, "kept": 1},
        {"phase": "else"},
    ]
    logs = [TrainingLog("das", "Country", seed, tuple(rows)) for seed in (0, 1)]
    return PlotInputs(grid(["das", "mdas", "no_op"]), RECORDS, entangled, [angle], logs)


def texts(path: Path) -> list[str]:
    """Every text of an SVG."""
    root = ElementTree.parse(path).getroot()
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    first = plot_cause_isolate(RECORDS, tmp_path / "one" / "figure")
    second = plot_cause_isolate(RECORDS, tmp_path / "two" / "figure")
    assert [path.name for path in first] == ["figure.png", "figure.svg", "figure.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_drawing_names_methods_axes_and_panels(tmp_path: Path) -> None:
    plot_cause_isolate(RECORDS, tmp_path / "figure")
    drawn = texts(tmp_path / "figure.svg")
    for text in ("mdas", "das", "no_op", "cause", "isolate", "context", "entity"):
        assert text in drawn


def test_missing_scores_and_no_records_draw_an_empty_figure(tmp_path: Path) -> None:
    empty = average_record(cause=None, cause_interval=None)
    off_centre = average_record(method="das", cause_interval=(0.76, 0.8))
    assert all(path.is_file() for path in plot_cause_isolate([empty, off_centre], tmp_path / "a"))
    assert all(path.is_file() for path in plot_cause_isolate([], tmp_path / "b"))


def test_drawing_changes_no_setting_of_the_process(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    plot_cause_isolate(RECORDS, tmp_path / "figure")
    assert dict(mpl.rcParams) == before


def test_every_figure_is_written(tmp_path: Path) -> None:
    first = write_plots(inputs(), tmp_path / "one")
    assert [path.name for path in first if path.suffix == ".svg"] == [
        "cause_isolate.svg",
        "sizes_context.svg",
        "layers_block_output_entity_last.svg",
        "entanglement_context_trained_subspaces.svg",
        "angles_trained_subspaces.svg",
        "training.svg",
    ]


@pytest.mark.slow
def test_every_figure_is_alike_each_time(tmp_path: Path) -> None:
    first, second = (write_plots(inputs(), tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_what_has_no_records_is_left_out_and_unknown_names_are_refused(tmp_path: Path) -> None:
    assert write_plots(PlotInputs(), tmp_path, [name for name in PLOTS if name != "methods"]) == []
    with pytest.raises(SuiteError, match="did you mean 'layers'"):
        write_plots(PlotInputs(), tmp_path, ["layer"])


def test_the_numbers_in_the_heat_maps_are_those_of_the_records(tmp_path: Path) -> None:
    write_plots(inputs(), tmp_path, ["entanglement", "angles"])
    entangled = texts(tmp_path / "entanglement_context_trained_subspaces.svg")
    assert (entangled.count("75"), entangled.count("50")) == (4, 4)
    assert {"swapped", "asked", "mdas"} <= set(entangled)
    angles = texts(tmp_path / "angles_trained_subspaces.svg")
    assert angles.count("25") == 2
    assert "mdas (by chance 6)" in angles


def test_dependence_stands_before_the_methods_on_the_same_axes(tmp_path: Path) -> None:
    lands = {f"{land}{i}": land for land in "XYZ" for i in range(8)}
    tongues = {town: "p" if land == "X" else "q" for town, land in lands.items()}
    world = dependences({"Country": lands, "Language": tongues, "Elsewhere": lands}, "facts")
    write_plots(replace(inputs(), dependence=world), tmp_path, ["entanglement"])
    drawn = texts(tmp_path / "entanglement_context_trained_subspaces.svg")
    assert drawn.index("dependence (facts)") < drawn.index("mdas")
    assert "Elsewhere" not in drawn
    # Country tells Language of all 24 towns, where always saying q is right for 16.
    assert (drawn.count("100"), drawn.count("67")) == (1, 1)
    write_plots(inputs(), tmp_path, ["entanglement"])
    without = texts(tmp_path / "entanglement_context_trained_subspaces.svg")
    assert not any("dependence" in text for text in without)


def test_training_says_what_was_not_measured(tmp_path: Path) -> None:
    write_plots(inputs(), tmp_path, ["training"])
    drawn = texts(tmp_path / "training.svg")
    assert drawn.count("not measured") == 1
    assert drawn.count("Country") == 1


def test_a_size_curve_averages_attributes_at_their_chosen_sites() -> None:
    deep = "block_output.5@entity_last"
    records = [
        point(4, 0.2, 1.0),
        point(8, 0.6, 0.8, chosen=True),
        point(4, 0.4, 0.6, attribute="Language", site=deep, chosen=True),
        point(8, 0.8, 0.4, attribute="Language", site=deep),
        point(8, 0.0, 0.0, attribute="Language"),
        point(8, 0.0, 0.0, chosen=True, partition="test"),
        point(8, 0.0, 0.0, chosen=True, source_kind="same_attribute"),
    ]
    curve = size_curve(validation_records(records), "mdas", "context")
    assert [(p.label(), round(p.cause, 9), round(p.isolate, 9)) for p in curve.points] == [
        ("4", 0.3, 0.8),
        ("8", 0.7, 0.6),
    ]
    assert curve.chosen is not None
    assert (curve.chosen.label(), curve.chosen.cause, curve.chosen.isolate) == ("4–8", 0.5, 0.7)


def test_sizes_that_were_found_are_matched_in_order_and_others_by_what_all_share() -> None:
    learned = [
        point(3, 0.2, 1.0, chosen=True),
        point(9, 0.4, 0.5),
        point(5, 0.4, 0.5, attribute="Language", chosen=True),
        point(7, 0.6, 0.0, attribute="Language"),
    ]
    curve = size_curve(learned, "mdas", "context")
    assert [(p.label(), round(p.cause, 9)) for p in curve.points] == [("3–5", 0.3), ("7–9", 0.5)]
    more = [*learned, point(3, 0.0, 1.0, attribute="Language")]
    assert [p.label() for p in size_curve(more, "mdas", "context").points] == ["3"]


def test_a_layer_has_its_best_size_by_all_generalisations() -> None:
    records = [
        point(4, 0.9, 0.9),
        point(8, 0.5, 0.5),
        point(4, 0.1, 0.1, generalisation="entity"),
        point(8, 0.9, 0.9, generalisation="entity"),
    ]
    place = place_of(records[0].site)
    assert layer_curve(records, "mdas", "context", place, TRACK) == {3: 0.5}
    assert layer_curve(records, "mdas", "entity", place, TRACK) == {3: 0.9}
    assert layer_curve(records, "mdas", "entity", "mlp_output@entity_last", TRACK) == {}
    moved = [replace(record, site="block_output.1@entity_last") for record in records]
    assert layer_curve([*records, *moved], "mdas", "context", place, TRACK) == {1: 0.5, 3: 0.5}


def test_layers_worth_fitting_are_those_where_the_whole_vector_brings_much() -> None:
    early, late = {0: 0.9, 1: 1.0, 2: 0.9}, {0: 0.7, 1: 0.9, 2: 0.1}
    assert worth_fitting([early, late]) == [0, 1]
    assert worth_fitting([{0: 0.01, 1: 0.0}]) == worth_fitting([]) == []


def test_the_layers_figure_names_the_layers_worth_fitting(tmp_path: Path) -> None:
    whole = [
        point(0, cause, 0.0, method="full_vector", site=f"block_output.{layer}@entity_last")
        for layer, cause in ((0, 1.0), (1, 0.2))
    ]
    write_plots(PlotInputs([*grid(["das"]), *whole]), tmp_path, ["layers"])
    stem = tmp_path / "layers_block_output_entity_last"
    assert {"cause of", "full_vector"} <= set(texts(stem.with_suffix(".svg")))
    assert "Worth fitting" in stem.with_suffix(".txt").read_text()
    assert stem.with_suffix(".txt").read_text().strip().endswith("layer 0.")


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=80))
def test_a_smoothed_curve_stays_inside_and_keeps_its_ends(values: list[float]) -> None:
    found = smoothed(values)
    assert len(found) == len(values)
    assert (found[0], found[-1]) == (values[0], values[-1])
    assert min(values) - 1e-9 <= min(found) <= max(found) <= max(values) + 1e-9
    assert smoothed([2.0] * len(values)) == [2.0] * len(values)


def test_many_methods_are_told_apart_by_colour_and_marker() -> None:
    few = styles(["das", "mdas", "no_op"], FLOORS)
    assert len({style.colour for style in few.values()}) == 3
    looks = styles([*MANY, *FLOORS], FLOORS)
    learned = {name: (look.colour, look.marker) for name, look in looks.items() if name not in FLOORS}
    assert len(set(learned.values())) == len(MANY)
    assert {name: looks[name] for name in few} == few
    assert {looks[name].colour for name in FLOORS} == {FLOOR_COLOUR}
    assert len({looks[name].marker for name in FLOORS}) == len(FLOORS)


@pytest.mark.slow
def test_many_methods_have_a_panel_each_whose_names_do_not_touch(tmp_path: Path) -> None:
    plot_size_grid(grid([*MANY, *FLOORS]), "context", tmp_path / "sizes")
    drawn = texts(tmp_path / "sizes.svg")
    # Names break where a panel ends.
    assert all(name in "".join(drawn) for name in MANY)
    assert "chosen on validation" in drawn
    assert "validation pairs" in (tmp_path / "sizes.txt").read_text()
