"""What was learned, on disk: `reft.safetensors` and `reft.json`; how it was trained is not known here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from das.positions import Positions
from das.reft.forms import LowRankChange
from das.reft.lora import LoraTerm
from das.reft.settings import LORA
from das.reft.tuned import Tuned, TunedProjections, TunedStates
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.errors import SuiteError
from ravel.common.io import read_bytes, read_json, write_bytes, write_json
from ravel.common.typed import Record

_TENSORS = "reft.safetensors"
HEADER = "reft.json"
_OF_CHANGE = ("writer", "offset", "source")
_OF_TERM = ("down", "up")


@dataclass(frozen=True, slots=True)
class TunedHeader(Record):
    """What a folder says of what was learned."""

    SCHEMA = 1
    kind: str
    """A form of ReFT, or lora."""
    positions: str
    """Tokens that are edited; empty for lora."""
    scale: float
    """For lora alpha / rank; else 1."""
    model: str
    """The target model's name as the user gave it."""
    target_fingerprint: str
    """The target model's fingerprint."""
    tensors_sha256: str
    """Hash of the tensors' file."""
    schema_version: int = 1
    """Version of this file's form."""


def save_tuned(tuned: Tuned, folder: Path, *, model: str, fingerprint: str) -> None:
    """Write the two files into `folder`; equal changes give equal bytes. Raises SuiteError where a number is
    not finite, and where the folder can't be written to."""
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in sorted(_tensors_of(tuned).items())
    }
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise SuiteError(
                expected=f"finite numbers in {name!r} of what was learned",
                came="some that are infinite or not a number",
                todo="fit again with a smaller --learning-rate",
            )
    content = save(tensors)
    header = TunedHeader(
        kind=_kind_of(tuned),
        positions=str(tuned.positions) if isinstance(tuned, TunedStates) else "",
        scale=_scale_of(tuned),
        model=model,
        target_fingerprint=fingerprint,
        tensors_sha256=hashlib.sha256(content).hexdigest(),
    )
    write_bytes(folder / _TENSORS, content)
    write_json(folder / HEADER, header.to_json())


def load_tuned(folder: Path) -> tuple[Tuned, TunedHeader]:
    """Read what `save_tuned` wrote, on the CPU. Raises SuiteError for absent or damaged files, and
    tensors that do not fit together."""
    header = TunedHeader.from_json(read_json(folder / HEADER), origin=str(folder / HEADER))
    path = folder / _TENSORS
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != header.tensors_sha256:
        raise _damaged(path, "other bytes than its header's hash says")
    try:
        tensors = {name: value.clone() for name, value in parse_tensors(content).items()}
        return _built(header, tensors), header
    except (TensorFileError, KeyError, ValueError) as error:
        raise _damaged(path, f"tensors that do not fit ({error})") from None


def _tensors_of(tuned: Tuned) -> dict[str, Tensor]:
    if isinstance(tuned, TunedStates):
        return {
            f"{layer}.{group}.{name}": tensor
            for layer, group, change in tuned.parts()
            for name in _OF_CHANGE
            if (tensor := getattr(change, name)) is not None
        }
    assert isinstance(tuned, TunedProjections)
    return {f"{path}.{name}": getattr(term, name) for path, term in tuned.parts() for name in _OF_TERM}


def _kind_of(tuned: Tuned) -> str:
    if isinstance(tuned, TunedStates):
        return next(change.form for _, _, change in tuned.parts())
    return LORA


def _scale_of(tuned: Tuned) -> float:
    if isinstance(tuned, TunedProjections):
        return next(term.scale for _, term in tuned.parts())
    return 1.0


def _built(header: TunedHeader, tensors: Mapping[str, Tensor]) -> Tuned:
    parts = sorted({name.rpartition(".")[0] for name in tensors}, key=_in_order)
    if not parts:
        raise ValueError("none")
    if header.kind == LORA:
        return TunedProjections(
            {path: LoraTerm(tensors[f"{path}.down"], tensors[f"{path}.up"], header.scale) for path in parts}
        )
    changes: dict[int, list[LowRankChange]] = {}
    for part in parts:
        change = LowRankChange(
            header.kind, tensors[f"{part}.writer"], tensors[f"{part}.offset"], tensors.get(f"{part}.source")
        )
        changes.setdefault(int(part.partition(".")[0]), []).append(change)
    return TunedStates(Positions.parse(header.positions), changes)


def _in_order(path: str) -> list[tuple[int, str]]:
    """Return what puts layer 10 after layer 2."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in path.split(".")]


def _damaged(path: Path, came: Any) -> SuiteError:
    return SuiteError(
        expected=f"the whole file that ravel reft wrote at {path}",
        came=str(came),
        todo="copy both files again, or fit again",
    )
