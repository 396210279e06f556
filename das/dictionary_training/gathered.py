"""The states of a training, gathered once and kept a piece at a time; it knows no autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from das.dictionary_training.rows import TextRows
from das.dictionary_training.settings import TextSaeConfig
from das.dictionary_training.states import gather_states, pass_rows
from das.models.base import TargetModel
from das.sites import Site
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.io import canonical_json, make_folder, read_bytes, sha256_text, write_with

Told = Callable[[str, int, int], None]
"""Given a stage, how much of it is done, and all."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What settings of precision name."""
_PIECE_PASSES = 8
"""Passes of the model whose states are one file: what an interruption costs at most."""
_OF_TRAINING = {"architecture", "expansion", "k", "l0_penalty", "bandwidth", "first_threshold"}
_OF_TRAINING |= {"recovered_tokens", "products", "epochs", "batch_size", "learning_rate", "revivals"}
"""Settings that the states do not hang on."""


@dataclass(frozen=True, slots=True)
class GatheredStates:
    """States to train on and to measure on."""

    training: Tensor
    """[n, width]."""
    held_out: Tensor
    """Of other documents, [h, width]."""
    largest_norm: float
    """Norm beyond which states were left out."""
    beyond: float
    """Share of held-out states that were."""


def kept_states(
    target: TargetModel,
    site: Site,
    rows: TextRows,
    config: TextSaeConfig,
    *,
    folder: Path | None = None,
    told: Told = lambda stage, done, total: None,
) -> GatheredStates:
    """Return the states of a site over rows, from `folder` where an equal call left them there; else they are
    gathered, and left there a piece at a time, so that an interrupted call goes on from its last whole piece.
    A file that can't be read is made again."""
    settings = config.model_dump(mode="json", exclude=_OF_TRAINING)
    identity = [settings, target.fingerprint, str(site), rows.training, rows.held_out]
    take = partial(_taken, folder, sha256_text(canonical_json(identity))[:16])
    gather = partial(gather_states, target, site, dtype=DTYPES[config.precision])
    told_held_out = partial(told, "held-out tokens")
    held_out = take(
        "held-out", partial(gather, rows.held_out, most=config.held_out_tokens, told=told_held_out)
    )
    norms = held_out.float().norm(dim=1)
    bound = config.norm_factor * float(norms.median())
    gather = partial(gather, largest_norm=bound)
    training = _training_states(rows.training, config.tokens, held_out, gather, take, partial(told, "tokens"))
    within = held_out[norms <= bound]
    return GatheredStates(training, within, bound, 1.0 - len(within) / len(held_out))


def _training_states(
    rows: Sequence[tuple[int, ...]],
    most: int,
    like: Tensor,
    gather: Callable[..., Tensor],
    take: Callable[[str, Callable[[], Tensor]], Tensor],
    told: Callable[[int, int], None],
) -> Tensor:
    """Return at most `most` states of rows, [n, width] as `like`; besides them one piece is in memory."""
    length = len(rows[0])
    # Whole passes, so that pieces give the bits that one gathering would.
    size = _PIECE_PASSES * pass_rows(length)
    states, filled = like.new_empty(min(most, len(rows) * (length - 1)), like.shape[1]), 0
    for number, start in enumerate(range(0, len(rows), size)):
        some = rows[start : start + size]

        def counted(done: int, _: int, before: int = start) -> None:
            told(before * length + done, len(rows) * length)

        piece = take(f"{number:04d}", partial(gather, some, most=len(states) - filled, told=counted))
        states[filled : filled + len(piece)] = piece
        filled += len(piece)
        if filled == len(states):
            break
    return states[:filled]


def _taken(folder: Path | None, identity: str, name: str, make: Callable[[], Tensor]) -> Tensor:
    """Return states from their file in a folder, or make them and leave them there."""
    if folder is None:
        return make()
    path = folder / f"states-{identity}-{name}.safetensors"
    if (found := _read(path)) is not None:
        return found
    made = make()
    make_folder(folder)
    write_with(path, lambda part: save_file({"states": made}, part))
    return made


def _read(path: Path) -> Tensor | None:
    if not path.is_file():
        return None
    try:
        return parse_tensors(read_bytes(path))["states"]
    except (TensorFileError, KeyError, ValueError):
        return None
