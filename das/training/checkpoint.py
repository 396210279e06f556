"""A running fit on disk, one checkpoint at a time, no pickle; it knows tensors and counters only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, optim

from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.errors import SuiteError
from ravel.common.io import read_bytes, read_json, remove_file, sha256_file, write_bytes, write_json

_HEADER = "checkpoint.json"
_WEIGHTS = "checkpoint-{number:04d}.safetensors"
_ALL_WEIGHTS = "checkpoint-*.safetensors"
_WEIGHTS_NAME = re.compile(r"checkpoint-\d{4,9}\.safetensors")


def write_checkpoint(
    folder: Path, *, identity: str, number: int, tensors: dict[str, Tensor], progress: dict[str, Any]
) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one, whole: the header,
    which names the weights file, comes last. `number` must not be that of the checkpoint before."""
    weights = folder / _WEIGHTS.format(number=number)
    write_bytes(weights, save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))
    header = {
        "identity": identity,
        "weights": weights.name,
        "sha256": sha256_file(weights),
        "progress": progress,
    }
    write_json(folder / _HEADER, header)
    for old in folder.glob(_ALL_WEIGHTS):
        if old.name != weights.name:
            remove_file(old)


def read_checkpoint(folder: Path, *, identity: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return (tensors, progress) of the checkpoint in `folder`, or None if there is none. Raises SuiteError
    if it belongs to another fit or is damaged."""
    if not (folder / _HEADER).exists():
        return None
    header = read_json(folder / _HEADER)
    if not isinstance(header, dict) or header.keys() != {"identity", "weights", "sha256", "progress"}:
        raise unusable_checkpoint(folder, "a header that this version did not write")
    if header["identity"] != identity:
        raise unusable_checkpoint(
            folder, "the checkpoint of another fit (other settings, seed, data or model)"
        )
    name, progress = header["weights"], header["progress"]
    if not isinstance(name, str) or not _WEIGHTS_NAME.fullmatch(name) or not isinstance(progress, dict):
        raise unusable_checkpoint(folder, "a header that this version did not write")
    weights = folder / name
    if not weights.is_file() or sha256_file(weights) != header["sha256"]:
        raise unusable_checkpoint(folder, f"a {name} that is absent or damaged")
    try:
        return parse_tensors(read_bytes(weights)), progress
    except TensorFileError:
        raise unusable_checkpoint(folder, f"a {name} that is not a safetensors file") from None


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names `<prefix>.<name>`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def take_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `with_prefix` put under `prefix`, under their own names."""
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def optimiser_tensors(optimiser: optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state as tensors named `<parameter index>.<key>`, without hyper-parameters."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned; hyper-parameters stay those of `optimiser`. Raises
    ValueError for tensors of other parameters than the optimiser's."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        place = int(index)
        if not 0 <= place < len(parameters) or value.shape not in ((), parameters[place].shape):
            raise ValueError(f"{name} of shape {list(value.shape)} belongs to no parameter")
        state.setdefault(place, {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def unusable_checkpoint(folder: Path, came: str) -> SuiteError:
    """Return the error for a checkpoint that can't be gone on from."""
    return SuiteError(
        expected=f"in {folder} a checkpoint of this very fit",
        came=came,
        todo=f"remove {folder / _HEADER} to start this fit anew, or choose another folder",
    )
