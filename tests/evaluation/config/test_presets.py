"""Presets: they parse, can be planned without weights, and lay published figures beside ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outcome_world import average_record, changed, score_record
from typer.testing import CliRunner

from das.methods.registry import METHODS
from das.sites import Site
from evaluation.cli import app
from evaluation.config.preset import MEAN_OVER_ATTRIBUTES, ModelShape, Preset, preset_named, preset_names
from evaluation.config.suite import SuiteConfig
from evaluation.report.published import beside_published, published_markdown
from evaluation.suite.forecast.build import prompts_of_build
from evaluation.suite.forecast.cost import PairCounts, cell_passes, estimate
from evaluation.suite.forecast.plan import plan_preset
from evaluation.suite.grid import Cell
from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.tables import read_bundled

REPRODUCED = {"gemma-2-2b-country", "llama-2-7b-paper", "llama-3-8b-hyperdas-mdas", "gpt2-small-sae-ravel"}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_can_be_planned_without_its_weights(name: str, tmp_path: Path) -> None:
    plan = plan_preset(name, tmp_path / "run")
    assert len({entry.cell.cell_id for entry in plan.cells}) == len(plan.cells) > 0
    assert plan.estimate.seconds > 0
    assert plan.estimate.memory > preset_named(name).shape.parameters
    assert not (tmp_path / "run").exists()


def test_a_plan_counts_the_build_where_the_facts_are_here(tmp_path: Path) -> None:
    preset = preset_named("bundled-city-all")
    fewest, most = prompts_of_build(read_bundled("city"), preset.build_config())
    said = plan_preset("bundled-city-all", tmp_path / "run").build
    assert said is not None
    assert said.startswith(f"The instance is built first: {fewest:,} to {most:,} prompts, at most about ")
    elsewhere = plan_preset("gemma-2-2b-country", tmp_path / "run").build
    assert elsewhere == "The instance is built first, which is not counted; `ravel build --plan` measures it."
    folder = str(bundled_path("city"))
    here = plan_preset("bundled-city-all", tmp_path / "run", data=folder).build
    assert here == said


def test_facts_may_come_from_elsewhere_and_only_where_the_preset_builds(tmp_path: Path) -> None:
    absent = str(tmp_path / "no-release")
    runner = CliRunner()
    given = ["run", "--preset", "bundled-city-all", "--data", absent, "--out", str(tmp_path / "run")]
    read = runner.invoke(app, given)
    assert (read.exit_code, absent in "".join(read.output.split())) == (2, True), read.output
    both = runner.invoke(app, [*given, "--instance", absent])
    assert both.exit_code == 2
    assert "--data together with --preset, and no --instance" in " ".join(both.output.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_names_what_there_is(name: str) -> None:
    preset = preset_named(name)
    assert Preset.from_yaml(preset.to_yaml()) == preset
    for spec in preset.methods():
        METHODS.get(spec.name).config_class.from_mapping(spec.config, origin=name)
    ENTITY_TYPES.get(preset.entity_type)
    for published in preset.published:
        assert published.method in {spec.name for spec in preset.methods()}
        assert any(getattr(published, score) is not None for score in ("cause", "isolate", "disentangle"))


def test_every_reproduction_states_figures_and_source() -> None:
    assert set(preset_names()) >= REPRODUCED
    for name in REPRODUCED:
        preset = preset_named(name)
        assert preset.published
        assert "arXiv" in preset.source or "github.com" in preset.source
        assert preset.notes


def test_an_unknown_preset_lists_near_misses() -> None:
    with pytest.raises(SuiteError, match="did you mean 'gemma-2-2b-country'"):
        preset_named("gemma-2b-country")


def test_published_figures_meet_ours_at_the_same_point() -> None:
    preset = preset_named("gemma-2-2b-country")
    site = "block_output.13@entity_last"
    common = {"attribute": "Country", "site": site, "generalisation": "context"}
    test = score_record(
        method="das",
        size=72,
        partition="test",
        chosen=True,
        cause=0.96,
        isolate=0.2,
        disentangle=0.58,
        **common,
    )
    other_seed = changed(test, seed=1, cause=0.94)
    validated = score_record(
        method="das",
        size=144,
        partition="val",
        cause=0.5,
        isolate=0.5,
        disentangle=0.5,
        chosen=False,
        **common,
    )
    rows = {
        (row.published.method, row.published.size, row.score): row
        for row in beside_published(preset, [test, other_seed, validated])
    }
    at = rows["das", 72, "cause"]
    assert (at.value, at.ours, at.partition, at.reproduced) == (0.973, pytest.approx(0.95), "test", True)
    assert rows["das", 72, "isolate"].reproduced is False
    assert rows["das", 144, "cause"].partition == "val"
    assert rows["mdas", 72, "cause"].ours is None
    assert rows["mdas", 72, "cause"].reproduced is None
    text = published_markdown(preset, list(rows.values()))
    line = "| das | Country | context | size 72 | cause | 0.973 ± 0.05 | 0.950 | size 72 | test | yes |"
    assert line in text
    assert preset.source in text


def test_the_nearest_size_counts_and_the_mean_over_attributes_is_the_macro_average() -> None:
    preset = preset_named("llama-3-8b-hyperdas-mdas")
    fewer = score_record(
        method="mdas",
        attribute="Country",
        site="block_output.15@entity_last",
        generalisation="context",
        size=120,
        partition="val",
        chosen=False,
        cause=0.81,
        isolate=0.66,
        disentangle=0.735,
    )
    mean = average_record(method="mdas", scope="macro", partition="test", cause=0.5, generalisation="context")
    rows = {
        (row.published.attribute, row.published.size, row.score): row
        for row in beside_published(preset, [fewer], [mean])
    }
    assert (rows["Country", 128, "cause"].size, rows["Country", 128, "cause"].reproduced) == (120, True)
    assert rows[MEAN_OVER_ATTRIBUTES, None, "cause"].ours == 0.5


# --- estimates


SHAPE = ModelShape(layers=4, width=32, heads=2, head_width=16, vocabulary=100, parameters=1000)
COUNTS = PairCounts(train=100, evaluation=10, attributes=3)
SUITE = SuiteConfig(
    instance="", methods=({"name": "mdas"},), sites=("block_output.1@entity_last",), seeds=(0,),
    generalisations=("context",),
)  # fmt: skip


def _cell(method: str, setting: str = "{}") -> Cell:
    return Cell("id", method, setting, "A", Site(layer=1), 4, 0)


def test_passes_by_hand() -> None:
    judged = 10 * 3 * 1.4
    assert cell_passes(_cell("no_op"), SUITE, COUNTS, methods=METHODS) == pytest.approx(judged)
    # MDAS: 40 cause pairs and 25 isolate pairs of each of two others, two epochs, 10 x 3 validated an epoch.
    das = _cell("das", json.dumps({"cause_pairs": 40, "epochs": 2, "validation_pairs": 50}))
    assert cell_passes(das, SUITE, COUNTS, methods=METHODS) == pytest.approx(judged + 2 * (40 * 3 + 30))
    mdas = _cell("mdas", json.dumps({"cause_pairs": 40, "epochs": 2, "validation_pairs": 50}))
    expected = judged + 2 * ((40 + 2 * 25) * 3 + 30)
    assert cell_passes(mdas, SUITE, COUNTS, methods=METHODS) == pytest.approx(expected)


def test_an_estimate_grows_with_the_cells_and_says_so() -> None:
    one = estimate([_cell("mdas")], SUITE, COUNTS, SHAPE, rate=100, methods=METHODS)
    two = estimate([_cell("mdas")] * 2, SUITE, COUNTS, SHAPE, rate=100, methods=METHODS)
    assert two.seconds > one.seconds > 0
    assert one.seconds == pytest.approx(one.passes / 100)
    assert "1 cells to fit" in one.sentence()


# --- command line


def test_a_plan_is_printed_and_nothing_is_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["run", "--preset", "llama-2-7b-paper", "--plan", "--out", str(tmp_path / "r")]
    )
    assert done.exit_code == 0, done.output
    assert "cells to fit" in done.stdout
    assert "peak memory about" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "either the file of a suite or --preset"),
        (["suite.yaml", "--preset", "gemma-2-2b-country"], "either the file of a suite or --preset"),
        (["suite.yaml", "--instance", "somewhere"], "--instance together with --preset"),
        (["--preset", "gema-2-2b-country"], "did you mean 'gemma-2-2b-country'"),
    ],
)
def test_wrong_sources_are_refused(args: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["run", *args])
    assert done.exit_code == 2
    assert words in done.output
