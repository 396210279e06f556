"""What a GGUF file says of itself, and whether all of it is there; no weight is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.integrations.gguf import read_gguf_metadata

from ravel.common.errors import SuiteError

ROTARY_FACTORS = "rope_freqs.weight"
"""The tensor by whose values rotary frequencies are divided, one for each pair of coordinates."""
_MAGIC = b"GGUF"
_FLOATS = {"F16", "F32", "BF16", "F64"}
"""Types of tensors that are not quantised."""


@dataclass(frozen=True, slots=True)
class GgufHead:
    """The metadata of a GGUF file."""

    path: Path
    """The file."""
    architecture: str
    """As llama.cpp names it: `llama`, `gemma3`."""
    metadata: Mapping[str, Any]
    """Every value that is not a list, by llama.cpp's key."""
    types: Mapping[str, int]
    """How many tensors have which type."""
    tensors: Mapping[str, int]
    """How many values each tensor has, by llama.cpp's name."""
    rotary_factors: tuple[float, ...] = ()
    """Values of the tensor `ROTARY_FACTORS`, where there is one."""

    @property
    def values(self) -> int:
        """Values of all weights together."""
        return sum(count for name, count in self.tensors.items() if name != ROTARY_FACTORS)

    @property
    def quantisation(self) -> Mapping[str, int]:
        """The types, if any of them is quantised; else nothing."""
        return self.types if set(self.types) - _FLOATS else {}

    @property
    def licence(self) -> str:
        """The licence that the file states."""
        return str(self.metadata.get("general.license") or "not stated in the file")


def is_gguf(path: Path) -> bool:
    """Tell whether a file is meant as a GGUF file: by its name or its first bytes."""
    if path.suffix.lower() == ".gguf":
        return path.is_file()
    try:
        with path.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_head(path: Path) -> GgufHead:
    """Return what a GGUF file says of itself; every tensor it lists is in it.

    Raises SuiteError without the package gguf, for a file that is none, and for one that is cut off or
    damaged.
    """
    if find_spec("gguf") is None:
        raise SuiteError(
            expected=f"the package gguf, to read {path.name}",
            came="a Python environment without it",
            todo="install ravel-bench[gguf], or the package gguf alone",
        )
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    if magic != _MAGIC:
        raise _unreadable(path, f"a file that begins with {magic!r}")
    return _read(path)


def _read(path: Path) -> GgufHead:
    # Imported here, for it is an optional extra.
    from gguf import GGUFReader, GGUFValueType

    try:
        # First, for it stops where a damaged count leads beyond the file's end, and the other would go on.
        read_gguf_metadata(str(path))
        reader = GGUFReader(path)
        metadata = {
            key: field.contents()
            for key, field in reader.fields.items()
            if field.types and field.types[0] != GGUFValueType.ARRAY
        }
        return GgufHead(
            path=path,
            architecture=str(metadata["general.architecture"]),
            metadata=metadata,
            types=dict(sorted(Counter(tensor.tensor_type.name for tensor in reader.tensors).items())),
            tensors={tensor.name: int(tensor.n_elements) for tensor in reader.tensors},
            rotary_factors=tuple(
                float(value) for one in reader.tensors if one.name == ROTARY_FACTORS for value in one.data
            ),
        )
    except Exception as error:  # noqa: BLE001, RUF100 - what is cut off fails in as many ways as there are fields
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise _unreadable(path, f"one that ends too early or is damaged ({said})") from None


def unread(head: GgufHead, error: Exception) -> SuiteError:
    """Build the error for a whole file that transformers can't read."""
    said = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
    return SuiteError(
        expected=f"a GGUF file of a causal language model that transformers can read at {head.path}",
        came=f"architecture {head.architecture!r}: {said}",
        todo="take the model's own folder or hub id (config.json, tokenizer.json, safetensors) instead",
    )


def _unreadable(path: Path, came: str) -> SuiteError:
    return SuiteError(
        expected=f"a whole GGUF file at {path}",
        came=came,
        todo="bring it again, and compare its size and SHA-256 with those of where it comes from",
    )
