"""Completions with shared beginnings against whole rows without a cache, for every family; what may stop
early; what is left to the plain way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from torch import Tensor, nn
from transformers import LlamaConfig
from weaving import woven

from das.engine import DirectEngine, ResumeEngine
from das.engine.base.batch import PromptEncoder
from das.engine.base.protocol import PromptPair
from das.engine.base.token_rows import token_rows
from das.engine.completing.completion import Completer
from das.engine.completing.shared_beginnings import shared_cuts
from das.featurizers import MaskedBasis
from das.models import FAMILIES, TargetModel
from das.models.miniature import character_tokenizer, miniature, random_target
from das.sites import Site
from ravel.common.errors import SuiteError

PromptMaker = Callable[..., Any]
TargetMaker = Callable[[str], TargetModel]
# Sums in another order move logits by this share of the largest; a smaller lead is a tie.
NEAR_TIE = 1e-4

Row = tuple[int, ...]


def rows_of(vocabulary: int) -> list[Row]:
    """Make rows that share beginnings of three lengths, some with one of their own, in no order."""

    def ids(start: int, count: int) -> Row:
        return tuple(3 + (start + 7 * place) % (vocabulary - 3) for place in range(count))

    shared = (ids(1, 11), ids(50, 4), ())
    rows = [
        beginning + ids(20 + 13 * number + 5 * index, 1 + (number + index) % 4)
        for number in range(6)
        for index, beginning in enumerate(shared)
    ]
    return list(dict.fromkeys([*rows, ids(9, 14), ids(1, 11)]))


def greedy(target: TargetModel, row: Row, count: int) -> tuple[list[int], list[float]]:
    """Continue one row without any cache; return the tokens and each one's lead over the next, relative."""
    ids, leads = list(row), []
    for _ in range(count):
        with torch.no_grad():
            logits = target.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        first, second = logits.topk(2).values.tolist()
        leads.append((first - second) / float(logits.abs().max()))
        ids.append(int(logits.argmax()))
        if ids[-1] in target.end_ids:
            break
    return ids[len(row) :], leads


def agree(found: Sequence[Row], wanted: Sequence[tuple[list[int], list[float]]]) -> int:
    """Check that answers are equal up to a near tie; return how many part at one."""
    ties = 0
    for ours, (theirs, leads) in zip(found, wanted, strict=True):
        if list(ours) != theirs:
            parted = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            assert leads[parted] < NEAR_TIE, (ours, theirs)
            ties += 1
    return ties


@pytest.fixture(params=FAMILIES.names())
def family_target(request: pytest.FixtureRequest, target_of: TargetMaker) -> TargetModel:
    return target_of(request.param)


class TestEveryFamily:
    @woven("family_target, batch_tokens", FAMILIES.names(), (16_384, 60), indirect=["family_target"])
    def test_answers_are_those_of_whole_rows(self, family_target: TargetModel, batch_tokens: int) -> None:
        rows = rows_of(int(family_target.model.config.vocab_size))
        completer = Completer(family_target, batch_tokens, sharers=3)
        found = completer.complete(rows, 7)
        assert completer.shares
        ties = agree(found, [greedy(family_target, row, 7) for row in rows])
        assert ties <= 1

    def test_the_plain_way_gives_the_same(self, family_target: TargetModel) -> None:
        rows = rows_of(int(family_target.model.config.vocab_size))
        plain = Completer(family_target)
        plain._shares = False
        agree(plain.complete(rows, 4), [greedy(family_target, row, 4) for row in rows])

    def test_the_last_block_needs_the_last_token_only(self, family_target: TargetModel) -> None:
        # OPT lays the tokens of all rows in one line before its last part, so that none is last in a row.
        assert Completer(family_target).narrows == (family_target.family.name != "opt")


class TestStopping:
    def test_a_row_ends_where_it_is_settled_and_says_the_same_until_then(
        self, small_target: TargetModel
    ) -> None:
        rows = rows_of(128)
        whole = Completer(small_target, sharers=3).complete(rows, 9)
        for rule in (lambda row, ids: len(ids) > row % 5, lambda row, ids: ids[-1] % 3 == 0):
            found = Completer(small_target, 80, sharers=3).complete(rows, 9, rule)
            for row, (cut, full) in enumerate(zip(found, whole, strict=True)):
                stops = [count for count in range(1, len(full) + 1) if rule(row, full[:count])]
                assert cut == full[: min([*stops, len(full)])]

    def test_a_row_is_asked_once_per_token_and_not_after_it_stopped(self, small_target: TargetModel) -> None:
        asked: dict[int, list[int]] = {}

        def rule(row: int, ids: Row) -> bool:
            asked.setdefault(row, []).append(len(ids))
            return len(ids) == 2

        Completer(small_target, sharers=3).complete(rows_of(128), 6, rule)
        assert all(counts == [1, 2] for counts in asked.values())

    @pytest.mark.parametrize("shares", [True, False])
    def test_an_end_token_ends_its_row_only(self, small_target: TargetModel, shares: bool) -> None:
        rows = rows_of(128)
        free = [greedy(small_target, row, 6)[0] for row in rows]
        common = max({token for ids in free for token in ids}, key=lambda t: sum(t in ids for ids in free))
        ending = replace(small_target, model=_Ending(small_target.model, common))
        completer = Completer(ending, sharers=3)
        completer._shares = shares
        for ids, full in zip(completer.complete(rows, 6), free, strict=True):
            until = full.index(common) + 1 if common in full else len(full)
            assert list(ids) == full[:until]

    @pytest.mark.parametrize("count", [0, 1])
    def test_no_and_one_new_token(self, small_target: TargetModel, count: int) -> None:
        found = Completer(small_target, sharers=3).complete(rows_of(128), count)
        assert found == [tuple(greedy(small_target, row, count)[0]) for row in rows_of(128)]

    def test_no_row_and_one(self, small_target: TargetModel) -> None:
        completer = Completer(small_target)
        assert completer.complete([], 3) == []
        assert list(completer.complete([(5, 6)], 3)[0]) == greedy(small_target, (5, 6), 3)[0]

    def test_answers_longer_than_the_room_made_for_them(self, small_target: TargetModel) -> None:
        rows = rows_of(128)[:8]
        found = Completer(small_target, sharers=3).complete(rows, 40)
        agree(found, [greedy(small_target, row, 40) for row in rows])


