"""What many rows begin with runs once, and no bit of what comes behind it shows that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from das.engine import ForcedPair, ResumeEngine
from das.featurizers import MaskedBasis
from das.models import TargetModel
from das.sites import Site
from ravel.terms.schema import Prompt

NAMES = ("Paris", "Oslo", "Lima", "Nairobi", "Kyoto", "San Diego", "New Delhi", "Rio de Janeiro")
TEMPLATES = ("The old and quiet city of %s lies in", "People who live in the city of %s speak", "%s is in")


@pytest.fixture(scope="module")
def pairs(make_prompt: Callable[..., Prompt]) -> list[ForcedPair]:
    prompts = [make_prompt(template, name) for template in TEMPLATES for name in NAMES]
    return [
        ForcedPair(base, source, (3, 5))
        for base, source in zip(prompts, prompts[5:] + prompts[:5], strict=True)
    ]


def _tokens_of(target: TargetModel, run: Callable[[], object]) -> int:
    """Return how many tokens go through the first block's MLP meanwhile."""
    seen: list[int] = []
    first = target.family.mlp(next(iter(target.family.blocks(target.model))))

    def count(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0][..., 0].numel())

    hook = first.register_forward_pre_hook(count)
    try:
        run()
    finally:
        hook.remove()
    return sum(seen)


@pytest.mark.parametrize("site", [Site(0), Site(1), Site.parse("mlp_output.1@entity_last")])
def test_bits_are_those_of_each_row_alone(
    small_target: TargetModel, pairs: list[ForcedPair], site: Site
) -> None:
    half = MaskedBasis(torch.arange(small_target.d_model) % 2)
    together = ResumeEngine(small_target).interchange_logits(pairs, site, half)
    for pair, among_many in zip(pairs[::3], together[::3], strict=True):
        alone = ResumeEngine(small_target).interchange_logits([pair], site, half)[0]
        assert torch.equal(alone, among_many)
    sources = [pair.source for pair in pairs]
    vectors = ResumeEngine(small_target).collect(sources, [site])[site]
    for source, vector in zip(sources[::5], vectors[::5], strict=True):
        assert torch.equal(ResumeEngine(small_target).collect([source], [site])[site][0], vector)


def test_what_many_begin_with_is_not_run_for_each(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine, site = ResumeEngine(small_target), Site(1)
    assert engine.fallback is None
    sources = [pair.source for pair in pairs if pair.source.template == TEMPLATES[0]]
    ends = [engine.encoder.position(source, site.position) + 1 for source in sources]
    run = _tokens_of(small_target, lambda: engine.collect(sources, [site]))
    assert len(sources) == len(NAMES)
    assert run < 0.6 * sum(ends)
