"""What greedy continuations have come to, row by row, and which rows are done; no model is run here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

Settled = Callable[[int, tuple[int, ...]], bool]
"""Called with a row's place and all of its new token ids so far; True ends the row there."""


class NewTokens:
    """The new token ids of each row: up to the first end token, that included, to where `settled` says so, or
    to `most` of them."""

    def __init__(self, rows: int, ends: Collection[int], most: int, settled: Settled | None = None) -> None:
        """`ends` are the token ids that end a text."""
        self.most = most
        """New tokens of a row at most."""
        self.done: set[int] = set()
        """Places of the rows that are done."""
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        self._ends = ends
        self._settled = settled

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, row: int) -> tuple[int, ...]:
        """Return the new token ids of a row so far."""
        return tuple(self._ids[row])

    def add(self, row: int, token: int) -> bool:
        """Write a row's new token down; return whether the row goes on."""
        ids = self._ids[row]
        ids.append(token)
        goes_on = token not in self._ends and len(ids) < self.most
        if goes_on and (self._settled is None or not self._settled(row, tuple(ids))):
            return True
        self.done.add(row)
        return False

    def begin_again(self, rows: Iterable[int]) -> None:
        """Forget what was written of some rows."""
        for row in rows:
            self._ids[row].clear()
            self.done.discard(row)
