"""Named random streams from one seed: no global seeding, and no stream disturbs another."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["derive_seed", "numpy_stream", "python_stream", "sampled"]

T = TypeVar("T")


def derive_seed(seed: int, *names: str) -> int:
    """Return a 63-bit seed that depends on `seed` and on every name, equal on every machine."""
    text = "\x1f".join([str(seed), *names])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def python_stream(seed: int, *names: str) -> random.Random:
    """Return a `random.Random` of its own for this purpose."""
    return random.Random(derive_seed(seed, *names))


def numpy_stream(seed: int, *names: str) -> np.random.Generator:
    """Return a numpy generator of its own for this purpose."""
    return np.random.default_rng(derive_seed(seed, *names))


def sampled(population: Sequence[T], limit: int, seed: int, *names: str) -> list[T]:
    """Return at most `limit` of a population, in its order, drawn by a stream of its own for this purpose."""
    if len(population) <= limit:
        return list(population)
    chosen = python_stream(seed, *names).sample(range(len(population)), limit)
    return [population[index] for index in sorted(chosen)]
