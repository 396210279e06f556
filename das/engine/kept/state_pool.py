"""Vectors side by side in a few large tensors, found again by what they belong to; it knows no model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from das.engine.running.layout import Row

__all__ = ["Arena", "Book", "BookShelf"]

_FIRST_SLOTS = 1024
"""Slots of a new arena; it grows by halves."""


class Arena:
    """Slots that hold one vector of each of several widths; slot 0 holds zeros.

    Vectors that are used together are gathered in one step by their slots, which is what many small tensors
    would not allow.
    """

    def __init__(self, widths: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        """`widths` are those of the columns."""
        self.columns = [torch.zeros(_FIRST_SLOTS, width, dtype=dtype, device=device) for width in widths]
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
        room = max(used, _FIRST_SLOTS)
        if self.columns and len(self.columns[0]) > 2 * room:
            self.columns = [_grown(column[:used], room) for column in self.columns]


def _grown(column: Tensor, room: int) -> Tensor:
    # Tensors made under inference mode could never enter a training step later.
    with torch.inference_mode(False), torch.no_grad():
        larger = column.new_empty(room, column.shape[1])
        larger[: len(column)] = column
        return larger


class Book:
    """Two arenas, and where in them each key's run of slots begins."""

    def __init__(
        self,
        cut: tuple[int, bool],
        keys: Sequence[int],
        streams: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`keys` and `streams` are the widths of the two arenas' columns."""
        self.cut = cut
        """Where the rows are cut: a block, and whether after it rather than inside."""
        with torch.inference_mode(False):
            self.keys = Arena(keys, dtype, device)
            """Keys and values of tokens before a cut: two columns per block."""
            self.streams = Arena(streams, dtype, device)
            """The residual stream from a cut on."""
        self.prefixes: dict[tuple[int, ...], int] = {}
        """First slot in `keys` by what stands before the cut."""
        self.suffixes: dict[Row, int] = {}
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

    def add_suffix(self, key: Row, count: int) -> int:
        """Return the first of the new slots for a suffix."""
        self.suffixes[key] = first = self.streams.reserve(count)
        return first

    def added(self) -> tuple[list[tuple[int, ...]], list[Row]]:
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


class BookShelf:
    """Books within a limit of bytes. The longest unused book gives way as a whole; a book that alone is too
    large keeps what came first, for in repeated passes over the same rows that is found most often."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        """Upper bound of what is kept between calls."""
        self.overflowed = False
        """Whether something did not fit so far."""
        self._books: OrderedDict[Hashable, Book] = OrderedDict()

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return sum(book.bytes for book in self._books.values())

    def get(self, key: Hashable) -> Book | None:
        """Return a book, which is then the last used, or None."""
        book = self._books.get(key)
        if book is not None:
            self._books.move_to_end(key)
        return book

    def put(self, key: Hashable, book: Book) -> Book:
        """Take a new book."""
        self._books[key] = book
        return book

    def keep(self) -> None:
        """Keep all that is there in the last used book."""
        if self._books:
            next(reversed(self._books.values())).keep()

    def drop(self) -> None:
        """Forget what came since the last `keep` in the last used book."""
        if self._books:
            next(reversed(self._books.values())).forget()

    def crowded(self) -> Book | None:
        """Let older books go until the limit is met; return the last used one if it alone is too large."""
        while self.bytes > self.max_bytes and len(self._books) > 1:
            self._books.popitem(last=False)
        if not self._books or self.bytes <= self.max_bytes:
            return None
        self.overflowed = True
        return next(reversed(self._books.values()))

    def clear(self) -> None:
        """Forget everything."""
        self._books.clear()
