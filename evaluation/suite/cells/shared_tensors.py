"""Tensors that the fits of several cells share, one file each in a run's `shared/`; it knows no method."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from das.passes import PassCount
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.io import read_bytes, write_bytes
from ravel.common.strict_json import JsonError, parse_json

_STATED = "tensors_sha256"
"""Under one name, for safetensors writes several in any order: the digest, then what `PassCount` counts."""


class SharedTensors:
    """Makes tensors once per key and reads them afterwards, in this run of the suite and in later ones.

    A file holds a digest of its tensors; one that is damaged is made anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Where the files lie; made at first need."""

    def get(
        self, key: str, make: Callable[[], dict[str, Tensor]], passes: PassCount | None = None
    ) -> dict[str, Tensor]:
        """Return the tensors of `key`, made by `make` if no whole file holds them, on the CPU.

        `passes` has, when `make` has ended, what that asked of the model; it is set to what making them asked
        where they were made before.
        """
        path, passes = self.folder / f"{key}.safetensors", passes or PassCount()
        found = _read(path, passes)
        if found is not None:
            return found
        made = {name: t.detach().cpu().contiguous() for name, t in sorted(make().items())}
        content = save(made, metadata={_STATED: " ".join([_digest(made), *_passes_to(passes)])})
        write_bytes(path, content)
        # Read back, so that the first fit sees the very bytes that the later ones will.
        return _owned(parse_tensors(content))


def _read(path: Path, passes: PassCount) -> dict[str, Tensor] | None:
    """Return the tensors of a whole file, and set `passes` to what it says; None for no file or another."""
    if not path.is_file():
        return None
    try:
        content = read_bytes(path)
        tensors, (digest, *counts) = _owned(parse_tensors(content)), _stated(content)
    except (TensorFileError, JsonError):
        return None
    # A file of an earlier version has no digest, and is made again as well: nobody knows whether it is whole.
    if digest != _digest(tensors):
        return None
    passes.add(_passes_from(counts))
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stated(content: bytes) -> list[str]:
    length = int.from_bytes(content[:8], "little")
    metadata = parse_json(content[8 : 8 + length].decode("utf-8")).get("__metadata__") or {}
    return str(metadata.get(_STATED, "")).split(" ")


def _passes_to(passes: PassCount) -> list[str]:
    return [str(passes.forward), str(passes.back)] if passes.known else []


def _passes_from(counts: Sequence[str]) -> PassCount:
    """Return what a file says; a file of an earlier version does not."""
    if len(counts) != 2 or not all(map(str.isdecimal, counts)):
        return PassCount(known=False)
    return PassCount(int(counts[0]), int(counts[1]))


def _owned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # A copy is aligned as any other tensor, so that no kernel rounds differently for where the file put it.
    return {name: tensor.clone() for name, tensor in tensors.items()}
