"""`ravel build --plan` against the build that follows: as many prompts, nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_world import World, build_args, ravel

from das.engine import DirectEngine, EngineAnswerer
from das.engine.base.protocol import Engine
from das.models.load import load_target
from evaluation.suite.forecast.build import plan_build_on
from ravel.building import BuildConfig, build_instance
from ravel.facts.sources import open_tables
from ravel.facts.tables import Tables

CONFIG = BuildConfig(
    match="reference",
    max_new_tokens=3,
    train_pairs=40,
    evaluation_pairs=24,
    keep_entities=12,
    keep_templates=2,
    flip_sample=4,
    allow_ignorance=True,
)


@pytest.fixture(scope="module")
def tables(world: World) -> Tables:
    return open_tables(str(world.data), "invented_person")


@pytest.fixture(scope="module")
def engine(world: World) -> Engine:
    return DirectEngine(load_target(str(world.model)))


@pytest.mark.parametrize(
    "changes",
    [{}, {"keep_entities": 400}, {"shortlist": 40}, {"selection": "staged"}, {"selection": "threshold"}],
)
def test_the_plan_counts_what_the_build_asks(changes: dict[str, Any], tables: Tables, engine: Engine) -> None:
    config = CONFIG.model_copy(update=changes)
    plan = plan_build_on(tables, engine, config, seconds=0.05)
    counted = _Counting(engine)
    prompts = build_instance(tables, counted, config).manifest.counts["prompts"]
    asked = counted.asked - config.flip_sample
    # A shortlist need not keep the proportions of the partitions exactly.
    slack = 0.02 * plan.most if config.shortlist else 0
    assert plan.fewest - slack <= asked <= plan.most + slack
    assert asked >= prompts["asked"]
    assert counted.went_on <= plan.went_on
    assert plan.alone == config.flip_sample
    if config.selection != "staged":
        assert plan.fewest == plan.most
        assert plan.new_tokens == pytest.approx(counted.tokens, rel=0.35)
    assert plan.seconds >= plan.fewest_seconds > 0
    assert plan.rate == pytest.approx(plan.probed / plan.probe_seconds)
    weights = sum(w.numel() * w.element_size() for w in engine.target.model.parameters())
    assert plan.memory > weights


class _Counting(EngineAnswerer):
    asked = went_on = tokens = 0

    def complete(self, prompts: Any, *given: Any) -> Any:
        self.asked += len(prompts)
        answers = super().complete(prompts, *given)
        self.tokens += sum(len(answer.token_ids) for answer in answers)
        return answers

    def go_on(self, prompts: Any, *given: Any) -> Any:
        self.went_on += len(prompts)
        return super().go_on(prompts, *given)


def test_the_command_says_it_and_writes_nothing(world: World, tmp_path: Path) -> None:
    arguments = [*build_args(world, tmp_path / "out"), "--plan"]
    shown = ravel(*arguments)
    assert shown.exit_code == 0, shown.output
    assert [line.split(":")[0] for line in shown.stdout.splitlines()] == [
        "prompts",
        "tokens",
        "time",
        "memory",
    ]
    planned = json.loads(ravel(*arguments, "--json").stdout)
    assert planned["most"] > planned["alone"] > 0
    assert list(tmp_path.iterdir()) == []