class _Ending:
    """A model with another end token."""

    def __init__(self, model: Any, end: int) -> None:
        self._model = model
        self.generation_config = None
        self.config = type(model.config)(**{**model.config.to_dict(), "eos_token_id": end})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._model(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class TestWhatIsLeftToThePlainWay:
    @pytest.mark.parametrize("refused", ["position_ids", "past_key_values"])
    def test_a_model_that_takes_no_positions_or_no_cache_of_ours(self, refused: str) -> None:
        target = random_target(LlamaConfig(**SMALL), name="strict")
        inner = target.model.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if refused in kwargs and type(kwargs[refused]).__name__ in ("Tensor", "Cache"):
                raise TypeError(refused)
            return inner(*args, **kwargs)

        target.model.forward = forward
        completer = Completer(target, sharers=3)
        found = completer.complete(rows_of(97), 4)
        assert not completer.shares
        assert not completer.narrows
        agree(found, [greedy(target, row, 4) for row in rows_of(97)])

    def test_a_model_that_heeds_no_positions_is_found_out(self) -> None:
        target = random_target(LlamaConfig(**SMALL), name="deaf")
        inner = target.model.forward

        def forward(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
            return inner(*args, **kwargs)

        target.model.forward = forward
        assert not Completer(target).shares

    def test_a_block_that_mixes_tokens_behind_its_attention_is_not_narrowed(self) -> None:
        target = random_target(LlamaConfig(**SMALL), name="mixing")
        block = target.model.model.layers[-1].mlp
        inner = block.forward
        block.forward = lambda hidden: inner(hidden) + hidden[:, :1]
        completer = Completer(target)
        # What it mixes is lost to a cache as well, so that nothing can be shared.
        assert not completer.shares


SMALL: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
    "eos_token_id": None,
}


class TestSharedCuts:
    @settings(deadline=None)
    @given(
        st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=14),
        st.integers(1, 5),
    )
    def test_as_defined(self, rows: list[Row], sharers: int) -> None:
        rows = sorted(set(rows))
        for row, cut in zip(rows, shared_cuts(rows, sharers), strict=True):
            enough = [
                length
                for length in range(1, len(row))
                if sum(other[:length] == row[:length] for other in rows) >= sharers > 1
            ]
            assert cut == max(enough, default=0)

    def test_by_hand(self) -> None:
        rows = [(1, 2, 3), (1, 2, 4), (1, 5), (6,)]
        assert shared_cuts(rows, 2) == [2, 2, 1, 0]
        assert shared_cuts(rows, 3) == [1, 1, 1, 0]


class TestTheEngine:
    def test_equal_texts_stop_when_all_who_ask_have_enough(
        self, small_target: TargetModel, make_prompt: PromptMaker
    ) -> None:
        prompts = [make_prompt("%s is a city in", entity) for entity in ("Rome", "Oslo", "Rome")]
        wants = {0: 2, 1: 1, 2: 4}
        found = DirectEngine(small_target).complete(prompts, 6, lambda place, ids: len(ids) >= wants[place])
        assert [len(answer.token_ids) for answer in found] == [4, 1, 4]
        whole = DirectEngine(small_target).complete(prompts, 6)
        assert all(a.token_ids == b.token_ids[: len(a.token_ids)] for a, b in zip(found, whole, strict=True))
        decode = small_target.tokenizer.decode
        assert all(a.text == decode(list(a.token_ids), skip_special_tokens=True) for a in found)

    def test_a_prompt_longer_than_the_context(
        self, small_target: TargetModel, make_prompt: PromptMaker
    ) -> None:
        prompts = [make_prompt("%s " + "x" * 124, entity) for entity in ("Rome", "Oslo")]
        with pytest.raises(SuiteError, match="128"):
            DirectEngine(small_target).complete(prompts, 8)


