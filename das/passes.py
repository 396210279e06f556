"""What a fit asks of the model, counted, whatever the machine and whatever was kept from before; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BACK = 2
"""Passes that a way back through the model counts as, beside the way there."""


@dataclass(slots=True)
class PassCount:
    """A count. A pair or prompt counts once each time it is asked for, though its answer may be at hand."""

    forward: int = 0
    """Pairs and prompts that the model read."""
    back: int = 0
    """Those of them of which the gradient was wanted."""
    known: bool = True
    """False where a part was done by a version that did not count."""

    def add(self, other: PassCount) -> None:
        """Add another count."""
        self.forward += other.forward
        self.back += other.back
        self.known = self.known and other.known

    @property
    def passes(self) -> int:
        """Passes that this comes to: one, and `BACK` more with a gradient."""
        return self.forward + BACK * self.back


class PassCounter:
    """What one fit asks for: its own, and by key what it shares with other fits, whichever did that."""

    def __init__(self) -> None:
        self.own = PassCount()
        """What is no part of anything shared."""
        self.shared: dict[str, PassCount] = {}
        """What is."""
        self._apart: list[PassCount] = []

    def add(self, asked: PassCount) -> None:
        """Count what was asked for."""
        (self._apart[-1] if self._apart else self.own).add(asked)

    @contextmanager
    def sharing(self, key: str) -> Iterator[PassCount]:
        """Count what is asked for in the block under the key, in what is given, to which more may be added.
        What is shared inside something shared is a part of that."""
        self._apart.append(PassCount())
        try:
            yield self._apart[-1]
        finally:
            found = self._apart.pop()
            if self._apart:
                self.add(found)
            else:
                self.shared[key] = found
