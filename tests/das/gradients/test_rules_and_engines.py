"""Every engine gives the gradients of the rules, as one pass over the whole row does; its values stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from resume_cases import SOME_SITES, PromptMaker, logits_and_gradient, make_pairs
from torch import Tensor

from das.engine import Engine, make_engine
from das.engine.engines import resume
from das.engine.engines.resume import ResumeEngine
from das.gradients.context import backward_rules
from das.gradients.rules import GIM, PLAIN, BackwardRules
from das.models import FAMILIES
from das.models.base import TargetModel
from das.sites import Site
from das.threads import using_threads

TargetMaker = Callable[[str], TargetModel]


def _ruled(
    engine: Engine, make_prompt: PromptMaker, site: Site, rules: BackwardRules
) -> tuple[Tensor, Tensor]:
    with backward_rules(engine.target, rules):
        return logits_and_gradient(engine, make_pairs(make_prompt)[:6], site)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("name", FAMILIES.names())
def test_engines_agree_under_the_rules(name: str, target_of: TargetMaker, make_prompt: PromptMaker) -> None:
    target, site = target_of(name), SOME_SITES[FAMILIES.names().index(name) % len(SOME_SITES)]
    expected, expected_gradient = _ruled(make_engine("direct", target), make_prompt, site, GIM)
    for engine in (make_engine("resume", target), make_engine("reference", target)):
        if engine.name == "reference" and site.stream in target.family.beyond_reference:
            continue
        logits, gradient = _ruled(engine, make_prompt, site, GIM)
        assert _apart(logits, expected) < 1e-4
        assert _apart(gradient, expected_gradient) < 1e-3
        values, plain = _ruled(engine, make_prompt, site, PLAIN)
        assert torch.equal(values, logits)
        assert _apart(plain, gradient) > 0.01


@pytest.mark.parametrize("site", SOME_SITES, ids=str)
def test_states_kept_under_the_rules_are_the_model_s_own(
    site: Site, small_target: TargetModel, make_prompt: PromptMaker
) -> None:
    cold, warm = ResumeEngine(small_target), ResumeEngine(small_target)
    _ruled(warm, make_prompt, site, GIM)
    expected, gradient = _ruled(cold, make_prompt, site, PLAIN)
    found, after = _ruled(warm, make_prompt, site, PLAIN)
    assert torch.equal(found, expected)
    assert torch.equal(after, gradient)
    assert warm.fallback is None


@pytest.mark.parametrize("name", ["direct", "resume"])
def test_what_is_run_again_for_want_of_memory_follows_the_rules_too(
    name: str, small_target: TargetModel, make_prompt: PromptMaker
) -> None:
    site = Site(1)
    whole, halved = make_engine(name, small_target), make_engine(name, small_target)
    expected, expected_gradient = _ruled(whole, make_prompt, site, GIM)
    halved.shrink("too little memory")
    logits, gradient = _ruled(halved, make_prompt, site, GIM)
    assert _apart(logits, expected) < 1e-5
    assert _apart(gradient, expected_gradient) < 1e-4


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_passes_side_by_side_follow_the_rules(
    name: str, target_of: TargetMaker, make_prompt: PromptMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, site = target_of(name), Site(1)
    expected, gradient = _ruled(ResumeEngine(target, 60), make_prompt, site, GIM)
    monkeypatch.setattr(resume, "_LANE_WEIGHTS", 0)
    with using_threads(2):
        logits, beside = _ruled(ResumeEngine(target, 60), make_prompt, site, GIM)
    assert torch.equal(logits, expected)
    assert torch.equal(beside, gradient)
