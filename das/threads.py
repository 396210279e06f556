"""How many processor threads torch uses within a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

__all__ = ["one_thread", "using_threads"]


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
