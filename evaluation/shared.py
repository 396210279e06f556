"""Tensors that the fits of several cells share, one file each in a run's `shared/`; it knows no method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ravel.common.io import write_bytes

__all__ = ["SharedTensors"]


class SharedTensors:
    """Makes tensors once per key and reads them afterwards, in this run of the suite and in later ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Where the files lie; made at first need."""

    def get(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the tensors of `key`, made by `make` if no whole file holds them, on the CPU."""
        path = self.folder / f"{key}.safetensors"
        found = _read(path)
        if found is not None:
            return found
        content = save({name: t.detach().cpu().contiguous() for name, t in sorted(make().items())})
        write_bytes(path, content)
        # Read back, so that the first fit sees the very bytes that the later ones will.
        return _owned(load(content))


def _read(path: Path) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    try:
        return _owned(load(path.read_bytes()))
    except SafetensorError:
        return None


def _owned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # A copy is aligned as any other tensor, so that no kernel rounds differently for where the file put it.
    return {name: tensor.clone() for name, tensor in tensors.items()}
