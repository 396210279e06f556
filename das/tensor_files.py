"""Tensors read from the bytes of a safetensors file; it knows nothing of their names or what they mean."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

_UNREADABLE = (
    *(SafetensorError, ValueError, KeyError, TypeError, AttributeError),
    *(RuntimeError, OverflowError, MemoryError),
)
"""What safetensors and torch raise for headers with unknown dtypes, wrong offsets or impossible shapes."""


class TensorFileError(ValueError):
    """Bytes that are no safetensors file; the message says why."""


def parse_tensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors by name, views of `content`. Raises TensorFileError for damaged bytes."""
    try:
        tensors: dict[str, Tensor] = load(content)
    except _UNREADABLE as error:
        raise TensorFileError(" ".join(str(error).split()) or type(error).__name__) from None
    return tensors
