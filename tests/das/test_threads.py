"""How many threads the passes of a model get: by what one and all of them take just now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from das.engine.engines.direct import DirectEngine
from das.engine.engines.resume import ResumeEngine
from das.models.base import TargetModel
from das.threads import SuitedThreads, seconds_with, using_threads
from ravel.terms.schema import Prompt


class Machine:
    """A machine by hand: what products take on it, and what time it is."""

    def __init__(self) -> None:
        self.one, self.all_of_them, self.now, self.looks = 2.0, 1.0, 0.0, 0
        self.notes: list[str] = []

    def seconds(self, width: int, counts: tuple[int, int]) -> tuple[float, float]:
        """Return what was set."""
        self.looks += 1
        assert counts == (1, 2)
        return self.one, self.all_of_them

    def threads(self) -> SuitedThreads:
        """Return a chooser for this machine."""
        return SuitedThreads(64, self.notes.append, seconds=self.seconds, clock=lambda: self.now)


@pytest.fixture
def two_threads() -> Iterator[None]:
    with using_threads(2):
        yield


def _within(threads: SuitedThreads) -> int:
    with threads.block():
        return torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_one_thread_is_taken_while_it_is_the_faster_and_no_longer() -> None:
    machine = Machine()
    threads = machine.threads()
    assert (_within(threads), machine.looks) == (2, 0), "what is short waits for no look"
    machine.now = 2
    assert (_within(threads), machine.looks) == (2, 1)
    machine.all_of_them = 9.0
    assert _within(threads) == 2, "a choice holds for a while"
    machine.now += 20
    assert _within(threads) == 1
    assert torch.get_num_threads() == 2
    assert machine.notes == [
        "1 thread for now: other processes are at work, and 2 threads together would take 4.5 times as long; "
        "looked at again every 20 s"
    ]
    machine.all_of_them, machine.now = 1.95, 42
    assert _within(threads) == 1, "a difference within the noise changes nothing"
    machine.all_of_them, machine.now = 1.0, 62
    assert _within(threads) == 2
    assert len(machine.notes) == 1, "said once"


@pytest.mark.usefixtures("two_threads")
def test_a_block_in_a_block_keeps_the_choice_and_an_error_gives_the_threads_back() -> None:
    machine = Machine()
    machine.all_of_them = 9.0
    threads = machine.threads()
    assert _within(threads) == 2
    machine.now = 2

    def fails() -> None:
        with threads.block():
            machine.now = 100
            assert _within(threads) == 1
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (torch.get_num_threads(), machine.looks) == (2, 1)


def test_a_process_with_one_thread_never_looks() -> None:
    machine = Machine()
    with using_threads(1):
        assert _within(machine.threads()) == 1
    assert machine.looks == 0


def test_both_numbers_of_threads_are_timed() -> None:
    one, two = seconds_with(32, (1, 2))
    assert 0 < one < 0.1
    assert two > 0


@pytest.mark.usefixtures("two_threads")
def test_a_pass_and_a_way_back_get_the_threads_that_were_chosen(
    small_target: TargetModel, make_prompt: Callable[..., Prompt]
) -> None:
    machine = Machine()
    machine.all_of_them = 9.0
    engine = ResumeEngine(small_target)
    engine._threads = machine.threads()
    assert _within(engine._threads) == 2
    machine.now = 2
    seen: list[int] = []
    hook = small_target.model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        engine.complete([make_prompt("%s lies in", "Paris")], 1)
    finally:
        hook.remove()
    assert set(seen) == {1}
    with engine.suited_threads():
        assert torch.get_num_threads() == 1
    with DirectEngine(small_target).suited_threads():
        assert torch.get_num_threads() == 2, "its last bits go by the number of threads"
