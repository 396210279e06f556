"""The order in which pairs come: shuffled batches with little padding; it knows lengths only."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_POOL = 16
"""Batches that are sorted by length together: enough to leave little padding, few enough to stay mixed."""


def batches(lengths: Sequence[int], batch_size: int, stream: random.Random) -> list[list[int]]:
    """Return the indices of pairs in shuffled batches, each index once, sizes as even as can be. Pairs are
    shuffled, sorted by `lengths` (tokens from the site on) within pools of a few batches, cut, and the
    batches shuffled again: little padding, yet mixed batches. No pair is dropped."""
    order = list(range(len(lengths)))
    stream.shuffle(order)
    pool = batch_size * _POOL
    pooled = [
        index
        for start in range(0, len(order), pool)
        for index in sorted(order[start : start + pool], key=lambda i: lengths[i])
    ]
    count = math.ceil(len(pooled) / batch_size)
    cut = [pooled[len(pooled) * i // count : len(pooled) * (i + 1) // count] for i in range(count)]
    stream.shuffle(cut)
    return cut
