"""What steering costs: tokens through the model, beside those of scoring a featurizer, and nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cli_world import SITE, World, build_args, ravel
from steering_cost import counted_tokens

from das.engine import make_engine
from das.engine.base.protocol import Engine, PromptPair
from das.featurizers import Subspace
from das.models.base import TargetModel
from das.models.load import load_target
from das.sites import Site
from evaluation.config.judging import Judging
from evaluation.tracks import TRACKS
from ravel.instance import Instance

PLACE = Site.parse(SITE)
SPLITS = ("context_val", "entity_val")


@pytest.fixture(scope="module")
def instance(world: World) -> Instance:
    return Instance.load(world.instance)


@pytest.fixture(scope="module")
def many(world: World, tmp_path_factory: pytest.TempPathFactory) -> Instance:
    """The instance with ten times the pairs, so that a value has enough prompts for a pass of its own."""
    out = tmp_path_factory.mktemp("many") / "instance"
    asked = build_args(world, out)
    asked[asked.index("--evaluation-pairs") + 1] = 240
    assert ravel(*asked).exit_code == 0
    return Instance.load(out)


@pytest.fixture(scope="module")
def target(world: World) -> TargetModel:
    return load_target(str(world.model))


def plane(target: TargetModel, seed: int = 1) -> Subspace:
    columns = torch.randn(target.width(PLACE), 2, generator=torch.Generator().manual_seed(seed))
    return Subspace(torch.linalg.qr(columns).Q)


def tokens_per_case(track: str, engine: Engine, instance: Instance, settings: dict[str, Any]) -> float:
    """Return the tokens for each case of judging one more plane, after three others."""
    judge = TRACKS.get(track).judge(engine, Judging(settings=settings))
    for seed in range(3):
        for split in SPLITS:
            judge.judge(instance, split, PLACE, plane(engine.target, seed))
    with counted_tokens(engine.target) as tokens:
        found = [judge.judge(instance, split, PLACE, plane(engine.target, 3)) for split in SPLITS]
    return tokens[0] / sum(map(len, found))


# Few rows of many lengths are padded by resume; benchmarks/steering_cost.py has its figures without that.
@pytest.mark.parametrize(("name", "times"), [("direct", 1.5), ("resume", 1.6)])
def test_a_steered_prompt_costs_little_more_than_a_swapped_pair(
    name: str, times: float, target: TargetModel, many: Instance
) -> None:
    swapped = tokens_per_case("interchange", make_engine(name, target), many, {})
    steered = tokens_per_case("steering", make_engine(name, target), many, {"strengths": [1]})
    assert 0 < steered <= times * swapped


def test_what_is_said_freely_reads_a_prompt_once(target: TargetModel, many: Instance) -> None:
    """Whatever is changed, and however many prompts begin alike; a fifth is left for padding."""
    prompts = [record.prompt for record in many.prompts()[:40]]
    engine, pairs = make_engine("resume", target), [PromptPair(prompt, prompt) for prompt in prompts]
    engine.complete_swapped(pairs[:1], PLACE, plane(target), 3)
    engine.collect(prompts, [PLACE])
    with counted_tokens(target) as tokens:
        engine.complete_swapped(pairs, PLACE, plane(target), 3)
    rows = {row.ids for row in engine.encoder.encode([prompt.text for prompt in prompts])}
    assert 0 < tokens[0] <= 1.2 * target.n_layers * sum(len(row) + 2 for row in rows)


def test_validation_prompts_are_not_judged_again_for_the_test_split(
    target: TargetModel, instance: Instance
) -> None:
    settings = Judging(settings={"strengths": [1, 2]})
    made = [TRACKS.get("erasure").judge(make_engine("resume", target), settings) for _ in range(2)]
    knows, new = made
    finding = plane(target)
    knows.judge(instance, "entity_val", PLACE, finding)
    outcomes, tokens = [], []
    for judge in (knows, new):
        with counted_tokens(target) as seen:
            outcomes.append(judge.judge(instance, "entity_test", PLACE, finding))
        tokens.append(seen[0])
    assert outcomes[0] == outcomes[1]
    assert 0 < 2 * tokens[0] < tokens[1]
    other = Subspace(finding.basis.flip(0).contiguous())
    assert knows.judge(instance, "entity_test", PLACE, other) == new.judge(
        instance, "entity_test", PLACE, other
    )
