"""Files of torch.save, read without running what they hold; the only module that reads or writes them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ravel.common.errors import SuiteError
from ravel.common.io import read_bytes, read_json, write_bytes

_SHOWN = 6
"""Most names of a foreign file in one message."""


def names_of(names: Iterable[object]) -> str:
    """Return names from a foreign file as text for a message: a few, shortened, in ASCII."""
    texts = sorted(ascii(name)[:80] for name in names)
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more if texts else "nothing"


def unfit(expected: str, came: str, todo: str = "restore the file from where it comes from") -> SuiteError:
    """Return the error for a foreign file that is not as its tool writes it."""
    return SuiteError(expected=expected, came=came, todo=todo)


def read_torch_file(path: Path) -> Any:
    """Return the plain values and tensors of a file of torch.save, on the CPU, with `weights_only`: none of a
    file's code runs. Raises SuiteError for an absent or damaged file, or one that names any other class."""
    content = read_bytes(path)
    try:
        with warnings.catch_warnings():
            # Of protocols and storages of old files; what can't be read ends in the error below.
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # Whatever torch trips over in damaged bytes, be it in zip, pickle or storage, is the file's fault.
    except Exception as error:
        reason = ascii(" ".join(str(error).split()))[1:160] or "no reason given"
        raise SuiteError(
            expected=f"a file of torch.save at {path} that holds tensors and plain values only",
            came=f"{len(content)} bytes that are not ({type(error).__name__}: {reason})",
            todo="fetch it again; of a pickled module save its state_dict() instead, for reading the module "
            "would run its code",
        ) from None


def write_torch_file(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping of tensors and plain values as torch.save does, at once or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(value), buffer)
    write_bytes(path, buffer.getvalue())


def read_settings(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file. Raises SuiteError for anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise unfit(f"an object in {path}", f"a {type(value).__name__}")
    return value


def plain_state(value: Any, origin: Path) -> dict[str, Any]:
    """Return a state dict's entries. Raises SuiteError if it is none."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SuiteError(
            expected=f"a state dict, names with tensors, in {origin}",
            came=f"a {type(value).__name__}" + (" with other keys" if isinstance(value, Mapping) else ""),
            todo="name the file that holds the weights",
        )
    return dict(value)


def plain_tensor(
    state: Mapping[str, Any], name: str, origin: Path, *, shape: tuple[int | None, ...]
) -> Tensor:
    """Return an entry as a dense tensor of float64, detached; a None in `shape` stands for any length of at
    least 1. Raises SuiteError if it is absent, no dense real tensor, of another shape or not finite."""
    value = state.get(name)
    if not isinstance(value, Tensor):
        came = f"a {type(value).__name__}" if name in state else f"only {names_of(state)}"
        raise SuiteError(
            expected=f"a tensor {name!r} in {origin}", came=came, todo="name the file that holds the weights"
        )
    if len(value.shape) != len(shape) or any(
        have < 1 if want is None else have != want for have, want in zip(value.shape, shape, strict=True)
    ):
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise unfit(f"{name!r} of shape [{wanted}] in {origin}", f"the shape {list(value.shape)}")
    dense = _dense(value)
    if dense is None or not bool(torch.isfinite(dense).all()):
        came = "a tensor of another kind" if dense is None else "some that are infinite or not a number"
        raise unfit(f"finite real numbers in {name!r} of {origin}", came)
    return dense


def _dense(value: Tensor) -> Tensor | None:
    """Return a tensor's numbers in float64, or None where it has none of its own. A file of a few bytes may
    describe a tensor of any shape whose entries are all one number; it is not spread out."""
    if value.is_complex() or value.layout != torch.strided or value.device.type != "cpu":
        return None
    try:
        if value.untyped_storage().nbytes() < value.nbytes:
            return None
        return value.detach().double()
    except (RuntimeError, NotImplementedError):
        return None
