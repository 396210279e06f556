"""A share between 0 and 1 beside what chance alone would give; it knows not of what it is a share."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Share"]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of something that lies in certain directions, with its level for directions without meaning."""

    share: float
    """From 0 to 1."""
    chance: float
    """What a random subspace of the same size has on average."""
    directions: int
    """How many directions the share is taken in."""
