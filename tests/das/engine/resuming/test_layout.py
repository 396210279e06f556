"""Index tensors of resumed passes: small ones by hand, what tokens see against a plain definition, and plans
that hold every row once."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from das.engine.base.cut_rows import CutRow
from das.engine.resuming.layout import Slots, lay_out, padded_keys, padded_width, plan_passes
from das.engine.resuming.tokens import Tokens

CPU = torch.device("cpu")
FULL = torch.finfo(torch.float32).min


def row_of(prompt: int, start: int, first: int, second: int = 0) -> CutRow:
    """A prompt of so many tokens, cut at `start`, with so many tokens of both labels behind it."""
    ids = tuple(range(prompt + first + second))
    return CutRow(ids, start, prompt, prompt + first)


@st.composite
def some_rows(draw: st.DrawFn) -> list[CutRow]:
    """Rows with one label or two, of which each may run nothing but its first token's prediction."""
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        prompt = draw(st.integers(1, 9))
        labels = [draw(st.integers(0, 4)) for _ in range(2)]
        rows.append(row_of(prompt, draw(st.integers(0, prompt - 1)), *labels))
    return rows


# --- by hand


def test_the_counts_of_a_row_by_hand() -> None:
    """Seven prompt tokens, the site at the fifth, labels of three and two tokens without their last ones."""
    row = row_of(7, 4, 2, 1)
    assert (row.after, row.asked, row.prefix) == (6, 4, (0, 1, 2, 3))


def test_two_rows_by_hand() -> None:
    """One row with two labels, one with one; sixteen tokens and keys at least per row and pass."""
    rows = [row_of(3, 1, 2, 1), row_of(2, 0, 1)]
    layout = lay_out(rows, [Slots(prefix=10, suffix=20), Slots(prefix=30, suffix=40)], CPU)
    tokens = layout.tokens
    # Five tokens are the most, and two rows need eight each to be sixteen.
    assert tokens.positions.shape == (2, 8)
    # The prompt's tokens 1 and 2, the first label's 3 and 4, and the second one's at 3 again.
    assert tokens.positions.tolist() == [[1, 2, 3, 4, 3, 3, 3, 3], [0, 1, 2, 2, 2, 2, 2, 2]]
    assert tokens.slots.tolist() == [list(range(1, 9)), list(range(8))]
    assert tokens.n_keys == 16
    assert tokens.key_positions[0, :6].tolist() == [0, 1, 2, 3, 4, 3]
    assert tokens.key_positions[1, :3].tolist() == [0, 1, 2]
    assert tokens.hidden_from is not None
    assert tokens.hidden_from[0, :5].tolist() == [[0, 0]] * 4 + [[3, 5]]
    assert tokens.hidden_from[1].tolist() == [[0, 0]] * 8
    assert layout.stream_slots.tolist() == [
        [20, 21, 22, 23, 24, 24, 24, 24],
        [40, 41, 42, 42, 42, 42, 42, 42],
    ]
    assert layout.key_slots.tolist() == [[10] + [0] * 15, [0] * 16]
    # Asked after the prompt's last token and after all that are forced: four and two.
    assert layout.asked.tolist() == [[1, 2, 3, 4, 4, 4, 4, 4], [1, 2, 2, 2, 2, 2, 2, 2]]
    assert layout.answers.tolist() == [0, 1, 2, 3, 8, 9]


def test_what_two_labels_see_by_hand() -> None:
    """A prompt of two tokens and labels of two each: the second one sees the prompt and itself."""
    tokens = lay_out([row_of(2, 0, 2, 2)], [Slots(0, 0)], CPU).tokens
    seen = tokens.mask(None, None)[0, 0, :6, :6].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    # Within two tokens of text, the second label's first one sees the prompt's last one, as the first's does.
    windowed = tokens.mask(2, None)[0, 0, :6, :6].int().tolist()
    assert windowed[2] == [0, 1, 1, 0, 0, 0]
    assert windowed[4] == [0, 1, 0, 0, 1, 0]
    assert windowed[5] == [0, 0, 0, 0, 1, 1]


