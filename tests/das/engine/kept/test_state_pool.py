"""Arenas, books and the shelf: what is put in comes out, what is forgotten is gone, and bounds hold."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from das.engine.base.cut_rows import CutRow
from das.engine.kept.state_pool import CutStates, StateCache, StatePool

CPU = torch.device("cpu")


def arena(*widths: int) -> StatePool:
    return StatePool(widths, torch.float32, CPU)


def book(layer: int = 0) -> CutStates:
    """A token before the cut takes 24 bytes, one after it 8."""
    return CutStates((layer, True), [4, 2], [2], torch.float32, CPU)


def row(number: int, tokens: int = 3) -> CutRow:
    return CutRow((number,) * tokens, 1, tokens, tokens)


def filled(found: CutStates, number: int, prefix: int, suffix: int) -> None:
    """Put states of ones times `number` into a book."""
    found.keys.fill(found.add_prefix((number,) * prefix, prefix), number * torch.ones(prefix, 6))
    found.streams.fill(found.add_suffix(row(number), suffix), number * torch.ones(suffix, 2))


# --- arenas


def test_an_arena_begins_with_one_slot_of_zeros_that_counts_for_nothing() -> None:
    made = arena(3, 2)
    assert (made.used, made.slot_bytes, made.bytes) == (1, 20, 0)
    assert torch.equal(made.run(0, 1), torch.zeros(1, 5))
    assert made.reserve(4) == 1
    assert made.reserve(0) == 5
    assert made.reserve(1) == 5
    assert made.bytes == 5 * 20


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=12))
def test_what_is_put_in_comes_out_however_the_arena_grows(counts: list[int]) -> None:
    made, kept = arena(2, 3), []
    for number, count in enumerate(counts):
        vectors = torch.full((count, 5), float(number)) + torch.arange(5)
        first = made.reserve(count)
        made.fill(first, vectors)
        kept.append((first, vectors))
    for first, vectors in kept:
        assert torch.equal(made.run(first, len(vectors)), vectors)
    assert made.used == 1 + sum(counts)
    assert torch.equal(made.run(0, 1), torch.zeros(1, 5))
    assert all(len(column) >= made.used for column in made.columns)


def test_an_arena_grows_under_inference_mode_into_what_can_be_trained_on() -> None:
    made = arena(2)
    with torch.inference_mode():
        made.reserve(5000)
    assert not made.columns[0].is_inference()
    weight = torch.ones(2, requires_grad=True)
    (made.columns[0][:10] * weight).sum().backward()


def test_slots_that_are_given_back_are_taken_again() -> None:
    made = arena(2)
    made.fill(made.reserve(3), torch.ones(3, 2))
    made.cut(2)
    assert made.used == 2
    first = made.reserve(2)
    made.fill(first, 7 * torch.ones(2, 2))
    assert first == 2
    assert made.run(1, 3).tolist() == [[1, 1], [7, 7], [7, 7]]


def test_slots_that_are_given_back_give_their_memory_back() -> None:
    """Else one large call would hold its memory for as long as the engine lives."""
    made = arena(2)
    made.fill(made.reserve(100), torch.ones(100, 2))
    made.reserve(200_000)
    made.cut(101)
    assert all(len(column) < 10_000 for column in made.columns)
    assert torch.equal(made.run(1, 100), torch.ones(100, 2))


def test_an_arena_without_columns_takes_slots_and_no_memory() -> None:
    """After the last block no keys are kept."""
    made = arena()
    assert made.reserve(2000) == 1
    assert made.bytes == 0


# --- books


def test_a_book_forgets_what_came_since_it_was_told_to_keep() -> None:
    found = book()
    filled(found, 1, 2, 3)
    assert found.added() == ([(1, 1)], [row(1)])
    found.keep()
    assert found.added() == ([], [])
    size = found.bytes
    filled(found, 2, 5, 1)
    filled(found, 3, 1, 1)
    assert found.added() == ([(2,) * 5, (3,)], [row(2), row(3)])
    assert found.bytes == size + 6 * 24 + 2 * 8
    found.forget()
    assert found.bytes == size
    assert list(found.prefixes) == [(1, 1)]
    assert list(found.suffixes) == [row(1)]
    filled(found, 4, 1, 2)
    assert torch.equal(found.keys.run(found.prefixes[1, 1], 2), torch.ones(2, 6))
    assert torch.equal(found.streams.run(found.suffixes[row(1)], 3), torch.ones(3, 2))
    assert torch.equal(found.streams.run(found.suffixes[row(4)], 2), 4 * torch.ones(2, 2))
    found.forget()
    found.forget()
    assert found.bytes == size


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), st.sampled_from(["keep", "forget", "nothing"])))
)
def test_a_book_holds_what_was_kept_and_what_came_last(steps: list[tuple[int, int, str]]) -> None:
    found = book()
    kept: dict[int, tuple[int, int]] = {}
    new: dict[int, tuple[int, int]] = {}
    for number, (prefix, suffix, then) in enumerate(steps, start=1):
        found.keys.fill(found.add_prefix((number, *(0,) * prefix), prefix), number * torch.ones(prefix, 6))
        found.streams.fill(found.add_suffix(row(number), suffix), number * torch.ones(suffix, 2))
        new[number] = (prefix, suffix)
        if then == "keep":
            found.keep()
            kept, new = kept | new, {}
        if then == "forget":
            found.forget()
            new = {}
    there = kept | new
    assert found.bytes == sum(p for p, _ in there.values()) * 24 + sum(s for _, s in there.values()) * 8
    assert len(found.prefixes) == len(found.suffixes) == len(there)
    for number, (prefix, suffix) in there.items():
        keys: Tensor = found.keys.run(found.prefixes[(number, *(0,) * prefix)], prefix)
        assert torch.equal(keys, number * torch.ones(prefix, 6))
        assert torch.equal(
            found.streams.run(found.suffixes[row(number)], suffix), number * torch.ones(suffix, 2)
        )


# --- the shelf


def test_the_longest_unused_book_gives_way_as_a_whole() -> None:
    one, two = book(0), book(1)
    for each in (one, two):
        filled(each, 1, 4, 4)
    size = one.bytes
    shelf = StateCache(2 * size)
    shelf.put("one", one)
    shelf.put("two", two)
    assert shelf.crowded() is None
    assert shelf.get("one") is one
    third = shelf.put("three", book(2))
    filled(third, 1, 1, 1)
    assert shelf.crowded() is None
    assert shelf.bytes == size + third.bytes
    assert shelf.get("two") is None
    assert shelf.get("one") is one
    assert not shelf.overflowed


def test_a_book_that_alone_is_too_large_is_named_and_keeps_what_came_first() -> None:
    shelf = StateCache(200)
    shelf.put("other", book(0))
    found = shelf.put("large", book(1))
    filled(found, 1, 2, 3)
    assert shelf.crowded() is None
    shelf.keep()
    filled(found, 2, 9, 9)
    assert shelf.crowded() is found
    assert shelf.overflowed
    assert shelf.get("other") is None
    found.forget()
    assert list(found.suffixes) == [row(1)]
    assert shelf.bytes <= 200
    assert shelf.crowded() is None
    assert shelf.overflowed


def test_only_the_last_used_book_is_kept() -> None:
    shelf = StateCache(10_000)
    first, second = shelf.put("first", book(0)), shelf.put("second", book(1))
    for each in (first, second):
        filled(each, 1, 1, 1)
    shelf.get("first")
    shelf.keep()
    assert first.added() == ([], [])
    assert second.added() == ([(1,)], [row(1)])


def test_an_empty_shelf_takes_every_word() -> None:
    shelf = StateCache(0)
    shelf.keep()
    assert shelf.crowded() is None
    assert (shelf.bytes, shelf.overflowed, shelf.get("any")) == (0, False, None)
    shelf.put("one", book())
    shelf.clear()
    assert shelf.get("one") is None
    assert shelf.bytes == 0
