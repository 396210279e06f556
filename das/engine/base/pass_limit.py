"""How much one pass of a model may hold: halved each time memory does not suffice; it knows no model."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from das.engine.base.lanes import ALONE, Lanes, rows_of
from das.out_of_memory import MemoryShortageError, in_words, ran_out_of_memory

T = TypeVar("T")

Plan = Callable[[Sequence[int]], list[list[int]]]
"""From the numbers of the items that are left to batches of places among them."""


class PassLimit:
    """The size of a pass. What runs out of memory is tried again at half the size, and the size stays there.
    What a run did before it failed must not count."""

    def __init__(
        self,
        size: int,
        *,
        unit: str = "tokens",
        let_go: Callable[[], None],
        tell: Callable[[str], None],
        todo: Callable[[int], str],
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`size` is in units such as tokens; `tell` gets a line for the user at each halving; `todo` says
        what to do about a size that can't be halved; each run is within a block that `within` gives."""
        self.size = size
        """What a pass may hold at most (but at least one row)."""
        self.asked = size
        """The size at the beginning."""
        self.unit = unit
        """What is counted: tokens or pairs."""
        self.tight = False
        """Whether memory did not suffice so far: then as little as possible is held at a time."""
        self._let_go = let_go
        self._tell = tell
        self._todo = todo
        self._within = within

    def attempt(self, run: Callable[[], object], *, whole: bool = False) -> bool:
        """Run; return whether memory sufficed. If not, the next attempt has half the size. Raises
        MemoryShortageError where there is nothing left to halve: at size 1, or with `whole`, which says that
        the run is of one item that failed before."""
        try:
            with self._within():
                run()
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            came = in_words(error)
        else:
            return True
        # Here rather than above: until the error is gone it holds what the run had made.
        self.lower(came, whole=whole)
        return False

    def lower(self, came: str, *, whole: bool = False) -> None:
        """Halve the size after an error that says `came`, make room and tell it; see `attempt`."""
        failed, self.tight = self.size, True
        self._let_go()
        # What has just failed is young; to look through all that ever was takes a second.
        gc.collect(1)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if failed == 1 or whole:
            raise MemoryShortageError(
                expected=f"room for a forward pass of {failed} {self.unit}",
                came=came,
                todo=self._todo(failed),
            )
        self.size = failed // 2
        self._tell(
            f"{came}: a pass held up to {failed} {self.unit}, from now on up to {self.size}; kept states "
            "are made anew"
        )

    def at_once(self, run: Callable[[], T]) -> T | None:
        """Return what `run` returns if memory has sufficed so far and does now; None: it has to be done in
        smaller parts. Raises MemoryShortageError as `attempt`."""
        results: list[T] = []
        if not self.tight:
            self.attempt(lambda: results.append(run()))
        return results[0] if results else None

    def fitted(self, run: Callable[[], T]) -> T:
        """Return what `run` returns once memory suffices. Raises MemoryShortageError as `attempt`."""
        results: list[T] = []
        while not self.attempt(lambda: results.append(run())):
            pass
        return results[0]

    def each(self, count: int, plan: Plan, run: Callable[[list[int]], object], lanes: Lanes = ALONE) -> None:
        """Run `count` items in batches that `plan` makes; what did not fit is planned again with all after
        it. Batches run in `lanes`, as long as memory suffices. Raises MemoryShortageError for a single item
        that does not fit twice."""
        left = list(range(count))
        failed: list[int] = []
        while left:
            done: set[int] = set()

            def one(batch: list[int], done: set[int] = done) -> None:
                run(batch)
                done.update(batch)

            batches = [[left[place] for place in places] for places in plan(left)]
            together = lanes.count > 1 and not self.tight
            for wave in [batches] if together else [[batch] for batch in batches]:
                works = [partial(one, batch) for batch in wave]
                again = len(wave) == 1 and len(wave[0]) == 1 and wave[0] == failed
                if not self.attempt(partial(lanes.run, works), whole=again):
                    failed = wave[0]
                    break
            left = [item for item in left if item not in done]


def recomputed(
    limit: PassLimit, vectors: Tensor, plan: Plan, run: Callable[[list[int], Tensor], Tensor]
) -> Tensor:
    """Return `run(batch, vectors[batch])` of all rows in order, [rows, ...], with one batch's graph at most.

    On the way back each batch is run a second time: what a gradient needs is never kept for two batches at
    once, and a batch that does not fit is halved there too. `run` must treat each row by itself; where it
    does so to the bit, the gradient by `vectors` [rows, width] is that of one run, to the bit.
    """
    results: Tensor = _Recomputed.apply(vectors, limit, plan, run)
    return results


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, limit: PassLimit, plan: Plan, run: Any) -> Tensor:
        ctx.save_for_backward(vectors)
        ctx.parts = limit, plan, run
        parts: dict[int, Tensor] = {}

        def one(batch: list[int]) -> None:
            results = run(batch, rows_of(vectors, batch))
            parts.update(zip(batch, results.detach().unbind(), strict=True))

        with torch.no_grad():
            limit.each(len(vectors), plan, one)
        return torch.stack([parts[row] for row in range(len(vectors))])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        (vectors,) = ctx.saved_tensors
        limit, plan, run = ctx.parts
        gradient = torch.zeros_like(vectors)

        def one(batch: list[int]) -> None:
            with torch.enable_grad():
                leaf = rows_of(vectors.detach(), batch).requires_grad_()
                results = run(batch, leaf)
                (slope,) = torch.autograd.grad(results, leaf, rows_of(slopes[0], batch))
            gradient.index_add_(0, torch.tensor(batch, device=gradient.device), slope)

        limit.each(len(vectors), plan, one)
        return gradient, None, None, None
