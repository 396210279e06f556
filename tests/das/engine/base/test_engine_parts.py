"""Tokens, padding, batches, hooks and the memory of vectors, each by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from torch import nn

from das.engine.base.batch import PromptEncoder, pad_rows, plan_batches
from das.engine.base.hooks import captured, gathered, preserved, rewritten
from das.engine.kept.cache import SourceKey, VectorCache
from das.models.base import Place
from das.models.miniature import character_tokenizer
from ravel.common.errors import SuiteError

PromptMaker = Callable[..., Any]


def ended_tokenizer() -> Any:
    tokenizer = character_tokenizer(add_bos=False)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return tokenizer


def test_positions_count_the_tokens_in_front(make_prompt: PromptMaker) -> None:
    prompt = make_prompt("In %s it", "Rome")
    for add_bos, shift in ((True, 1), (False, 0)):
        encoder = PromptEncoder(character_tokenizer(add_bos=add_bos))
        assert encoder.position(prompt, "entity_last") == 6 + shift
        assert encoder.position(prompt, "prompt_last") == 9 + shift


def test_the_slots_own_occurrence_counts(make_prompt: PromptMaker) -> None:
    encoder = PromptEncoder(character_tokenizer(add_bos=False))
    assert encoder.position(make_prompt("Ulm or %s is", "Ulm"), "entity_last") == 9
    assert encoder.position(make_prompt("%s or Ulm is", "Ulm"), "entity_last") == 2


def test_an_end_token_after_the_text_is_left_out(make_prompt: PromptMaker) -> None:
    encoder = PromptEncoder(ended_tokenizer())
    (encoded,) = encoder.encode(["ab"])
    assert encoded.ids == (1, 3, 4)
    assert encoded.offsets == ((0, 0), (0, 1), (1, 2))
    assert encoder.position(make_prompt("a%s", "b"), "prompt_last") == 2


def test_an_end_token_written_in_the_text_stays() -> None:
    (encoded,) = PromptEncoder(character_tokenizer(add_bos=False)).encode(["a<eos>b<eos>"])
    assert encoded.ids == (3, 2, 4, 2)


def test_texts_are_tokenised_once_and_given_back_in_order() -> None:
    calls: list[list[str]] = []
    inner = character_tokenizer()

    def counting(texts: list[str], **settings: Any) -> Any:
        calls.append(list(texts))
        return inner(texts, **settings)

    encoder = PromptEncoder(counting, limit=2)
    first = encoder.encode(["b", "a", "b", "c"])
    assert [e.ids[1] for e in first] == [4, 3, 4, 5]
    assert encoder.encode(["c", "a"]) == [first[3], first[1]]
    encoder.encode(["b"])
    assert calls == [["b", "a", "c"], ["b"]]


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(SuiteError, match="at least one token"):
        PromptEncoder(ended_tokenizer()).encode([""])


def test_padding_by_hand() -> None:
    left = pad_rows([(5, 6), (7,)], side="left", extra=1)
    assert left.ids.tolist() == [[5, 5, 6], [7, 7, 7]]
    assert left.attention_mask.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert left.position_ids.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert left.shifts.tolist() == [1, 2]
    right = pad_rows([(5, 6), (7,)], side="right")
    assert right.ids.tolist() == [[5, 6], [7, 7]]
    assert right.attention_mask.tolist() == [[1, 1], [1, 0]]
    assert right.shifts.tolist() == [0, 0]
    assert right.ragged
    assert not pad_rows([(5, 6)], side="left").ragged


@given(
    st.lists(st.integers(1, 30), max_size=60),
    st.integers(1, 100),
    st.integers(0, 100),
    st.booleans(),
)
def test_every_row_is_in_one_batch_within_the_limit(
    lengths: list[int], limit: int, enough: int, exact: bool
) -> None:
    batches = plan_batches(lengths, batch_tokens=limit, enough_tokens=enough, exact=exact)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= limit
        same = [row for row in batch if lengths[row] == longest]
        assert (
            len(same) == len(batch) if exact else (len(batch) - len(same)) * longest < enough + 30 * longest
        )


def test_batches_by_hand() -> None:
    lengths = [3, 5, 3, 5, 4]
    assert plan_batches(lengths, batch_tokens=100, enough_tokens=100) == [[0, 2, 4, 1, 3]]
    assert plan_batches(lengths, batch_tokens=100, enough_tokens=6) == [[0, 2], [4, 1, 3]]
    assert plan_batches(lengths, batch_tokens=100, enough_tokens=100, exact=True) == [[0, 2], [4], [1, 3]]
    assert plan_batches(lengths, batch_tokens=6, enough_tokens=100) == [[0, 2], [4], [1], [3]]


class Stack(nn.Module):
    """Three blocks that add 1, then a head that doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([AddOne() for _ in range(3)])
        self.head = Double()
        self.seen = 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            hidden = block(hidden)
        self.seen += 1
        out: torch.Tensor = self.head(hidden)
        return out


