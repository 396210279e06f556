"""Passes of a model side by side, each on one processor thread of its own; it knows no model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from das.threads import using_threads

T = TypeVar("T")
_PIECES = 2
"""Pieces per lane, at least, where there is enough to do."""
_LEAST_TOKENS = 256
"""Tokens of a piece that is not divided any further: smaller products are slower."""


class Lanes:
    """Runs independent pieces of work at the same time, as many as there are lanes.

    Several threads within one product wait for each other at its end, and so for the turns of other processes
    too; a piece to a thread does not. Each piece is computed as with one thread.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        """`count` says, whenever work comes, how many lanes there are then."""
        self._count = count
        self._pool: ThreadPoolExecutor | None = None
        self._others = 0

    @property
    def count(self) -> int:
        """Pieces that run at the same time now."""
        return max(1, self._count())

    def share(self, tokens: int, most: int) -> int:
        """Return how many tokens a piece should hold, of so many in all and at most `most`, for all lanes to
        be done at about one time."""
        if self.count <= 1:
            return most
        return min(most, max(_LEAST_TOKENS, -(-tokens // (_PIECES * self.count))))

    def run(self, pieces: Sequence[Callable[[], T]]) -> list[T]:
        """Return the results in the order of the pieces. The caller's thread takes pieces too. After an
        error no further piece begins, and it is raised once all that began have ended."""
        lanes = min(self.count, len(pieces))
        if lanes <= 1:
            return [piece() for piece in pieces]
        line = _Line(pieces)
        with using_threads(1):
            others = [self._submitted(line.work, lanes - 1) for _ in range(lanes - 1)]
            try:
                line.work()
            finally:
                line.close()
                # One that has not begun may wait for a thread that waits for this one.
                begun = [other for other in others if not other.cancel()]
                wait(begun)
        for other in begun:
            other.result()
        return line.results()

    def _submitted(self, work: Callable[[], None], others: int) -> Future[None]:
        if self._pool is None or self._others < others:
            self._pool, self._others = ThreadPoolExecutor(others, "lane"), others
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

        def as_the_caller() -> None:
            # Both modes are a thread's own.
            with torch.inference_mode(modes[1]), torch.set_grad_enabled(modes[0]):
                work()

        return self._pool.submit(as_the_caller)


ALONE = Lanes(lambda: 1)
"""Runs one piece after the other."""


class _Line:
    """Pieces that wait for a lane, and the results of those that had one."""

    def __init__(self, pieces: Sequence[Callable[[], Any]]) -> None:
        # Passes come with the longest rows last: what takes longest begins first.
        self._waiting: Iterator[tuple[int, Callable[[], Any]]] = reversed(list(enumerate(pieces)))
        self._results: list[Any] = [None] * len(pieces)
        self._lock = threading.Lock()

    def work(self) -> None:
        """Take pieces until there are none left."""
        while (taken := self._next()) is not None:
            place, piece = taken
            try:
                self._results[place] = piece()
            except BaseException:
                self.close()
                raise

    def _next(self) -> tuple[int, Callable[[], Any]] | None:
        with self._lock:
            return next(self._waiting, None)

    def close(self) -> None:
        """Let no further piece begin."""
        with self._lock:
            self._waiting = iter(())

    def results(self) -> list[Any]:
        """Return what came of the pieces."""
        return self._results


def side_by_side(
    lanes: Lanes, vectors: Tensor, batches: Sequence[list[int]], run: Callable[[list[int], Tensor], Tensor]
) -> list[Tensor]:
    """Return `run(batch, vectors[batch])` of each batch of rows; they run in lanes, on the way back too.

    No row may be in two batches. The gradient by `vectors` [rows, width] is that of the batches one after the
    other, to the bit; there is none of second order.
    """
    if lanes.count <= 1 or not (vectors.requires_grad and torch.is_grad_enabled()):
        return lanes.run([partial(run, batch, rows_of(vectors, batch)) for batch in batches])
    return list(_SideBySide.apply(vectors, lanes, batches, run))


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, lanes: Lanes, batches: Sequence[list[int]], run: Any
    ) -> tuple[Tensor, ...]:
        def one(batch: list[int]) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                leaf = rows_of(vectors.detach(), batch).requires_grad_()
                return leaf, run(batch, leaf)

        ctx.parts = lanes, batches, vectors.shape
        ctx.graphs = lanes.run([partial(one, batch) for batch in batches])
        return tuple(result.detach() for _, result in ctx.graphs)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        lanes, batches, shape = ctx.parts
        works = [
            partial(_slope, leaf, result, slope)
            for (leaf, result), slope in zip(ctx.graphs, slopes, strict=True)
        ]
        gradient = slopes[0].new_zeros(shape)
        for batch, part in zip(batches, lanes.run(works), strict=True):
            gradient[torch.tensor(batch, device=gradient.device)] = part.to(gradient.dtype)
        ctx.graphs = None
        return gradient, None, None, None


def _slope(leaf: Tensor, result: Tensor, slope: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(result, leaf, slope)
    return gradient


def rows_of(tensor: Tensor, batch: Sequence[int]) -> Tensor:
    """Return some rows of a tensor, in the order of their numbers."""
    return tensor.index_select(0, torch.tensor(batch, device=tensor.device))
