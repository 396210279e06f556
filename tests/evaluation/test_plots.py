"""Figures are written in both formats, alike each time, and say what they show."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from outcome_world import average_record

from evaluation.plots import LayerPoint, plot_cause_isolate, plot_layers

RECORDS = [
    average_record(method=method, generalisation=g, cause=cause, isolate=isolate)
    for g in ("context", "entity")
    for method, cause, isolate in (("mdas", 0.75, 0.85), ("das", 0.9, 0.4), ("no_op", 0.0, 1.0))
]


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    first = plot_cause_isolate(RECORDS, tmp_path / "one" / "figure")
    second = plot_cause_isolate(RECORDS, tmp_path / "two" / "figure")
    assert [path.name for path in first] == ["figure.png", "figure.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_drawing_names_methods_axes_and_panels(tmp_path: Path) -> None:
    plot_cause_isolate(RECORDS, tmp_path / "figure")
    drawn = (tmp_path / "figure.svg").read_text()
    for text in ("mdas", "das", "no_op", "cause", "isolate", "context", "entity"):
        assert f">{text}</text>" in drawn


def test_missing_scores_and_no_records_draw_an_empty_figure(tmp_path: Path) -> None:
    empty = average_record(cause=None, cause_interval=None)
    off_centre = average_record(method="das", cause_interval=(0.76, 0.8))
    assert all(path.is_file() for path in plot_cause_isolate([empty, off_centre], tmp_path / "a"))
    assert all(path.is_file() for path in plot_cause_isolate([], tmp_path / "b"))


def test_curves_over_layers(tmp_path: Path) -> None:
    points = [LayerPoint("mdas", layer, 0.1 * layer, (0.05 * layer, 0.15 * layer)) for layer in range(4)]
    points += [LayerPoint("no_op", layer, 0.5) for layer in range(4)]
    paths = plot_layers(points, tmp_path / "layers", title="city", score="disentangle")
    again = plot_layers(points[::-1], tmp_path / "again", title="city", score="disentangle")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    assert ">disentangle</text>" in paths[1].read_text()


def test_drawing_changes_no_setting_of_the_process(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    plot_cause_isolate(RECORDS, tmp_path / "figure")
    assert dict(mpl.rcParams) == before
