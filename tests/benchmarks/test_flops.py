"""Operations counted from shapes, against numbers worked out by hand."""

from __future__ import annotations

import pytest
from flops import Shape, fill_flops, pair_flops, shape_of, work_of
from transformers import GPT2Config, Qwen2Config

from das.engine import ForcedPair
from das.models.miniature import random_target
from das.sites import Site
from ravel.terms.schema import Prompt

PLAIN = Shape(
    matrices=(100, 100, 100), key_value=(20, 20, 20), windows=(None,) * 3, heads_width=1, vocabulary=1000
)
"""A token at position p costs a block 2 * 100 + 4 * (p + 1), and the vocabulary 2000."""


def test_a_gpt2_block_has_twelve_times_its_width_squared() -> None:
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=128, n_positions=64)
    shape = shape_of(random_target(config, name="gpt2"))
    assert shape.matrices == (12 * 32 * 32,) * 2
    assert shape.key_value == (2 * 32 * 32,) * 2
    assert shape.heads_width == 32
    assert shape.vocabulary == 128 * 32
    assert shape.windows == (None, None)


def test_shared_keys_and_values_and_windows_are_read_off_the_config() -> None:
    config = Qwen2Config(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        use_sliding_window=True,
        sliding_window=3,
        layer_types=["sliding_attention", "full_attention"],
    )
    shape = shape_of(random_target(config, name="qwen2"))
    # Queries and output 2 * 32 * 32, keys and values 2 * 32 * 16, the gated MLP 3 * 32 * 48.
    assert shape.matrices == (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48,) * 2
    assert shape.key_value == (2 * 32 * 16,) * 2
    assert shape.windows == (3, None)
    assert shape.attention(0, 9) == 4 * 3 * 32
    assert shape.attention(1, 9) == 4 * 10 * 32


def test_a_pair_is_its_positions_from_the_site_on_in_the_blocks_above_it() -> None:
    # Tokens 2 and 3 in blocks 1 and 2; one token of the vocabulary.
    expected = 2 * ((200 + 4 * 3) + (200 + 4 * 4)) + 2000
    assert pair_flops(PLAIN, site_layer=0, site_position=2, length=4, n_labels=1) == expected


def test_a_second_label_token_is_a_position_and_a_question_more() -> None:
    one, two = (pair_flops(PLAIN, 0, 2, 4, n) for n in (1, 2))
    assert two - one == 2 * (200 + 4 * 5) + 2000


def test_at_least_the_last_block_answers_label_tokens_only() -> None:
    whole, least = (pair_flops(PLAIN, 0, 2, 4, 1, least=flag) for flag in (False, True))
    # Token 2 gives keys and values, 2 * 20, and nothing else.
    assert whole - least == (200 + 4 * 3) - 40


def test_above_the_last_block_there_is_only_the_vocabulary() -> None:
    assert pair_flops(PLAIN, 2, 2, 4, 1) == pair_flops(PLAIN, 2, 2, 4, 1, least=True) == 2000


def test_filling_runs_rows_up_to_the_site_and_sources_to_their_token() -> None:
    below = sum(200 + 4 * (p + 1) for p in range(3))
    before = 2 * (200 + 4 * 1)
    source = (200 + 4 * 1) + (200 + 4 * 2)
    assert fill_flops(PLAIN, 0, rows=[(1, (7, 8, 9))], sources=[(5, 6)]) == below + before + source


def test_what_begins_alike_is_filled_once() -> None:
    alone = fill_flops(PLAIN, 0, rows=[(1, (7, 8, 9))], sources=[])
    # The source is a beginning of the row; a row with another end costs its last token.
    assert fill_flops(PLAIN, 0, rows=[(1, (7, 8, 9))], sources=[(7, 8)]) == alone
    assert fill_flops(PLAIN, 0, rows=[(1, (7, 8, 9)), (1, (7, 8, 4))], sources=[]) == alone + 200 + 4 * 3


@pytest.fixture
def pairs() -> list[ForcedPair]:
    base, source = (Prompt(f"{name} is", "%s is", name, None, (0, len(name))) for name in ("Rome", "Oslo"))
    return [ForcedPair(base, source, (5,)), ForcedPair(base, source, (6,)), ForcedPair(source, base, (5,))]


def test_work_counts_what_differs_once(pairs: list[ForcedPair]) -> None:
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=128, n_positions=64)
    target, site = random_target(config, name="gpt2"), Site(0)
    once, twice = work_of(target, site, pairs), work_of(target, site, [*pairs, *pairs])
    assert once == twice
    # Labels of one token are never run, so that the first two pairs share a row and a source.
    assert work_of(target, site, pairs[:2]).fill == work_of(target, site, pairs[:1]).fill
    # Turned round, the pair fills what is new to it: its base's end and the beginning that was a source's.
    assert work_of(target, site, pairs[:1]).fill < once.fill < 2 * work_of(target, site, pairs[:1]).fill
    assert 0 < once.least < once.forward