def test_whole_rows_are_causal() -> None:
    places = torch.arange(4).expand(2, 4)
    tokens = Tokens(places, places, torch.arange(6).expand(2, -1))
    assert torch.equal(tokens.mask(None, None)[1, 0], torch.ones(4, 6, dtype=torch.bool).tril())
    assert tokens.positions.tolist() == [[0, 1, 2, 3]] * 2


# --- what a token sees


def sees(row: CutRow, token: int, key: int, window: int | None) -> bool:
    """The definition: the prompt and its own label up to itself, within a window that goes by the text."""

    def label(index: int) -> int:
        return 0 if index < row.fork else 1 if index < row.second else 2

    def place(index: int) -> int:
        return index if index < row.second else index - row.second + row.fork

    near = window is None or place(token) - place(key) < window
    return key <= token and label(key) in (0, label(token)) and near


@settings(deadline=None, max_examples=60)
@given(rows=some_rows(), window=st.none() | st.integers(1, 12))
def test_tokens_see_what_the_definition_says(rows: list[CutRow], window: int | None) -> None:
    tokens = lay_out(rows, [Slots(0, 0)] * len(rows), CPU).tokens
    mask = tokens.mask(window, None)
    added = tokens.mask(window, torch.float32)
    assert mask.shape == (len(rows), 1, tokens.positions.shape[1], tokens.n_keys)
    assert torch.equal(added == 0, mask)
    assert torch.equal(added == FULL, ~mask)
    for seen, row in zip(mask[:, 0].tolist(), rows, strict=True):
        for place in range(row.after):
            token = row.start + place
            expected = [sees(row, token, key, window) for key in range(len(row.ids))]
            assert seen[place][: len(row.ids)] == expected
            assert not any(seen[place][len(row.ids) :])


@settings(deadline=None, max_examples=60)
@given(rows=some_rows())
def test_a_layout_says_where_everything_is(rows: list[CutRow]) -> None:
    kept = [Slots(prefix=100 * i + 1, suffix=100 * i + 50) for i in range(len(rows))]
    layout = lay_out(rows, kept, CPU)
    width = layout.tokens.positions.shape[1]
    assert width == padded_width(max(row.after for row in rows), len(rows))
    assert layout.tokens.n_keys == padded_keys(max(row.start for row in rows) + width)
    for i, (row, slots) in enumerate(zip(rows, kept, strict=True)):
        # Every token has a slot of its own, and the new keys come right after those before the cut.
        assert layout.tokens.slots[i].tolist() == list(range(row.start, row.start + width))
        streams = [slots.suffix + min(j, row.after - 1) for j in range(width)]
        assert layout.stream_slots[i].tolist() == streams
        keys = [slots.prefix + j for j in range(row.start)]
        assert layout.key_slots[i].tolist() == keys + [0] * (layout.tokens.n_keys - row.start)
        places = [row.fork - 1 - row.start + j for j in range(row.asked)]
        assert layout.asked[i, : row.asked].tolist() == places
        assert set(layout.asked[i, row.asked :].tolist()) <= {row.after - 1}
    n_asked = layout.asked.shape[1]
    assert layout.answers.tolist() == [
        i * n_asked + j for i, row in enumerate(rows) for j in range(row.asked)
    ]


@settings(deadline=None, max_examples=30)
@given(rows=some_rows(), window=st.none() | st.integers(1, 12))
def test_chosen_tokens_see_what_they_saw(rows: list[CutRow], window: int | None) -> None:
    layout = lay_out(rows, [Slots(0, 0)] * len(rows), CPU)
    chosen = layout.tokens.chosen(layout.asked)
    every = torch.arange(len(rows))[:, None]
    assert torch.equal(
        chosen.mask(window, None)[:, 0], layout.tokens.mask(window, None)[:, 0][every, layout.asked]
    )
    assert torch.equal(chosen.positions, layout.tokens.positions[every, layout.asked])


