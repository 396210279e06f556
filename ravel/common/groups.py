"""Members put together by what they have in common, or thinned out evenly; what they are it does not know."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

__all__ = ["evenly_spread", "grouped"]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(members: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the members by their keys; keys and the members of each stand in the order they came in."""
    groups: dict[K, list[T]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return groups


def evenly_spread(members: Sequence[T], most: int) -> list[T]:
    """Return at most `most` of the members, in their order: from all over, not the first ones."""
    if len(members) <= most:
        return list(members)
    return [members[place * len(members) // most] for place in range(most)]
