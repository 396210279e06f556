"""Every byte of a model's weights as one hash, kept beside the folder."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from das.models import kept

_SAMPLES = 64
"""Values of each tensor that entered the fingerprint of earlier releases, evenly spaced."""
_THREADS = 8
"""Tensors hashed at once at most; hashing leaves Python's lock free."""


def kept_hash(model: nn.Module, folder: Path | None) -> str:
    """Return `all_bytes_hash` of a model; for one loaded from `folder` it is kept there, by the sizes and
    times of the files, but not beside an adapter that may name weights elsewhere."""
    if folder is None or (folder / "adapter_config.json").is_file():
        return all_bytes_hash(model)
    key = {
        "what": "all bytes of the weights",
        "files": kept.files_of(folder),
        "dtypes": sorted({str(parameter.dtype) for parameter in model.parameters()}),
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "versions": [torch.__version__, transformers.__version__],
    }
    known = kept.read(folder, key)
    if isinstance(known, str):
        return known
    found = all_bytes_hash(model)
    kept.write(folder, key, found)
    return found


def all_bytes_hash(model: nn.Module) -> str:
    """Return a SHA-256 over name, shape, dtype and every byte of every tensor of a model's state, also of
    those that accelerate keeps elsewhere. Tensors are read where they lie; on another device, by copies."""
    stored = sorted(model.state_dict().items())
    digests: dict[Any, str] = {}

    def digest(item: tuple[str, Any]) -> str:
        name, value = item
        if not isinstance(value, Tensor):
            return f"{name} {value!r}"
        key = _place(value)
        # Tied weights stand in the state under two names.
        found = digests.get(key) if key is not None else None
        if found is None:
            found = _digest(_real(model, name) if value.is_meta else value)
            if key is not None:
                digests[key] = found
        return f"{name} {found}"

    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1)) as pool:
        lines = list(pool.map(digest, stored))
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def update_with_samples(digest: Any, model: nn.Module) -> None:
    """Feed a hash with the evenly spaced values of each tensor that earlier releases knew a model by."""
    for name, stored in sorted(model.state_dict().items()):
        tensor = _real(model, name) if stored.is_meta else stored
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(_sample(tensor))


def _place(tensor: Tensor) -> Any:
    """Return what two views of the same values have in common, or None where that can't be told."""
    if tensor.is_meta or type(tensor) not in (Tensor, nn.Parameter):
        return None
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _digest(tensor: Tensor) -> str:
    said = f"{tuple(tensor.shape)} {tensor.dtype}"
    if hasattr(tensor, "__tensor_flatten__"):
        # A quantised tensor made of several plain ones.
        names, context = tensor.__tensor_flatten__()
        inner = " ".join(f"{name} {_digest(getattr(tensor, name))}" for name in names)
        return f"{said} ({inner}) {context!r}"
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return f"{said} {hashlib.sha256(content).hexdigest()}"


def _real(model: nn.Module, name: str) -> Tensor:
    """Return a tensor that accelerate keeps elsewhere between passes."""
    owner, _, own_name = name.rpartition(".")
    hook: Any = model.get_submodule(owner)._hf_hook
    tensor: Tensor = hook.weights_map[own_name]
    return tensor


def _sample(tensor: Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    count = min(_SAMPLES, flat.numel())
    if count == 0:
        return b""
    # Integer arithmetic, since evenly spaced floats would round differently for large tensors.
    picks = torch.arange(count, device=flat.device) * (flat.numel() - 1) // max(count - 1, 1)
    return flat[picks].cpu().contiguous().view(torch.uint8).numpy().tobytes()
