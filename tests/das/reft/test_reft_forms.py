"""Positions and forms of ReFT: the rule of the paper, and what each formula says of special weights."""

from __future__ import annotations

import pytest
import torch

from das.edits.forms import LowRank
from das.featurizers.orthonormal import deviation, retract
from das.positions import Positions
from das.reft.forms import FORMS, LowRankChange
from ravel.common.errors import SuiteError

WIDTH, RANK = 6, 2


def rotation(seed: int = 0) -> torch.Tensor:
    return retract(torch.randn(WIDTH, RANK, generator=torch.Generator().manual_seed(seed))).mT.contiguous()


def vectors() -> torch.Tensor:
    return torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(
    ("text", "n", "first", "last"),
    [
        ("f7+l7", 1, (), (0,)),
        ("f7+l7", 2, (0,), (1,)),
        ("f7+l7", 13, (0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11, 12)),
        ("f7+l7", 14, (0, 1, 2, 3, 4, 5, 6), (7, 8, 9, 10, 11, 12, 13)),
        ("f1+l2", 9, (0,), (7, 8)),
        ("f1+l5", 4, (0,), (2, 3)),
        ("f3", 3, (0, 1, 2), ()),
        ("f3", 2, (0,), ()),
        ("f2", 1, (), ()),
        ("l3", 2, (), (1,)),
    ],
)
def test_the_first_and_the_last_tokens_never_meet(
    text: str, n: int, first: tuple[int, ...], last: tuple[int, ...]
) -> None:
    assert Positions.parse(text).chosen(n) == (first, last)
    assert str(Positions.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "f0", "f0+l0", "7", "f", "l2+f1", "f1l1", "f1+", "+l1", "f-1", "f1+l1 "]
)
def test_positions_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SuiteError, match=r"f7\+l7"):
        Positions.parse(text)


def test_every_form_is_its_formula_written_out() -> None:
    r, w, b, h = rotation(), torch.randn(RANK, WIDTH), torch.randn(RANK), vectors()
    expected = {
        "loreft": [x + r.mT @ (w @ x + b - r @ x) for x in h],
        "noreft": [x + r.mT @ (w @ x + b - r @ x) for x in h],
        "consreft": [x + r.mT @ (b - r @ x) for x in h],
        "direft": [x + r.mT @ (w @ x + b) for x in h],
        "direft_orthonormal": [x + r.mT @ (w @ x + b) for x in h],
    }
    assert set(expected) == set(FORMS)
    for form, rows in expected.items():
        change = LowRankChange(form, r, b, w if FORMS[form].reads else None)
        torch.testing.assert_close(change(h), torch.stack(rows), atol=1e-6, rtol=1e-5)


def test_loreft_is_the_edit_of_that_name_and_other_strengths_aside_to_the_bit() -> None:
    r, w, b, h = rotation(), torch.randn(RANK, WIDTH), torch.randn(RANK), vectors()
    edit = LowRank("A", ["v"], r, w, b)
    assert torch.equal(LowRankChange("loreft", r, b, w)(h), edit.edited(h, 0, 1.0))


def test_special_weights_of_loreft_do_what_the_paper_says() -> None:
    r, h, s = rotation(), vectors(), torch.randn(WIDTH)
    none = torch.zeros(RANK)
    assert torch.equal(LowRankChange("loreft", r, none, r)(h), h)
    swap = LowRankChange("loreft", r, r @ s, torch.zeros(RANK, WIDTH))
    torch.testing.assert_close(swap(h), h + (r @ s - h @ r.mT) @ r)
    torch.testing.assert_close(swap(swap(h)), swap(h))
    steered = LowRankChange("loreft", r, torch.tensor([2.0, -1.0]), r)(h) - h
    torch.testing.assert_close(steered, (torch.tensor([2.0, -1.0]) @ r).expand_as(h), atol=1e-6, rtol=1e-5)
    outside = (swap(h) - h) @ (torch.eye(WIDTH) - r.mT @ r)
    assert float(outside.detach().abs().max()) < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_a_fresh_change_does_nothing_yet_but_for_consreft(form: str) -> None:
    change = LowRankChange.fresh(form, WIDTH, RANK, torch.Generator().manual_seed(1))
    assert torch.equal(change(vectors()), vectors()) is (form != "consreft")
    assert deviation(change.writer.mT) < 1e-6
    parts = [parameter.data_ptr() for parameter in change.parameters()]
    assert len(set(parts)) == len(parts)
    # A step off the manifold and back; rows that are free stay where they went.
    with torch.no_grad():
        change.writer.add_(0.1)
    moved = change.writer.clone()
    change.retract()
    assert (deviation(change.writer.mT) < 1e-6) is FORMS[form].orthonormal
    assert torch.equal(change.writer, moved) is not FORMS[form].orthonormal


def test_halves_go_in_and_halves_come_out() -> None:
    change = LowRankChange("loreft", rotation(), torch.ones(RANK), torch.zeros(RANK, WIDTH))
    half = vectors().bfloat16()
    assert change(half).dtype == torch.bfloat16
    assert torch.equal(change(half), change(half.float()).bfloat16())


@pytest.mark.parametrize(
    ("form", "writer", "offset", "source"),
    [
        ("loreft", torch.eye(WIDTH)[:RANK], torch.zeros(RANK), None),
        ("consreft", torch.eye(WIDTH)[:RANK], torch.zeros(RANK), torch.zeros(RANK, WIDTH)),
        ("loreft", torch.ones(RANK, WIDTH), torch.zeros(RANK), torch.zeros(RANK, WIDTH)),
        ("direft", torch.ones(RANK, WIDTH), torch.zeros(3), torch.zeros(RANK, WIDTH)),
        ("noreft", torch.ones(WIDTH + 1, WIDTH), torch.zeros(WIDTH + 1), torch.ones(WIDTH + 1, WIDTH)),
        ("lorft", torch.eye(WIDTH)[:RANK], torch.zeros(RANK), None),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    form: str, writer: torch.Tensor, offset: torch.Tensor, source: torch.Tensor | None
) -> None:
    with pytest.raises(SuiteError):
        LowRankChange(form, writer, offset, source)


def test_a_rank_above_the_width_is_refused() -> None:
    with pytest.raises(SuiteError, match="at most 6"):
        LowRankChange.fresh("loreft", WIDTH, WIDTH + 1, torch.Generator())
