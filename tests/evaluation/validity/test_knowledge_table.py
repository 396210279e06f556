"""Which layer is chosen and what the areas are, on invented signs; and the command on a miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_world import ATTRIBUTES, World, ravel

from evaluation.validity.knowledge import SIGNS, KnowledgeConfig, Questions
from ravel.terms.schema import PARTITIONS

CONFIG = KnowledgeConfig(resamples=200)
N = 200


def _questions(seed: int = 0) -> Questions:
    """Layer 1 tells for validation entities and layer 0 for test entities; the margin tells everywhere."""
    stream = np.random.default_rng(seed)
    right = stream.random(3 * N) < 0.6
    partitions = np.repeat(np.array(PARTITIONS), N)
    sharpness = stream.standard_normal((3 * N, 2))
    sharpness[partitions == "val", 1] += 2.0 * right[partitions == "val"]
    sharpness[partitions == "test", 0] += 2.0 * right[partitions == "test"]
    confidence = stream.standard_normal((3 * N, 2))
    confidence[:, 1] += 1.5 * right
    return Questions(
        attributes=["A"] * (3 * N),
        partitions=partitions.tolist(),
        entities=np.arange(3 * N) // 4,
        right=right,
        layers=(3, 7),
        sharpness=sharpness,
        confidence=confidence,
    )


def test_the_layer_is_chosen_on_validation_entities_alone() -> None:
    row = _questions().row("A", CONFIG)
    assert (row.layer, row.n) == (7, N)
    areas = {name: row.areas[name] for name in SIGNS}
    assert areas["sharpness"] == pytest.approx(0.5, abs=0.1)
    assert areas["log_probability"] == pytest.approx(0.5, abs=0.1)
    # Of two normal distributions 1.5 apart: the chance that one is above the other.
    assert areas["margin"] == pytest.approx(0.8556, abs=0.06)
    assert areas["together"] == pytest.approx(areas["margin"], abs=0.06)
    for name in SIGNS:
        interval = row.intervals[name]
        assert interval is not None
        assert interval[0] < (areas[name] or 0) < interval[1]
    assert row.gain_interval is not None
    assert row.gain_interval[0] > 0.15
    assert row.gain == pytest.approx((areas["together"] or 0) - (areas["log_probability"] or 0))


def test_an_attribute_that_is_always_known_has_no_area() -> None:
    questions = _questions()
    questions.right[:] = True
    row = questions.row("A", CONFIG)
    assert row.layer is None
    assert set(row.areas.values()) == {None} == set(row.intervals.values())
    assert row.gain is None
    assert row.n_right == N


def test_the_command_has_a_row_for_each_attribute(world: World) -> None:
    words = ("knowledge", "--model", world.model, "--entity-type", "invented_person", "--data", world.data)
    done = ravel(*words, "--entities", 8, "--json")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["attribute"] for row in rows] == list(ATTRIBUTES)
    assert all(set(row["areas"]) == set(SIGNS) for row in rows)
    text = ravel(*words, "--entities", 8, "--layer", 1, "--final-norm")
    assert text.exit_code == 0, text.output
    assert "sharpness" in text.stdout


def test_a_layer_that_is_not_there_is_one_paragraph(world: World, tmp_path: Path) -> None:
    words = ("knowledge", "--model", world.model, "--entity-type", "invented_person", "--data", world.data)
    done = ravel(*words, "--entities", 4, "--layer", 9)
    assert done.exit_code == 2
    assert "layer" in done.stderr
