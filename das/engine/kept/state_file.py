"""How states lie in one safetensors file; it knows no folder."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_DIGEST = hashlib.sha256().digest_size


def key_of(first_block: int, kind: str, tokens: Sequence[int], cut: int) -> str:
    """Return the key of what a row of token ids leaves behind, 64 hexadecimal digits; `cut` is the index of
    the first token from which the row runs on."""
    head = f"{first_block} {kind} {cut} {len(tokens)} ".encode()
    return hashlib.sha256(head + struct.pack(f"<{len(tokens)}q", *tokens)).hexdigest()


@dataclass(frozen=True, slots=True)
class StatePlace:
    """Where a state lies."""

    path: Path
    """The file."""
    group: int
    """Number of the tensor in it that holds states of this dtype and width."""
    start: int
    """First row of the state there."""
    end: int
    """Row after its last one."""
    checksum: int
    """CRC-32 of its bytes."""


def states_name(group: int) -> str:
    """Return the name of a group's states in a file."""
    return f"states.{group}"


def packed_states(states: Mapping[bytes, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file: per dtype and width the states, their keys, ends and checksums."""
    groups: dict[tuple[torch.dtype, int], list[bytes]] = {}
    for digest, state in states.items():
        groups.setdefault((state.dtype, state.shape[1]), []).append(digest)
    tensors: dict[str, Tensor] = {}
    for group, digests in enumerate(groups.values()):
        of_group = [states[digest].detach().cpu() for digest in digests]
        lengths = torch.tensor([len(state) for state in of_group])
        tensors[states_name(group)] = torch.cat(of_group)
        tensors[f"keys.{group}"] = torch.frombuffer(bytearray().join(digests), dtype=torch.uint8)
        tensors[f"ends.{group}"] = lengths.cumsum(0)
        tensors[f"checksums.{group}"] = torch.tensor([checksum_of(state) for state in of_group])
    return tensors


def places_in(path: Path, tensors: Mapping[str, Tensor]) -> Iterator[tuple[bytes, StatePlace]]:
    """Yield the key and the place of each state. Raises ValueError or KeyError for tables that do not fit."""
    for group in range(len(tensors) // 4):
        keys = tensors[f"keys.{group}"].numpy().tobytes()
        ends: list[int] = tensors[f"ends.{group}"].tolist()
        checksums: list[int] = tensors[f"checksums.{group}"].tolist()
        starts = [0, *ends][:-1]
        ordered = all(start <= end for start, end in zip(starts, ends, strict=True))
        if not ordered or ends[-1:] != [len(tensors[states_name(group)])] or len(keys) != _DIGEST * len(ends):
            raise ValueError("its table does not fit its states")
        for i, (start, end, checksum) in enumerate(zip(starts, ends, checksums, strict=True)):
            yield (
                keys[_DIGEST * i : _DIGEST * (i + 1)],
                StatePlace(path, group, start, end, checksum),
            )


def checksum_of(state: Tensor) -> int:
    """Return the CRC-32 of a state's bytes."""
    return zlib.crc32(state.contiguous().view(torch.uint8).numpy()) if state.numel() else 0
