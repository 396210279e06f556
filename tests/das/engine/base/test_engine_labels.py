"""How forced labels fare: by hand, packed or padded, and what is likeliest against `argmax`, with ties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from das.engine.base.labels import forced_labels, is_likeliest, packed_labels
from das.engine.base.soft_labels import divergences, soft_labels

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


# --- distributions in place of labels


def _logits(*shape: int) -> Tensor:
    return (3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))).requires_grad_()


@pytest.mark.parametrize("named", [1, 3, 7, 20])
def test_a_one_hot_distribution_is_a_forced_label(named: int) -> None:
    logits, labels = _logits(4, 2, 7), [(1, 2), (3,), (4, 0), (6, 6)]
    soft = [soft_labels(torch.eye(7)[list(label)] * 1e4, named, "cross_entropy") for label in labels]
    hard, mixed = forced_labels(logits, labels), forced_labels(logits, labels, [soft[0], None, *soft[2:]])
    torch.testing.assert_close(mixed.cross_entropy, hard.cross_entropy)
    assert torch.equal(mixed.correct, hard.correct)
    slopes = [torch.autograd.grad(one.cross_entropy.sum(), logits)[0] for one in (hard, mixed)]
    torch.testing.assert_close(*slopes)


def test_divergences_by_hand() -> None:
    q, p = torch.tensor([[0.5, 0.25, 0.125, 0.125]]), torch.tensor([[0.25, 0.25, 0.25, 0.25]])
    soft = {kind: soft_labels(q.log(), 2, kind) for kind in ("cross_entropy", "jensen_shannon")}
    found = {kind: float(divergences(p.log(), [label])) for kind, label in soft.items()}
    # The two others count as one: (1/2, 1/4, 1/4) is wanted and (1/4, 1/4, 1/2) said.
    assert found["cross_entropy"] == pytest.approx(1.75 * math.log(2))
    middle = [0.375, 0.25, 0.375]
    relative = sum(a * math.log(a / m) for a, m in zip((0.5, 0.25, 0.25), middle, strict=True))
    assert found["jensen_shannon"] == pytest.approx(relative)


def test_jensen_shannon_is_nothing_between_equals_and_at_most_a_bit() -> None:
    logits = _logits(5, 9)
    same = divergences(logits, [soft_labels(logits.detach(), 4, "jensen_shannon")])
    torch.testing.assert_close(same, torch.zeros(5), atol=1e-6, rtol=0)
    far = divergences(logits, [soft_labels(-1e3 * logits.detach(), 4, "jensen_shannon")])
    assert bool((far <= math.log(2) + 1e-6).all())
    assert bool(torch.autograd.grad(far.sum(), logits)[0].isfinite().all())
