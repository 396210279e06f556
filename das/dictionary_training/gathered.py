"""The states of a training, gathered once and kept until it is finished; it knows no autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from das.dictionary_training.rows import TextRows
from das.dictionary_training.settings import TextSaeConfig
from das.dictionary_training.states import gather_states
from das.models.base import TargetModel
from das.sites import Site
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.io import canonical_json, make_folder, read_bytes, sha256_text, write_with

Told = Callable[[str, int, int], None]
"""Given a stage, how much of it is done, and all."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_OF_TRAINING = {"architecture", "expansion", "k", "l0_penalty", "bandwidth", "first_threshold"}
_OF_TRAINING |= {"recovered_tokens", "epochs", "batch_size", "learning_rate", "revivals"}
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
    gathered, and left there. A file that can't be read is made again."""
    if folder is None:
        return _gathered(target, site, rows, config, told)
    settings = config.model_dump(mode="json", exclude=_OF_TRAINING)
    identity = [settings, target.fingerprint, str(site), rows.training, rows.held_out]
    path = folder / f"states-{sha256_text(canonical_json(identity))[:16]}.safetensors"
    if (found := _read(path)) is not None:
        return found
    states = _gathered(target, site, rows, config, told)
    numbers = torch.tensor([states.largest_norm, states.beyond], dtype=torch.float64)
    tensors = {"training": states.training, "held_out": states.held_out, "numbers": numbers}
    make_folder(folder)
    write_with(path, lambda part: save_file(tensors, part))
    return states


def _gathered(
    target: TargetModel, site: Site, rows: TextRows, config: TextSaeConfig, told: Told
) -> GatheredStates:
    gathered = partial(gather_states, target, site, dtype=_DTYPES[config.precision])
    held_out = gathered(rows.held_out, most=config.held_out_tokens, told=partial(told, "held-out tokens"))
    norms = held_out.float().norm(dim=1)
    bound = config.norm_factor * float(norms.median())
    training = gathered(rows.training, most=config.tokens, largest_norm=bound, told=partial(told, "tokens"))
    within = held_out[norms <= bound]
    return GatheredStates(training, within, bound, 1.0 - len(within) / len(held_out))


def _read(path: Path) -> GatheredStates | None:
    if not path.is_file():
        return None
    try:
        tensors = parse_tensors(read_bytes(path))
        bound, beyond = tensors["numbers"].tolist()
        return GatheredStates(tensors["training"], tensors["held_out"], bound, beyond)
    except (TensorFileError, KeyError, ValueError):
        return None
