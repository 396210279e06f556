"""Changes at other tokens than a site's: they act where they say and nowhere else, whatever is cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from das.engine import DirectEngine, ResumeEngine, make_engine
from das.engine.base.protocol import PromptPair
from das.finding import Actor
from das.models import FAMILIES, TargetModel
from das.positions import EditedTokens
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Completion, Prompt

PromptMaker = Callable[..., Prompt]
NEW = 4
SITE = Site(1)
TOKENS = ("f1", "f2+l1", "l3", "f7+l7", "all")


class Push:
    """Adds a vector, whatever the source."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.vector = 3 * torch.randn(width, generator=torch.Generator().manual_seed(3))

    def interchange(self, base: Tensor, source: Tensor) -> Tensor:
        assert source.shape == base.shape
        return base + self.vector.to(base)


@pytest.fixture(scope="module")
def pairs(make_prompt: PromptMaker) -> list[PromptPair]:
    prompts = [
        make_prompt("%s", "X"),
        make_prompt("%s is a city in", "Rome"),
        make_prompt("%s is a city in", "Bonn"),
        make_prompt("Oslo, yes Oslo: %s has the currency", "Oslo"),
    ]
    return [PromptPair(prompt, prompt) for prompt in prompts]


def by_hand(
    target: TargetModel, row: Sequence[int], tokens: EditedTokens, push: Push, text: str
) -> tuple[int, ...]:
    """Each new token from the whole row anew, alone, with a hook that asks no code of ours where to act."""
    ids, places = list(row), list(tokens.of_prompt(len(row), text))
    module = target.place(SITE).module

    def act(module: Any, inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        where = [*places, *(range(len(row), len(ids)) if tokens.generated else ())]
        changed = hidden.clone()
        changed[0, where] = changed[0, where] + push.vector
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = module.register_forward_hook(act)
    try:
        for _ in range(NEW):
            with torch.no_grad():
                logits = target.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits.argmax()))
            if ids[-1] in target.end_ids:
                break
    finally:
        handle.remove()
    return tuple(ids[len(row) :])


def said(
    engine: Any, pairs: Sequence[PromptPair], actor: Actor, tokens: EditedTokens | None, site: Site = SITE
) -> list[tuple[int, ...]]:
    found: list[Completion] = engine.complete_swapped(pairs, site, actor, NEW, tokens=tokens)
    return [one.token_ids for one in found]


@pytest.mark.parametrize("generated", [False, True])
@pytest.mark.parametrize("family", FAMILIES.names())
def test_they_act_where_they_say(
    target_of: Callable[[str], TargetModel], pairs: list[PromptPair], family: str, generated: bool
) -> None:
    target = target_of(family)
    engines = [DirectEngine(target), ResumeEngine(target), DirectEngine(target)]
    # The third reads each row anew for every new token.
    engines[2]._completer._grows = False
    push, seen = Push(target.d_model), set()
    for text in TOKENS:
        tokens = EditedTokens.parse(text, generated=generated)
        rows = engines[0].encoder.encode([pair.base.text for pair in pairs])
        wanted = [
            by_hand(target, row.ids, tokens, push, p.base.text) for row, p in zip(rows, pairs, strict=True)
        ]
        for engine in engines:
            assert said(engine, pairs, push, tokens) == wanted
        seen.add(tuple(wanted[-3:]))
    assert len(seen) > 1, "where a change is made must show in what is said"


@pytest.mark.parametrize("kind", ["direct", "resume"])
def test_the_site_s_token_alone_is_what_a_site_says(
    small_target: TargetModel, pairs: list[PromptPair], kind: str
) -> None:
    site, push = Site(1, position="prompt_last"), Push(small_target.d_model)
    engine = make_engine(kind, small_target)
    last = EditedTokens.parse("l1")
    assert said(engine, pairs, push, last, site) == said(engine, pairs, push, None, site)
    assert said(engine, pairs, push, last, site) != said(engine, pairs, push, None, Site(1))


def test_what_generated_tokens_change_shows(small_target: TargetModel, pairs: list[PromptPair]) -> None:
    engine, push = DirectEngine(small_target), Push(small_target.d_model)
    once, always = (said(engine, pairs, push, EditedTokens.parse("l1", generated=g)) for g in (False, True))
    assert [ids[:1] for ids in once] == [ids[:1] for ids in always]
    assert once != always


def test_resume_says_once_that_it_declines(small_target: TargetModel, pairs: list[PromptPair]) -> None:
    engine, notes, push = ResumeEngine(small_target), list[str](), Push(small_target.d_model)
    engine.on_note = notes.append
    for _ in range(2):
        said(engine, pairs, push, EditedTokens.parse("f2+l2"))
    assert notes == ["changes at the positions f2+l2 are made by the engine direct, in whole rows"]


def test_no_token_at_all_and_an_engine_that_can_t(small_target: TargetModel, pairs: list[PromptPair]) -> None:
    first = EditedTokens.parse("f2")
    with pytest.raises(SuiteError, match="prompts of which f2 edits a token"):
        first.of_prompt(1, "X")
    with pytest.raises(SuiteError, match="at the site's position alone"):
        said(make_engine("reference", small_target), pairs, Push(small_target.d_model), first)
