"""A bounded memory of source vectors by site and prompt; it knows nothing of how they were made."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor

from das.sites import Site, Stream


class SourceKey(NamedTuple):
    """What a vector depends on besides the model: a text and a place in it."""

    stream: Stream
    """The site's stream."""
    layer: int
    """The site's layer."""
    text: str
    """What the model read."""
    token: int
    """Index of the token."""
    head: int | None = None
    """The site's head."""

    @property
    def spot(self) -> Site:
        """The site but for its position, which `token` stands for."""
        return Site(layer=self.layer, stream=self.stream, head=self.head)


class VectorCache:
    """Keeps the most recently used vectors within a limit of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        """Upper bound of what is kept."""
        self._vectors: OrderedDict[SourceKey, Tensor] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, key: SourceKey) -> Tensor | None:
        """Return the vector [width], or None if it is not kept."""
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: SourceKey, vector: Tensor) -> None:
        """Keep a vector [width]; the longest unused ones give way."""
        old = self._vectors.pop(key, None)
        self._bytes += vector.nbytes - (0 if old is None else old.nbytes)
        self._vectors[key] = vector
        while self._bytes > self.max_bytes and self._vectors:
            _, dropped = self._vectors.popitem(last=False)
            self._bytes -= dropped.nbytes

    def clear(self) -> None:
        """Forget everything."""
        self._vectors.clear()
        self._bytes = 0
