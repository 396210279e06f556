"""Controls on real models: an untrained copy, a whole suite through the command line, and, on the bundled
model, a method that is far above what its controls reach."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_world import World, ravel, suite_text

from das.models.base import TargetModel
from das.models.untrained import untrained
from evaluation.config.suite import SuiteConfig
from evaluation.records.control_checks import EVERY_ATTRIBUTE
from evaluation.suite.run import RunRequest, run_suite

CONTROLS = ("complement", "labels_shuffled", "other_source", "untrained_model", "values_permuted")


def test_an_untrained_model_has_the_shape_and_other_weights(small_target: TargetModel) -> None:
    state = torch.random.get_rng_state()
    fresh, same, other = (untrained(small_target, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert fresh.fingerprint == same.fingerprint
    assert len({fresh.fingerprint, other.fingerprint, small_target.fingerprint}) == 3
    assert fresh.tokenizer is small_target.tokenizer
    assert (fresh.n_layers, fresh.d_model) == (small_target.n_layers, small_target.d_model)
    assert not any(p.requires_grad for p in fresh.model.parameters())
    assert not fresh.model.training
    shapes = [{n: tuple(p.shape) for n, p in t.model.named_parameters()} for t in (fresh, small_target)]
    assert shapes[0] == shapes[1]


def test_controls_from_the_command_line(world: World, tmp_path: Path) -> None:
    suite, out = tmp_path / "suite.yaml", tmp_path / "run"
    suite.write_text(suite_text(world, generalisations=["context"]))
    planned = ravel("run", suite, "--out", out, "--controls", "all", "--plan")
    assert planned.exit_code == 0, planned.output
    # Five controls of das, on two attributes.
    assert "and 10 cells of controls" in planned.output
    done = ravel("run", suite, "--out", out, "--controls", "all")
    assert done.exit_code == 0, done.output
    assert "scores that must be at their floor" in done.output
    rows = [json.loads(line) for line in (out / "control_checks.jsonl").read_text().splitlines()]
    assert {row["control"] for row in rows} == set(CONTROLS)
    nothing = [r for r in rows if r["control"] == "untrained_model" and r["attribute"] == EVERY_ATTRIBUTE]
    assert {row["measure"] for row in nothing} == {"cause", "isolate"}
    assert all(row["required"] and row["at_floor"] for row in nothing), nothing
    assert "das~other_source" in ravel("table", out).output.replace("\\", "")
    printed = ravel("table", out, "--table", "controls").output.replace("\\", "")
    assert "other_source, other sources: cause" in printed
    assert "all swapped" in ravel("table", out, "--table", "necessity").output
    wrong = ravel("run", suite, "--out", out, "--controls", "other_sources")
    assert wrong.exit_code == 2
    assert "other_source" in wrong.output


def test_controls_are_listed() -> None:
    listed = json.loads(ravel("list", "controls", "--json").output)
    assert [row["name"] for row in listed] == list(CONTROLS)
    assert all(row["summary"] and row["floors"] for row in listed)


BUILD = {"max_entities": 160, "train_pairs": 600, "evaluation_pairs": 96}


@pytest.mark.slow
@pytest.mark.long
def test_mdas_is_far_above_its_controls_and_each_is_at_its_floor(tmp_path: Path) -> None:
    suite = SuiteConfig(
        build={"entity_type": "invented_person", "settings": BUILD},  # type: ignore[arg-type]
        methods=({"name": "mdas"},),  # type: ignore[arg-type]
        sites=("block_output.2@entity_last",),
        sizes=(16,),
        seeds=(0,),
        generalisations=("context", "entity"),
        controls=("all",),
    )
    found = run_suite(RunRequest(suite, tmp_path / "run"))
    means = [check for check in found.controls if check.attribute == EVERY_ATTRIBUTE]
    assert {check.control for check in means} == set(CONTROLS)
    for check in means:
        assert check.ordinary is not None
        assert check.score is not None
        if check.measure == "cause":
            assert check.ordinary > 0.8
            assert check.score < check.ordinary / 2
        if check.required:
            assert check.at_floor, (check.control, check.generalisation, check.score, check.floor)