class AddOne(nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + 1


class Double(nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * hidden


ROWS = torch.tensor([[0, 1], [0, 1]])
"""Both tokens of two rows."""


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_rewriting_touches_each_rows_own_position() -> None:
    model, hidden = Stack(), torch.zeros(2, 3, 1)
    with rewritten(Place(model.blocks[0]), torch.tensor([0, 2]), lambda vectors: vectors + 10):
        out = model(hidden)
    assert out[:, :, 0].tolist() == [[26, 6, 6], [6, 6, 26]]
    assert model(hidden)[:, :, 0].tolist() == [[6, 6, 6], [6, 6, 6]]


def test_rewriting_several_positions_of_a_row_and_some_columns() -> None:
    model, hidden = Stack(), torch.zeros(2, 3, 2)
    place = Place(model.blocks[0], columns=slice(1, 2))
    with rewritten(place, torch.tensor([[0, 2], [1, 2]]), lambda vectors: vectors + 10):
        out = model(hidden)
    assert out[:, :, 0].unique().tolist() == [6]
    assert out[:, :, 1].tolist() == [[26, 6, 26], [6, 26, 26]]


def test_of_a_place_that_runs_twice_the_first_run_is_read() -> None:
    model, hidden = Stack(), torch.zeros(2, 2, 1)
    model.blocks[2] = model.blocks[0]
    with captured({0: Place(model.blocks[0])}, {0: ROWS}, stop=False) as got:
        model(hidden)
    assert got[0][:, :, 0].tolist() == [[1, 1], [1, 1]]


def test_capturing_reads_several_layers_and_stops_after_the_last() -> None:
    model, hidden = Stack(), torch.arange(6.0).reshape(2, 3, 1)
    places = torch.tensor([[0, 2], [1, 1]])
    with captured(dict(enumerate(map(Place, model.blocks[:2]))), {0: places, 1: places}) as vectors:
        model(hidden)
    assert vectors[0][:, :, 0].tolist() == [[1, 3], [5, 5]]
    assert vectors[1][:, :, 0].tolist() == [[2, 4], [6, 6]]
    assert model.seen == 0
    assert hooks_of(model) == 0


def test_columns_of_an_input_are_read_and_written_alone() -> None:
    model, hidden = Stack(), torch.arange(12.0).reshape(2, 2, 3)
    place = Place(model.blocks[1], "input", slice(1, 2))
    with (
        rewritten(place, torch.tensor([0, 1]), lambda vectors: vectors + 100),
        captured(
            {"part": place, "whole": Place(model.blocks[0])}, {"part": ROWS, "whole": ROWS}, stop=False
        ) as got,
    ):
        out = model(hidden)
    assert (out / 2 - hidden - 3).tolist() == [[[0, 100, 0], [0, 0, 0]], [[0, 0, 0], [0, 100, 0]]]
    # Whoever hooks later sees what was written.
    assert got["part"].tolist() == [[[102], [5]], [[8], [111]]]
    assert got["whole"].tolist() == (hidden + 1).tolist()
    assert hooks_of(model) == 0


def test_capturing_an_input_stops_before_its_module() -> None:
    model, ran = Stack(), []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda m, i, o, number=number: ran.append(number))
    with captured({"in": Place(model.blocks[1], "input")}, {"in": ROWS}) as got:
        model(torch.zeros(2, 2, 1))
    assert got["in"][:, :, 0].tolist() == [[1, 1], [1, 1]]
    assert ran == [0]


def test_gathering_shows_the_head_only_what_is_wanted() -> None:
    model, hidden = Stack(), torch.arange(6.0).reshape(2, 3, 1)
    with gathered(model.head, torch.tensor([[0, 2], [1, 1]])):
        out = model(hidden)
    assert out[:, :, 0].tolist() == [[6, 10], [14, 14]]


def test_no_hook_outlives_an_exception() -> None:
    model, one = Stack(), torch.tensor([0])

    def fail(vectors: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError), rewritten(Place(model.blocks[0]), one, fail):
        model(torch.zeros(1, 1, 1))
    with pytest.raises(ArithmeticError), rewritten(Place(model.blocks[0], "input"), one, fail):
        model(torch.zeros(1, 1, 1))
    with pytest.raises(ArithmeticError), captured({0: Place(model.blocks[0])}, {0: one[None]}):
        raise ArithmeticError
    with pytest.raises(ArithmeticError), gathered(model.head, one[None]):
        raise ArithmeticError
    assert hooks_of(model) == 0


def test_preserved_hooks_come_back_in_order_and_stay_removable() -> None:
    model, calls = Stack(), []
    first = model.head.register_forward_hook(lambda m, i, o: calls.append(1))
    second = model.head.register_forward_hook(lambda m, i, o: calls.append(2))
    with preserved(model):
        model.head._forward_hooks.clear()
        model.head.register_forward_hook(lambda m, i, o: calls.append(3))
    model(torch.zeros(1, 1, 1))
    assert calls == [1, 2]
    first.remove()
    second.remove()
    assert hooks_of(model) == 0


def test_the_longest_unused_vector_gives_way() -> None:
    cache = VectorCache(max_bytes=2 * 4 * 4)
    keys = [SourceKey("block_output", 0, "text", token) for token in range(3)]
    for key in keys[:2]:
        cache.put(key, torch.full((4,), float(key.token)))
    assert cache.get(keys[0]) is not None
    cache.put(keys[2], torch.ones(4))
    assert cache.get(keys[1]) is None
    assert len(cache) == 2
    cache.put(keys[2], torch.zeros(4))
    assert len(cache) == 2
    cache.clear()
    assert len(cache) == 0


def test_streams_and_heads_are_kept_apart() -> None:
    cache = VectorCache(max_bytes=1 << 10)
    keys = [
        SourceKey("block_output", 0, "text", 0),
        SourceKey("mlp_output", 0, "text", 0),
        SourceKey("head_output", 0, "text", 0, 0),
        SourceKey("head_output", 0, "text", 0, 1),
    ]
    for number, key in enumerate(keys):
        cache.put(key, torch.tensor([float(number)]))
    for number, key in enumerate(keys):
        assert cache.get(key) == number
