"""Keys and values of rows that grow, in memory that is used again; no model is run here."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class BufferPool:
    """Memory that is used again: fresh pages cost more than what is written to them."""

    def __init__(self) -> None:
        self._free: dict[torch.dtype, list[Tensor]] = {}

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """Return room of that shape with any content, of the dtype and on the device of `like`."""
        size = math.prod(shape)
        free = self._free.setdefault(like.dtype, [])
        fitting = [buffer for buffer in free if buffer.numel() >= size]
        if fitting:
            buffer = min(fitting, key=Tensor.numel)
            free[:] = [other for other in free if other is not buffer]
        else:
            buffer = like.new_empty(_rounded(size))
        return buffer[:size].view(shape)

    def give(self, room: Tensor) -> None:
        """Take room back; nobody may read or write it any more."""
        whole = room.new_empty(0).set_(room.untyped_storage())
        self._free.setdefault(room.dtype, []).append(whole)

    def trim(self, most: int) -> None:
        """Let go of everything, if it is more than `most` bytes."""
        free = [buffer for of_dtype in self._free.values() for buffer in of_dtype]
        if sum(buffer.nbytes for buffer in free) > most:
            self._free.clear()


def _rounded(size: int) -> int:
    """Round up by less than a quarter, so that later requests of about that size fit."""
    step = 1 << max(0, (size - 1).bit_length())
    return -(-size // step) * step


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values with room for more tokens, so that growing copies nothing. A token's heads
    lie side by side in memory, [rows, room, heads, width]: rows and tokens are copied whole."""

    def __init__(self, room: int, buffers: BufferPool) -> None:
        super().__init__()
        self._buffers = buffers
        self.room = room
        self.length = 0
        self.is_initialized = True

    def get_seq_length(self, *args: Any) -> int:
        """Return how many tokens are kept, padding included."""
        return self.length

    def start(self, rows: int, keys: Tensor, values: Tensor) -> None:
        """Make room for that many rows with heads and widths as in `keys`, `values` [.., heads, width]."""
        self.keys = self._buffers.take(keys, rows, self.room, *keys.shape[-2:])
        self.values = self._buffers.take(values, rows, self.room, *values.shape[-2:])

    def release(self) -> None:
        """Give the memory back; nothing of it may be read any more."""
        if self.keys is not None and self.values is not None:
            self._buffers.give(self.keys)
            self._buffers.give(self.values)
        self.keys = self.values = None  # type: ignore[assignment]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Keep the new keys and values; return all, [rows, heads, tokens, width]."""
        keys, values = key_states.transpose(1, 2), value_states.transpose(1, 2)
        end = self.length + keys.shape[1]
        if self.keys is None or self.values is None:
            self.room = max(self.room, end)
            self.start(len(keys), keys, values)
        elif end > self.room:
            self._grow(end)
        self.keys[:, self.length : end] = keys
        self.values[:, self.length : end] = values
        self.length = end
        return self.keys[:, :end].transpose(1, 2), self.values[:, :end].transpose(1, 2)

    def _grow(self, end: int) -> None:
        old = (self.keys, self.values)
        self.room = max(end, self.room + self.room // 2)
        self.start(len(old[0]), *old)
        for new, kept in zip((self.keys, self.values), old, strict=True):
            new[:, : self.length] = kept[:, : self.length]
            self._buffers.give(kept)


def put_before(room: Tensor, end: int, kept: Tensor) -> None:
    """Put keys or values [.., tokens, heads, width] before column `end` of `room`, and zeros before them."""
    start = end - kept.shape[-3]
    room[:, :start] = 0
    room[:, start:end] = kept
