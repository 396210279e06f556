"""How forced labels fare: by hand, packed or padded, and what is likeliest against `argmax`, with ties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from das.engine.base.labels import forced_labels, is_likeliest, packed_labels

Ids = tuple[int, ...]


def test_labels_by_hand() -> None:
    """Probabilities 3/6 and 5/8 in the first row, 1/10 at the only place of the second one."""
    logits = torch.zeros(2, 2, 4)
    logits[0, 0, 1], logits[0, 1, 2] = math.log(3), math.log(5)
    logits[1, 0, 3] = math.log(7)
    expected = [-(math.log(3 / 6) + math.log(5 / 8)) / 2, -math.log(1 / 10)]
    padded = forced_labels(logits, [(1, 2), (0,)])
    packed = packed_labels(torch.stack([logits[0, 0], logits[0, 1], logits[1, 0]]), [(1, 2), (0,)])
    for found in (padded, packed):
        assert found.cross_entropy.tolist() == pytest.approx(expected, abs=1e-6)
        assert found.correct.tolist() == [True, False]


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_packed_and_padded_labels_fare_alike(labels: list[Ids], seed: int) -> None:
    longest = max(map(len, labels))
    stream = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(labels), longest, 5, generator=stream).requires_grad_()
    padded = forced_labels(logits, labels)
    (wanted,) = torch.autograd.grad(padded.cross_entropy.sum(), logits)
    packed = packed_labels(
        torch.cat([row[: len(label)] for row, label in zip(logits, labels, strict=True)]), labels
    )
    (gradient,) = torch.autograd.grad(packed.cross_entropy.sum(), logits)
    assert torch.equal(packed.cross_entropy, padded.cross_entropy)
    assert torch.equal(packed.correct, padded.correct)
    assert torch.equal(gradient, wanted)
    for row, label in zip(gradient, labels, strict=True):
        assert torch.count_nonzero(row[len(label) :]) == 0
        assert (row[: len(label)].abs().sum(dim=-1) > 0).all()


def test_a_label_is_right_where_nothing_is_likelier() -> None:
    """Equally likely tokens take nothing away from a label while it is trained."""
    logits = torch.tensor([[2.0, 2.0, 0.0], [0.0, 1.0, 0.0], [3.0, 2.0, 0.0]])
    assert packed_labels(logits, [(1,), (1,), (1,)]).correct.tolist() == [True, True, False]
    assert packed_labels(logits, [(0, 1, 0)]).correct.tolist() == [True]
    assert packed_labels(logits, [(0, 1, 1)]).correct.tolist() == [False]


@st.composite
def questions(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with many equal numbers, and rows and ids, both of which may come again."""
    n, vocabulary = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    numbers = st.sampled_from([-math.inf, -1.0, 0.0, 1.0, 2.0])
    logits = draw(st.lists(numbers, min_size=n * vocabulary, max_size=n * vocabulary))
    asked = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, vocabulary - 1)), max_size=12))
    rows, ids = ([pair[k] for pair in asked] for k in (0, 1))
    return (
        torch.tensor(logits).view(n, vocabulary),
        torch.tensor(rows, dtype=torch.long),
        torch.tensor(ids, dtype=torch.long),
    )


@settings(deadline=None, max_examples=400)
@given(questions())
def test_likeliest_is_what_argmax_says(question: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, rows, ids = question
    before = logits.clone()
    assert is_likeliest(logits, rows, ids).tolist() == (logits.argmax(dim=-1)[rows] == ids).tolist()
    assert torch.equal(logits, before)


def test_likeliest_of_a_large_vocabulary() -> None:
    """Ids beyond what sixteen bits hold, with a tie between two of the largest."""
    logits = torch.zeros(2, 300_000)
    logits[0, [299_998, 299_999]] = 1.0
    logits[1, 123_457] = 1.0
    rows, ids = torch.tensor([0, 0, 1, 1]), torch.tensor([299_999, 299_998, 123_457, 123_456])
    assert is_likeliest(logits, rows, ids).tolist() == [False, True, True, False]