class TestTokenRows:
    TEXTS = ("Rome is in", "a", "x <eos>", "and more, then", "é")

    @pytest.mark.parametrize("add_bos", [True, False])
    def test_as_the_encoder_gives_them(self, add_bos: bool) -> None:
        tokenizer = character_tokenizer(add_bos=add_bos)
        expected = [encoded.ids for encoded in PromptEncoder(tokenizer).encode(self.TEXTS)]
        tokenizer(list(self.TEXTS), padding="max_length", max_length=40, truncation=True)
        assert token_rows(tokenizer, PromptEncoder(tokenizer), self.TEXTS) == expected

    def test_an_end_token_that_a_tokenizer_appends_is_dropped(self) -> None:
        tokenizer = character_tokenizer()
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", pair="<bos> $A $B", special_tokens=[("<bos>", 1), ("<eos>", 2)]
        )
        expected = [encoded.ids for encoded in PromptEncoder(tokenizer).encode(self.TEXTS)]
        assert token_rows(tokenizer, PromptEncoder(tokenizer), self.TEXTS) == expected
        assert all(row[-1] != 2 for row in expected[:2])

    def test_a_tokenizer_that_changes_texts_first_is_believed(self) -> None:
        class Shouting:
            def __init__(self, inner: Any) -> None:
                self._inner = inner
                self.backend_tokenizer = inner.backend_tokenizer
                self.all_special_ids = inner.all_special_ids

            def __call__(self, texts: list[str], **kwargs: Any) -> Any:
                return self._inner([text.upper() for text in texts], **kwargs)

        tokenizer = Shouting(character_tokenizer())
        expected = [encoded.ids for encoded in PromptEncoder(tokenizer).encode(self.TEXTS)]
        assert token_rows(tokenizer, PromptEncoder(tokenizer), self.TEXTS) == expected


# --- models that keep nothing of what they read


class Forgetful(nn.Module):
    """A causal model that takes `past_key_values` and neither reads nor returns any, as plain code of a
    stranger does."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model
        self.config, self.generation_config = model.config, model.generation_config

    def forward(self, input_ids: Tensor, past_key_values: Any = None, **ignored: Any) -> Any:
        output = self.inner(input_ids=input_ids, use_cache=False)
        output.past_key_values = None
        return output

    def get_input_embeddings(self) -> nn.Module:
        module: nn.Module = self.inner.get_input_embeddings()
        return module

    def get_output_embeddings(self) -> nn.Module:
        module: nn.Module = self.inner.get_output_embeddings()
        return module


@pytest.fixture(scope="module")
def forgetful() -> TargetModel:
    target = miniature(FAMILIES.get("llama"))
    family = replace(target.family, blocks=lambda model: model.inner.model.layers)
    return replace(target, model=Forgetful(target.model).eval(), family=family)


def test_a_model_that_keeps_nothing_reads_whole_rows(forgetful: TargetModel) -> None:
    completer = Completer(forgetful)
    assert not completer.shares
    assert not completer.grows
    # As is one that keeps what it read.
    assert Completer(miniature(FAMILIES.get("llama"))).grows
    rows = [(1, *range(5 + i, 9 + 2 * i)) for i in range(5)] * 2
    expected = [tuple(greedy(forgetful, row, 6)[0]) for row in rows]
    assert completer.complete(rows, 6) == expected
    # The label that a cache that is none would give: each new token read as if it were alone.
    wrong = [_as_if_alone(forgetful, row, 6) for row in rows]
    assert wrong != expected


def _as_if_alone(target: TargetModel, row: tuple[int, ...], count: int) -> tuple[int, ...]:
    with torch.no_grad():
        new = (int(target.model(torch.tensor([row])).logits[0, -1].argmax()),)
        while len(new) < count and new[-1] not in target.end_ids:
            new += (int(target.model(torch.tensor([new[-1:]])).logits[0, -1].argmax()),)
    return new


@pytest.mark.parametrize("engine", [DirectEngine, ResumeEngine])
def test_its_swapped_completions_read_whole_rows_with_the_swap(
    forgetful: TargetModel, engine: type[DirectEngine], make_prompt: PromptMaker
) -> None:
    """The same model with its cache is the oracle."""
    honest = miniature(FAMILIES.get("llama"))
    names = ["Rome", "Ulm", "Oslo", "Bern"]
    bases = [make_prompt("%s is a city in", name) for name in names]
    pairs = [PromptPair(base, source) for base, source in zip(bases, bases[::-1], strict=True)]
    every = MaskedBasis(torch.ones(honest.d_model))
    expected = DirectEngine(honest).complete_swapped(pairs, Site(2), every, 6)
    assert engine(forgetful).complete_swapped(pairs, Site(2), every, 6) == expected
    ends: Any = lambda place, ids: len(ids) > place  # noqa: E731
    some = engine(forgetful).complete_swapped(pairs, Site(2), every, 6, ends)
    for place, (one, full) in enumerate(zip(some, expected, strict=True)):
        assert one.token_ids == full.token_ids[: place + 1]
