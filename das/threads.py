"""How many processor threads torch uses within a block: told, one, or what is fastest just now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.nn import functional

_EVERY = 20.0
"""Seconds for which a choice holds: a look takes a fraction of a second."""
_FIRST = 2.0
"""Seconds of work before the first look: what is done sooner would wait longer for the look than it gains."""
_LOOK = 0.06
"""Seconds of products with each number of threads: other processes get turns of a few milliseconds."""
_WORTH = 1.1
"""How many times slower than the other what is chosen must be for a change."""
_ROWS, _WIDTH = 192, 1024
"""Shape of the products: a pass's vectors, and the widest model's that is still quick."""


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Let torch use `count` processor threads within the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Return a block for decompositions, whose results are then the same however many threads there are:
    LAPACK adds up in another order with more. Products of matrices need no such care."""
    return using_threads(1)


def seconds_with(width: int, counts: tuple[int, int]) -> tuple[float, float]:
    """Return the mean seconds of a product such as a model of that width makes, with each of two numbers of
    threads, measured in turns."""
    width = min(width, _WIDTH)
    left, right = torch.ones(_ROWS, width), torch.ones(4 * width, width)
    spent, runs = [0.0, 0.0], [0, 0]
    with torch.inference_mode():
        while min(spent) < _LOOK:
            for i, count in enumerate(counts):
                with using_threads(count):
                    start = time.perf_counter()
                    functional.linear(left, right)
                    spent[i] += time.perf_counter() - start
                    runs[i] += 1
    return spent[0] / runs[0], spent[1] / runs[1]


class SuitedThreads:
    """Chooses between one thread and all, again and again as work goes on.

    Threads wait for each other at the end of every product. Where another process has a processor too they
    wait for its turn to end, and all of them together are many times slower than one. No result depends on
    the choice, as far as none depends on the number of threads (docs/determinism.md).
    """

    def __init__(
        self,
        width: int,
        tell: Callable[[str], None],
        *,
        seconds: Callable[[int, tuple[int, int]], tuple[float, float]] = seconds_with,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`width` is that of the vectors that will be multiplied; `tell` gets a line at the first change."""
        self._width = width
        self._tell = tell
        self._seconds = seconds
        self._clock = clock
        self._single = False
        self._looked_at: float | None = None
        self._within = False
        self._told = False
        self._most = 0

    @property
    def most(self) -> int:
        """Threads that may be used: within a block those outside it."""
        return self._most if self._within else torch.get_num_threads()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Within, torch uses one thread or as many as before, whichever is faster; after it as many as
        before. A block within a block changes nothing."""
        most = torch.get_num_threads()
        if most == 1 or self._within:
            yield
            return
        now = self._clock()
        if self._looked_at is None:
            self._looked_at = now + _FIRST - _EVERY
        if now - self._looked_at >= _EVERY:
            self._look(most)
            self._looked_at = now
        self._within, self._most = True, most
        try:
            with using_threads(1 if self._single else most):
                yield
        finally:
            self._within = False

    def _look(self, most: int) -> None:
        one, all_of_them = self._seconds(self._width, (1, most))
        slower, faster = (one, all_of_them) if self._single else (all_of_them, one)
        if slower > _WORTH * faster:
            self._single = not self._single
            if not self._told:
                self._told = True
                self._tell(
                    f"1 thread for now: other processes are at work, and {most} threads together would take "
                    f"{all_of_them / one:.1f} times as long; looked at again every {_EVERY:.0f} s"
                )
