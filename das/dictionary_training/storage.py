"""An autoencoder in sae-lens's layout, `cfg.json` and `sae_weights.safetensors`, which methods with a
dictionary read as `pretrained: lens:FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from das.dictionary_training.training import TextSae
from das.methods.dictionaries._lens_config import HOOKS, KINDS
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.common.io import write_bytes, write_json


def hook_of(site: Site) -> str:
    """Return TransformerLens's name of a site's stream and layer. Raises SuiteError for a head."""
    for name, stream in HOOKS.items():
        if stream == site.stream:
            return f"blocks.{site.layer}.{name}"
    raise SuiteError(
        expected=f"a site of a stream that sae-lens has a name for: {', '.join(HOOKS.values())}",
        came=str(site),
        todo="write for instance block_output.3",
    )


def save_lens(sae: TextSae, folder: Path, *, target: TargetModel, site: Site) -> None:
    """Write an autoencoder into `folder`; equal ones give equal bytes.

    What was measured on held-out text is in the config, so that a reader can hold its own states against it.
    Raises SuiteError as `hook_of`, for numbers that are not finite, and where the folder can't be written to.
    """
    config, dictionary = _config_of(sae, target, site), sae.dictionary
    tensors = {
        "W_enc": dictionary.encoder,
        "b_enc": dictionary.encoder_bias,
        "W_dec": dictionary.decoder,
        "b_dec": dictionary.decoder_bias,
        **({} if dictionary.threshold is None else {"threshold": dictionary.threshold}),
    }
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in plain.values()):
        raise SuiteError(
            expected="an autoencoder of finite numbers",
            came="others after training",
            todo="choose a lower learning_rate",
        )
    write_json(folder / "cfg.json", config)
    write_bytes(folder / "sae_weights.safetensors", save(plain))


def _config_of(sae: TextSae, target: TargetModel, site: Site) -> dict[str, Any]:
    """Return what `cfg.json` holds."""
    dictionary = sae.dictionary
    kind = next(name for name, own in KINDS.items() if own == dictionary.activation)
    return {
        "architecture": kind,
        "d_in": dictionary.width,
        "d_sae": dictionary.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **({"k": dictionary.k, "rescale_acts_by_decoder_norm": False} if kind == "topk" else {}),
        "metadata": {
            "model_name": target.name,
            "hook_name": hook_of(site),
            "model_from_pretrained_kwargs": {"center_writing_weights": False},
            "variance_explained": sae.metrics.explained_variance,
            "l0": sae.metrics.l0,
        },
    }
