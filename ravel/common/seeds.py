"""Named random streams from one seed: no global seeding, and no stream disturbs another. And what is taken
of a population: some by lot, some from all over, all of it in groups."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def derive_seed(seed: int, *names: str) -> int:
    """Return a 63-bit seed that depends on `seed` and on every name, equal on every machine."""
    text = "\x1f".join([str(seed), *names])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def python_stream(seed: int, *names: str) -> random.Random:
    """Return a `random.Random` of its own for this purpose."""
    return random.Random(derive_seed(seed, *names))


def numpy_stream(seed: int, *names: str) -> np.random.Generator:
    """Return a numpy generator of its own for this purpose."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *names))


def sampled(population: Sequence[T], limit: int, seed: int, *names: str) -> list[T]:
    """Return at most `limit` of a population, in its order, drawn by a stream of its own for this purpose."""
    if len(population) <= limit:
        return list(population)
    chosen = python_stream(seed, *names).sample(range(len(population)), limit)
    return [population[index] for index in sorted(chosen)]


def evenly_spread(members: Sequence[T], most: int) -> list[T]:
    """Return at most `most` of the members, in their order: from all over, not the first ones."""
    if len(members) <= most:
        return list(members)
    return [members[place * len(members) // most] for place in range(most)]


def grouped(members: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the members by their keys; keys and the members of each stand in the order they came in."""
    groups: dict[K, list[T]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return groups
