"""What steering costs: tokens through the model, beside those of scoring a featurizer, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from cli_world import SITE, World
from torch import nn

from das.engine import make_engine
from das.engine.base.protocol import Engine
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
def target(world: World) -> TargetModel:
    return load_target(str(world.model))


@contextmanager
def counted(target: TargetModel) -> Iterator[list[int]]:
    """Count the tokens that go through the last block."""
    tokens = [0]

    def seen(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        flowing = output if isinstance(output, torch.Tensor) else output[0]
        tokens[0] += flowing.shape[0] * flowing.shape[1]

    handle = target.place(Site(target.n_layers - 1)).module.register_forward_hook(seen)
    try:
        yield tokens
    finally:
        handle.remove()


def plane(target: TargetModel, seed: int = 1) -> Subspace:
    columns = torch.randn(target.width(PLACE), 2, generator=torch.Generator().manual_seed(seed))
    return Subspace(torch.linalg.qr(columns).Q)


def tokens_per_case(track: str, engine: Engine, instance: Instance, settings: dict[str, Any]) -> float:
    """Return the tokens for each case of judging one more plane, after another one."""
    judge = TRACKS.get(track).judge(engine, Judging(settings=settings))
    for split in SPLITS:
        judge.judge(instance, split, PLACE, plane(engine.target))
    with counted(engine.target) as tokens:
        found = [judge.judge(instance, split, PLACE, plane(engine.target, 2)) for split in SPLITS]
    return tokens[0] / sum(map(len, found))


@pytest.mark.parametrize(("name", "most"), [("direct", 1.5), ("resume", 2.5)])
def test_a_steered_prompt_costs_little_more_than_a_swapped_pair(
    name: str, most: float, target: TargetModel, instance: Instance
) -> None:
    # Random weights say neither of the two answers, so that each case is the dearest there is: what its
    # answer costs the model that is left alone is worked out twice. All else is shared by rows and strengths.
    swapped = tokens_per_case("interchange", make_engine(name, target), instance, {})
    steered = tokens_per_case("steering", make_engine(name, target), instance, {"strengths": [1]})
    assert 0 < steered <= most * swapped


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
        with counted(target) as seen:
            outcomes.append(judge.judge(instance, "entity_test", PLACE, finding))
        tokens.append(seen[0])
    assert outcomes[0] == outcomes[1]
    assert 0 < 2 * tokens[0] < tokens[1]
    other = Subspace(finding.basis.flip(0).contiguous())
    assert knows.judge(instance, "entity_test", PLACE, other) == new.judge(
        instance, "entity_test", PLACE, other
    )
