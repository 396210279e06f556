"""Vectors side by side in a few large tensors, found again by what they belong to; it knows no model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from das.engine.base.cut_rows import CutRow

FIRST_SLOTS = 1024
"""Slots of a new pool where nobody says how many; it grows by halves."""


class StatePool:
    """Slots that hold one vector of each of several widths; slot 0 holds zeros. Vectors that are used
    together are gathered in one step by their slots, which is what many small tensors would not allow."""

    def __init__(
        self, widths: Sequence[int], dtype: torch.dtype, device: torch.device, slots: int = FIRST_SLOTS
    ) -> None:
        """`widths` are those of the columns; there is room for `slots` from the start."""
        self.columns = [torch.zeros(slots, width, dtype=dtype, device=device) for width in widths]
        """A tensor [slots, width] each."""
        self.widths = list(widths)
        """Lengths of the vectors."""
        self.slot_bytes = sum(widths) * dtype.itemsize
        """What one slot needs."""
        self.used = 1
        """Slots in use."""

    @property
    def bytes(self) -> int:
        """What the slots in use need."""
        return (self.used - 1) * self.slot_bytes

    def reserve(self, count: int) -> int:
        """Return the first of `count` new slots."""
        first = self.used
        self.used += count
        if self.columns and self.used > len(self.columns[0]):
            room = max(self.used, len(self.columns[0]) * 3 // 2)
            self.columns = [_grown(column, room) for column in self.columns]
        return first

    def run(self, first: int, count: int) -> Tensor:
        """Return the vectors of `count` slots, all columns side by side, [count, sum of widths]."""
        if not self.columns:
            # Above the last block there is nothing to keep.
            return torch.zeros(count, 0)
        return torch.cat([column[first : first + count] for column in self.columns], dim=1)

    def fill(self, first: int, vectors: Tensor) -> None:
        """Put vectors [count, sum of widths] into slots from `first` on."""
        end = 0
        for column, width in zip(self.columns, self.widths, strict=True):
            begin, end = end, end + width
            column[first : first + len(vectors)] = vectors[:, begin:end]

    def cut(self, used: int) -> None:
        """Give back all slots from `used` on."""
        self.used = used
        room = max(used, FIRST_SLOTS)
        if self.columns and len(self.columns[0]) > 2 * room:
            self.columns = [_grown(column[:used], room) for column in self.columns]


def _grown(column: Tensor, room: int) -> Tensor:
    # Tensors made under inference mode could never enter a training step later.
    with torch.inference_mode(False), torch.no_grad():
        larger = column.new_empty(room, column.shape[1])
        larger[: len(column)] = column
        return larger


class CutStates:
    """What rows leave behind at one cut: two pools, and where in them each key's run of slots begins."""

    def __init__(
        self,
        cut: tuple[int, bool],
        keys: Sequence[int],
        streams: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        slots: int = FIRST_SLOTS,
    ) -> None:
        """`keys` and `streams` are the widths of the two pools' columns; there is room for `slots` of keys
        from the start."""
        self.cut = cut
        """Where the rows are cut: a block, and whether after it rather than inside."""
        with torch.inference_mode(False):
            self.keys = StatePool(keys, dtype, device, slots)
            """Keys and values of tokens before a cut: two columns per block."""
            self.streams = StatePool(streams, dtype, device)
            """The residual stream from a cut on."""
        self.prefixes: dict[tuple[int, ...], int] = {}
        """First slot in `keys` by what stands before the cut."""
        self.suffixes: dict[CutRow, int] = {}
        """First slot in `streams` by row and cut."""
        self._mark = (1, 1, 0, 0)

    @property
    def bytes(self) -> int:
        """What is in use."""
        return self.keys.bytes + self.streams.bytes

    def add_prefix(self, key: tuple[int, ...], count: int) -> int:
        """Return the first of the new slots for a prefix."""
        self.prefixes[key] = first = self.keys.reserve(count)
        return first

    def add_suffix(self, key: CutRow, count: int) -> int:
        """Return the first of the new slots for a suffix."""
        self.suffixes[key] = first = self.streams.reserve(count)
        return first

    def added(self) -> tuple[list[tuple[int, ...]], list[CutRow]]:
        """Return the prefixes and suffixes that came since the last `keep`."""
        _, _, prefixes, suffixes = self._mark
        return list(self.prefixes)[prefixes:], list(self.suffixes)[suffixes:]

    def keep(self) -> None:
        """Keep all that is there, whatever `forget` does."""
        self._mark = (self.keys.used, self.streams.used, len(self.prefixes), len(self.suffixes))

    def forget(self) -> None:
        """Give back all that came since the last `keep`."""
        keys, streams, prefixes, suffixes = self._mark
        self.keys.cut(keys)
        self.streams.cut(streams)
        while len(self.prefixes) > prefixes:
            self.prefixes.popitem()
        while len(self.suffixes) > suffixes:
            self.suffixes.popitem()


class StateCache:
    """The states of several cuts within a limit of bytes. Those of the longest unused cut give way as a
    whole; of one that is too large alone, what came first stays, for that is found most often."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        """Upper bound of what is kept between calls."""
        self.overflowed = False
        """Whether something did not fit so far."""
        self._cuts: OrderedDict[Hashable, CutStates] = OrderedDict()

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return sum(states.bytes for states in self._cuts.values())

    def get(self, key: Hashable) -> CutStates | None:
        """Return the states of a cut, which is then the last used, or None."""
        states = self._cuts.get(key)
        if states is not None:
            self._cuts.move_to_end(key)
        return states

    def put(self, key: Hashable, states: CutStates) -> CutStates:
        """Take the states of a new cut."""
        self._cuts[key] = states
        return states

    def keep(self) -> None:
        """Keep all that is there of the last used cut."""
        if self._cuts:
            next(reversed(self._cuts.values())).keep()

    def crowded(self) -> CutStates | None:
        """Let older cuts go until the limit is met; return the last used one if it alone is too large."""
        while self.bytes > self.max_bytes and len(self._cuts) > 1:
            self._cuts.popitem(last=False)
        if not self._cuts or self.bytes <= self.max_bytes:
            return None
        self.overflowed = True
        return next(reversed(self._cuts.values()))

    def clear(self) -> None:
        """Forget everything."""
        self._cuts.clear()
