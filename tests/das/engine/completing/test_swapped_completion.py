"""Continuing after an interchange: every engine says what forcing token by token says, in any company, and
stops where it must."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from weaving import woven

from das.engine import DirectEngine, make_engine
from das.engine.base.protocol import PromptPair, SwappedPrompts
from das.engine.engines.base_engine import BaseEngine
from das.engine.resuming.layout import padded_width
from das.featurizers import MaskedBasis, Subspace, retract
from das.featurizers.base import Featurizer
from das.models import FAMILIES, TargetModel
from das.sites import POSITIONS, Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Completion, Prompt

PromptMaker = Callable[..., Prompt]
NEW = 5


@pytest.fixture(scope="session")
def swaps(make_prompt: PromptMaker) -> list[PromptPair]:
    """Every prompt with every other: rows of many lengths, two of them equal; the entity first, last, in the
    middle, and named twice."""
    prompts = [
        make_prompt("%s", "X"),
        make_prompt("%s is a city in", "Rome"),
        make_prompt("%s is a city in", "Bonn"),
        make_prompt("The well known city of %s", "Ulm"),
        make_prompt("Oslo, yes Oslo: %s has the currency", "Oslo"),
    ]
    return [PromptPair(base, source) for base, source in itertools.product(prompts, prompts)]


def subspace(width: int, size: int) -> Subspace:
    stream = torch.Generator().manual_seed(5)
    return Subspace(retract(torch.randn(width, size, generator=stream)))


def oracle(
    engine: DirectEngine,
    pairs: Sequence[PromptPair],
    site: Site,
    featurizer: Featurizer | None,
    count: int = NEW,
) -> list[Completion]:
    """The slow way: each new token from the whole row anew."""
    return BaseEngine._continued(engine, SwappedPrompts(pairs, site, featurizer, count))


@contextmanager
def ending(target: TargetModel, *ids: int) -> Iterator[None]:
    """Within, these tokens end a text."""
    config: Any = target.model.generation_config
    before = config.eos_token_id
    config.eos_token_id = list(ids)
    try:
        yield
    finally:
        config.eos_token_id = before


@woven("family, kind, position", FAMILIES.names(), ("direct", "resume"), POSITIONS)
def test_every_family_says_what_forcing_token_by_token_says(
    target_of: Callable[[str], TargetModel], swaps: list[PromptPair], family: str, kind: str, position: Any
) -> None:
    target = target_of(family)
    engine: Any = make_engine(kind, target)
    untouched = [completion.token_ids for completion in engine.complete([p.base for p in swaps], NEW)]
    changed = 0
    for layer in (0, 3):
        site, featurizer = Site(layer, position=position), subspace(target.d_model, target.d_model // 2)
        found = engine.complete_swapped(swaps, site, featurizer, NEW)
        assert found == oracle(engine, swaps, site, featurizer)
        changed += sum(one.token_ids != before for one, before in zip(found, untouched, strict=True))
    assert changed or position == "entity_last", "the swap must show in what is said"


@pytest.mark.parametrize("stream", ["attention_output", "mlp_output", "head_output"])
@pytest.mark.parametrize("kind", ["direct", "resume"])
def test_every_stream(small_target: TargetModel, swaps: list[PromptPair], kind: str, stream: Any) -> None:
    site = Site(1, stream, head=2 if stream == "head_output" else None)
    engine: Any = make_engine(kind, small_target)
    featurizer = subspace(small_target.width(site), 3)
    assert engine.complete_swapped(swaps, site, featurizer, NEW) == oracle(engine, swaps, site, featurizer)


def test_the_reference_engine_says_the_same(small_target: TargetModel, swaps: list[PromptPair]) -> None:
    site, featurizer = Site(1, position="prompt_last"), subspace(small_target.d_model, 12)
    reference, direct = make_engine("reference", small_target), DirectEngine(small_target)
    assert reference.complete_swapped(swaps, site, featurizer, 3) == direct.complete_swapped(
        swaps, site, featurizer, 3
    )


@pytest.mark.parametrize("family", FAMILIES.names())
def test_a_prompt_as_its_own_source_and_no_featurizer_say_what_completing_says(
    target_of: Callable[[str], TargetModel], swaps: list[PromptPair], family: str
) -> None:
    engine = DirectEngine(target_of(family))
    bases = [pair.base for pair in swaps]
    own = [PromptPair(base, base) for base in bases]
    expected = engine.complete(bases, NEW)
    every = MaskedBasis(torch.ones(engine.target.d_model))
    assert engine.complete_swapped(own, Site(2), every, NEW) == expected
    assert engine.complete_swapped(swaps, Site(2), None, NEW) == expected
    assert oracle(engine, swaps, Site(2), None, NEW) == expected


def test_an_end_token_ends_a_row_and_no_other(small_target: TargetModel, swaps: list[PromptPair]) -> None:
    engine, site = DirectEngine(small_target), Site(1, position="prompt_last")
    featurizer = subspace(small_target.d_model, 12)
    whole = [c.token_ids for c in engine.complete_swapped(swaps, site, featurizer, NEW)]
    # Such that some rows end at once, some later and some not at all.
    end = next(t for row in whole for t in row[1:] if 0 < sum(t in other for other in whole) < len(whole))
    cut = [ids[: ids.index(end) + 1] if end in ids else ids for ids in whole]
    with ending(small_target, end):
        found = engine.complete_swapped(swaps, site, featurizer, NEW)
        assert found == oracle(engine, swaps, site, featurizer)
    assert [c.token_ids for c in found] == cut
    assert len({len(ids) for ids in cut}) > 1


def test_a_settled_row_stops_and_the_others_go_on(small_target: TargetModel, swaps: list[PromptPair]) -> None:
    engine, site = DirectEngine(small_target), Site(1)
    featurizer = subspace(small_target.d_model, 12)
    whole = [c.token_ids for c in engine.complete_swapped(swaps, site, featurizer, NEW)]
    asked: list[tuple[int, tuple[int, ...]]] = []

    def decided(place: int, ids: tuple[int, ...]) -> bool:
        asked.append((place, ids))
        return len(ids) > place % NEW

    found = engine.complete_swapped(swaps, site, featurizer, NEW, decided)
    assert [c.token_ids for c in found] == [ids[: i % NEW + 1] for i, ids in enumerate(whole)]
    assert all(whole[place][: len(ids)] == ids for place, ids in asked)


def test_equal_pairs_stop_only_where_each_has_enough(
    small_target: TargetModel, swaps: list[PromptPair]
) -> None:
    engine = DirectEngine(small_target)
    featurizer = subspace(small_target.d_model, 12)
    found = engine.complete_swapped([swaps[7]] * 3, Site(1), featurizer, NEW, lambda i, ids: len(ids) > i)
    assert {len(completion.token_ids) for completion in found} == {3}


@pytest.mark.parametrize("kind", ["direct", "resume"])
@pytest.mark.parametrize("batch_tokens", [1, 40, 16_384])
def test_grouping_and_order_change_nothing(
    small_target: TargetModel, swaps: list[PromptPair], batch_tokens: int, kind: str
) -> None:
    site, featurizer = Site(2, position="prompt_last"), subspace(small_target.d_model, 12)
    expected = DirectEngine(small_target).complete_swapped(swaps, site, featurizer, NEW)
    order = random.Random(batch_tokens).choices(range(len(swaps)), k=2 * len(swaps))
    engine: Any = make_engine(kind, small_target, batch_tokens=batch_tokens)
    found = engine.complete_swapped([swaps[i] for i in order], site, featurizer, NEW)
    assert found == [expected[i] for i in order]


def test_equal_pairs_run_once_and_a_new_token_runs_alone(
    small_target: TargetModel, swaps: list[PromptPair]
) -> None:
    engine, seen = DirectEngine(small_target), []
    pair = swaps[6]
    # The first call tries the model's cache too.
    engine.complete_swapped([swaps[0]], Site(1), subspace(small_target.d_model, 4), 2)
    engine.collect([pair.source], [Site(1)])
    block = small_target.family.blocks(small_target.model)[3]
    handle = block.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[:2]))
    try:
        engine.complete_swapped([pair] * 9, Site(1), subspace(small_target.d_model, 4), NEW)
    finally:
        handle.remove()
    assert [rows for rows, _ in seen] == [1] * NEW
    assert [tokens for _, tokens in seen[1:]] == [1] * (NEW - 1)


def test_a_resumed_row_is_read_once(small_target: TargetModel, swaps: list[PromptPair]) -> None:
    """After its first new token nothing runs but the new ones, each with its padding."""
    engine: Any = make_engine("resume", small_target)
    seen: list[int] = []
    featurizer = subspace(small_target.d_model, 4)
    part = small_target.family.mlp(small_target.family.blocks(small_target.model)[1])
    handle = part.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    try:
        engine.complete_swapped(swaps, Site(1), featurizer, 1)
        first = len(seen)
        engine.complete_swapped(swaps, Site(1), featurizer, NEW)
    finally:
        handle.remove()
    assert seen[1 - NEW :] == [padded_width(1, len(swaps))] * (NEW - 1)
    assert len(seen) <= 2 * first + NEW - 1


def test_rows_that_are_done_are_dropped(small_target: TargetModel, make_prompt: PromptMaker) -> None:
    """Ten rows of one length, nine of which have enough after a token."""
    engine, seen = DirectEngine(small_target), []
    bases = [make_prompt("%s is a", name) for name in "ABCDEFGHIJ"]
    pairs = [PromptPair(base, bases[0]) for base in bases]
    featurizer = subspace(small_target.d_model, 4)
    expected = engine.complete_swapped(pairs, Site(1), featurizer, NEW)
    block = small_target.family.blocks(small_target.model)[3]
    handle = block.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    try:
        found = engine.complete_swapped(pairs, Site(1), featurizer, NEW, lambda place, ids: place != 4)
    finally:
        handle.remove()
    assert seen == [10, 1, 1, 1, 1]
    assert found[4] == expected[4]
    assert [c.token_ids for c in found[5:]] == [c.token_ids[:1] for c in expected[5:]]


def test_no_pairs_and_no_room(small_target: TargetModel, swaps: list[PromptPair]) -> None:
    engine, every = DirectEngine(small_target), MaskedBasis(torch.ones(small_target.d_model))
    assert engine.complete_swapped([], Site(1), every, NEW) == []
    with pytest.raises(SuiteError, match=r"at most \d+ tokens, the context of"):
        engine.complete_swapped(swaps, Site(1), every, 100_000)
    with pytest.raises(SuiteError, match="a featurizer for vectors of width"):
        engine.complete_swapped(swaps, Site(1), MaskedBasis(torch.ones(3)), NEW)
