"""Pieces of work side by side: what they give, and what they leave as it was."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor, nn

from das.engine.base.hooks import captured
from das.engine.base.lanes import Lanes, side_by_side
from das.models.base import Place
from das.replaced import Replaced


def three() -> int:
    return 3


def test_results_come_in_the_order_of_the_pieces_from_several_threads() -> None:
    def piece(number: int) -> tuple[int, int]:
        time.sleep(0.01)
        return number, threading.get_ident()

    found = Lanes(three).run([lambda n=n: piece(n) for n in range(9)])  # type: ignore[misc]
    assert [number for number, _ in found] == list(range(9))
    assert len({thread for _, thread in found}) == 3
    alone = Lanes(lambda: 1).run([lambda n=n: piece(n) for n in range(3)])  # type: ignore[misc]
    assert {thread for _, thread in alone} == {threading.get_ident()}


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("inference", [False, True])
def test_a_lane_has_the_callers_modes_and_one_thread(graded: bool, inference: bool) -> None:
    def piece() -> tuple[bool, bool, int]:
        time.sleep(0.01)
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()

    before = torch.get_num_threads()
    with torch.inference_mode(inference), torch.set_grad_enabled(graded):
        expected = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), 1
        assert set(Lanes(three).run([piece] * 6)) == {expected}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("where", ["caller", "other"])
def test_after_an_error_nothing_new_begins_and_it_is_raised(where: str) -> None:
    caller, begun = threading.get_ident(), []

    def piece() -> None:
        begun.append(1)
        time.sleep(0.02)
        if (threading.get_ident() == caller) == (where == "caller"):
            raise MemoryError("full")

    with pytest.raises(MemoryError, match="full"):
        Lanes(three).run([piece] * 60)
    assert len(begun) < 60


def test_a_piece_may_run_pieces_itself() -> None:
    lanes = Lanes(lambda: 2)

    def inner(number: int) -> int:
        time.sleep(0.005)
        return number

    def outer(number: int) -> int:
        return sum(lanes.run([lambda n=n: inner(number + n) for n in range(3)]))  # type: ignore[misc]

    assert lanes.run([lambda n=n: outer(n) for n in range(4)]) == [3, 6, 9, 12]  # type: ignore[misc]


def test_the_gradient_is_that_of_one_after_the_other_to_the_bit() -> None:
    torch.manual_seed(0)
    weight, vectors = torch.randn(8, 8), torch.randn(11, 8)
    batches = [[3, 1, 0], [10, 9], [2, 4, 5, 6], [7, 8]]

    def run(batch: list[int], rows: Tensor) -> Tensor:
        return torch.tanh(rows @ weight) * torch.tensor(batch)[:, None]

    def slopes(lanes: int) -> tuple[list[Tensor], Tensor]:
        leaf = vectors.clone().requires_grad_()
        parts = side_by_side(Lanes(lambda: lanes), leaf, batches, run)
        # One of the parts is read by nobody.
        loss = sum((part.square().sum() for part in parts[1:]), start=torch.zeros(()))
        return [part.detach() for part in parts], torch.autograd.grad(loss, leaf)[0]

    leaf = vectors.clone().requires_grad_()
    plain = [run(batch, leaf[batch]) for batch in batches]
    expected = torch.autograd.grad(sum(part.square().sum() for part in plain[1:]), leaf)[0]
    for lanes in (1, 3):
        parts, gradient = slopes(lanes)
        assert all(torch.equal(part, own) for part, own in zip(parts, plain, strict=True))
        assert torch.equal(gradient, expected)
    with torch.no_grad():
        assert not side_by_side(Lanes(three), leaf, batches, run)[0].requires_grad


def test_a_replaced_forward_is_met_by_its_own_thread_alone() -> None:
    modules = [nn.Identity(), nn.Identity()]
    replaced, inside, done = Replaced(modules), threading.Event(), threading.Event()
    seen: list[list[int]] = []

    def other() -> None:
        with replaced.by({0: lambda x: x + 10, 1: lambda x: x + 20}):
            inside.set()
            done.wait(5)
            seen.append([module(1) for module in modules])

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(5)
    assert [module(1) for module in modules] == [1, 1]
    with replaced.by({1: lambda x: x + 2}):
        assert [module(1) for module in modules] == [1, 3]
        assert replaced.own(1)(1) == 1
    done.set()
    thread.join()
    assert seen == [[11, 21]]
    assert all("forward" not in vars(module) for module in modules)


def test_what_is_replaced_for_everyone_is_met_by_threads_that_have_none_of_their_own() -> None:
    modules = [nn.Identity(), nn.Identity()]
    replaced, seen = Replaced(modules), list[int]()
    # A forward of a module's own, as wrappers set it, is what stands there afterwards.
    given = modules[1].forward = lambda x: x + 5
    with replaced.by_everyone({0: lambda x: x + 10}), replaced.by({1: lambda x: x + 20}):
        thread = threading.Thread(target=lambda: seen.extend(module(1) for module in modules))
        thread.start()
        thread.join()
        assert [module(1) for module in modules] == [11, 21]
        assert [Replaced.is_within(module) for module in modules] == [True, True]
        assert replaced.own(1) is given
    assert seen == [11, 6]
    assert [Replaced.is_within(module) for module in modules] == [False, False]
    assert "forward" not in vars(modules[0])
    assert modules[1].forward is given


def test_a_reader_sees_the_pass_of_its_own_thread_alone() -> None:
    module = nn.Identity()
    place, first = Place(module, "output", None), torch.zeros(1, 1, dtype=torch.long)
    with captured({"here": place}, {"here": first}, stop=False) as vectors:
        other = threading.Thread(target=lambda: module(torch.ones(1, 1, 4)))
        other.start()
        other.join()
        assert not vectors
        module(torch.full((1, 1, 4), 2.0))
    assert vectors["here"].tolist() == [[[2.0] * 4]]
