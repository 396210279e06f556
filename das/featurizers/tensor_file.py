"""A safetensors file before its tensors are read: length, names, types and places as its header states."""

from __future__ import annotations

import math
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.strict_json import parse_json

MAX_HEADER_BYTES = 64 * 1024
"""A featurizer's header has a few hundred bytes."""
_LENGTH = 8
_ITEM = 4
"""Bytes of a float32, the only type that the suite writes."""


def check_tensor_file(content: bytes, *, origin: str) -> None:
    """Raise SuiteError unless the bytes are a safetensors file of float32 tensors that lie one after another.
    The header must be no longer than the file or `MAX_HEADER_BYTES`, its JSON must hold each name once, and
    the tensors' places must cover all that follows, without gap or overlap, each as its shape says."""
    if problem := _problem(content):
        raise SuiteError(
            expected=f"the complete safetensors file of float32 tensors at {origin}",
            came=problem,
            todo="copy both files again from the run, or fit again",
        )


def _problem(content: bytes) -> str | None:
    if len(content) < _LENGTH:
        return f"{len(content)} bytes, too few for the length of a header"
    length = int.from_bytes(content[:_LENGTH], "little")
    if length > MAX_HEADER_BYTES or length > len(content) - _LENGTH:
        return f"a header of {length} bytes in a file of {len(content)}"
    try:
        header = parse_json(content[_LENGTH : _LENGTH + length].decode("utf-8"))
    except ValueError as error:
        return f"a header that is no JSON ({str(error)[:200]})"
    if not isinstance(header, dict):
        return f"a header that is a {type(header).__name__}"
    return _misplaced(header, len(content) - _LENGTH - length)


def _misplaced(header: dict[str, Any], size: int) -> str | None:
    """Return what is wrong with the places of tensors in the `size` bytes after the header."""
    places: list[tuple[int, int]] = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            return f"the entry {name[:60]!r}, which is no tensor"
        if entry["dtype"] != "F32":
            return f"the tensor {name[:60]!r} of type {str(entry['dtype'])[:20]!r}"
        shape, place = entry["shape"], entry["data_offsets"]
        if not _are_counts(shape) or not _are_counts(place) or len(place) != 2:
            return f"a shape or place of {name[:60]!r} that is no list of whole numbers"
        if place[1] - place[0] != _ITEM * math.prod(shape):
            return f"{place[1] - place[0]} bytes for {name[:60]!r} of shape {shape[:8]}"
        places.append((place[0], place[1]))
    end = 0
    for start, stop in sorted(places):
        if start != end:
            return f"a {'gap' if start > end else 'tensor over another'} at byte {min(start, end)}"
        end = stop
    return None if end == size else f"{size} bytes of tensors where the header tells of {end}"


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values
    )
