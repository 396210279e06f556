"""Work that one processor thread does, so that its result is the same however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one processor thread within the block.

    For decompositions of small matrices: with more threads LAPACK adds up in another order, and they gain
    nothing there. A product of matrices needs no such care: threads share out its rows.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