def test_a_mask_is_made_once() -> None:
    tokens = lay_out([row_of(4, 1, 1)], [Slots(0, 0)], CPU).tokens
    assert tokens.mask(None, None) is tokens.mask(None, None)
    assert tokens.mask(2, None) is not tokens.mask(None, None)
    assert isinstance(tokens, Tokens)


# --- paddings


@given(width=st.integers(1, 300), rows=st.integers(1, 40))
def test_widths_are_even_no_rest_of_two_and_many_enough(width: int, rows: int) -> None:
    """What matrix products and attention need for results that don't depend on neighbours; nothing beyond."""
    found = padded_width(width, rows)
    fits = [n for n in range(width, width + 40) if n % 2 == 0 and n % 32 != 2 and n * rows >= 16]
    assert found == fits[0]
    assert padded_width(found, rows) == found


@given(count=st.integers(1, 300))
def test_keys_come_in_sixteens(count: int) -> None:
    found = padded_keys(count)
    assert found % 16 == 0
    assert count <= found < count + 16


# --- plans


def test_plans_weigh_padding_against_calls() -> None:
    lengths, starts = [9, 2, 2, 8, 2], [1, 3, 1, 1, 2]

    def plan(call_tokens: int, batch_tokens: int = 1000, most_rows: int | None = None) -> list[list[int]]:
        return plan_passes(
            lengths, starts, batch_tokens=batch_tokens, call_tokens=call_tokens, most_rows=most_rows
        )

    assert plan(5) == [[2, 4, 1], [3, 0]]
    assert plan(0) == [[2, 4, 1], [3], [0]]
    assert plan(50) == [[2, 4, 1, 3, 0]]
    assert plan(5, batch_tokens=10) == [[2, 4], [1], [3], [0]]
    assert plan(50, most_rows=2) == [[2, 4], [1, 3], [0]]
    assert plan_passes([], [], batch_tokens=10, call_tokens=5) == []


@given(
    rows=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=12),
    batch_tokens=st.integers(1, 40),
    call_tokens=st.integers(0, 20),
    most_rows=st.none() | st.integers(0, 5),
)
def test_plans_hold_every_row_once_within_bounds(
    rows: list[tuple[int, int]], batch_tokens: int, call_tokens: int, most_rows: int | None
) -> None:
    lengths, starts = [n for n, _ in rows], [start for _, start in rows]
    plan = plan_passes(
        lengths, starts, batch_tokens=batch_tokens, call_tokens=call_tokens, most_rows=most_rows
    )
    assert sorted(itertools.chain(*plan)) == list(range(len(rows)))
    for batch in plan:
        width = max(lengths[i] for i in batch) + max(starts[i] for i in batch)
        assert len(batch) == 1 or len(batch) * width <= batch_tokens
        assert len(batch) == 1 or most_rows is None or len(batch) <= most_rows


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    call_tokens=st.integers(0, 12),
)
def test_no_other_cut_of_the_sorted_rows_costs_less(lengths: list[int], call_tokens: int) -> None:
    def cost(batches: list[list[int]]) -> int:
        return sum(len(batch) * max(batch) + call_tokens for batch in batches)

    plan = plan_passes(lengths, [0] * len(lengths), batch_tokens=10**6, call_tokens=call_tokens)
    ascending = sorted(lengths)
    cuts = [
        [ascending[a:b] for a, b in itertools.pairwise((0, *inner, len(lengths)))]
        for n in range(len(lengths))
        for inner in itertools.combinations(range(1, len(lengths)), n)
    ]
    assert cost([[lengths[i] for i in batch] for batch in plan]) == min(map(cost, cuts))


@pytest.mark.parametrize("tokens", [1, 17])
def test_no_rows_are_lost_where_none_fit(tokens: int) -> None:
    assert plan_passes([20, 20], [5, 5], batch_tokens=tokens, call_tokens=1, most_rows=0) == [[0], [1]]
