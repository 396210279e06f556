"""What the config of a sae-lens autoencoder says, of sae-lens 6 or before; it knows no weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from das.featurizers.dictionary import ActivationKind
from das.sites import Stream
from ravel.common.errors import SuiteError

KINDS: dict[str, ActivationKind] = {"standard": "relu", "topk": "top_k", "jumprelu": "jump_relu"}
"""Architectures by sae-lens's names, with the suite's."""
HOOKS: dict[str, Stream] = {
    "hook_resid_post": "block_output",
    "hook_attn_out": "attention_output",
    "hook_mlp_out": "mlp_output",
}
"""TransformerLens's names of what a block writes, with the stream that is the same vector."""


@dataclass(frozen=True, slots=True)
class LensConfig:
    """What a config says, of sae-lens 6 or before."""

    origin: str
    """Where the config came from."""
    architecture: str
    """As sae-lens calls it."""
    d_in: int
    """Length of the vectors."""
    d_sae: int
    """Number of latents."""
    k: int | None
    """Latents kept per vector (topk)."""
    by_decoder_norm: bool
    """Whether pre-activations count in units of the decoder's rows (topk)."""
    centre_is_bias: bool
    """Whether the decoder's bias is taken from the input."""
    normalisation: str
    """What is done to vectors first; `none` for nothing."""
    reshaping: str
    """How several axes become one; `none` where vectors have one."""
    hook: str
    """TransformerLens's or Hugging Face's name of the place, `` if it is not stated."""
    head: int | None
    """The head, where it is of one."""
    model: str
    """The model's name, `` if it is not stated."""
    mean_free: bool | None
    """Whether it was trained on vectors without their mean over coordinates, as TransformerLens's option
    `center_writing_weights` makes them; None if the config does not say."""
    explained_variance: float | None
    """As those who made it measured it; None if it is not stated."""
    l0: float | None
    """Likewise, the mean number of latents that fire."""


def site_of_hook(hook: str) -> tuple[Stream, int] | None:
    """Return stream and layer of a hook's name, None if no stream of the suite is that vector.
    `blocks.L.hook_resid_pre` is the output of block L - 1; Hugging Face names of whole blocks count too."""
    match = re.fullmatch(r"blocks\.(\d{1,6})\.(\w+)", hook)
    if match is None:
        block = re.fullmatch(r"(?:\w+\.)*(?:layers|h)\.(\d{1,6})", hook)
        return None if block is None else ("block_output", int(block[1]))
    layer, name = int(match[1]), match[2]
    if name == "hook_resid_pre":
        return ("block_output", layer - 1) if layer else None
    return (HOOKS[name], layer) if name in HOOKS else None


def describe(config: Mapping[str, Any], origin: str) -> LensConfig:
    """Read a config; before sae-lens 6 all settings were flat and some had other names. Raises SuiteError
    where numbers are missing or of another kind."""
    flat = {**config, **_mapping(config, "metadata", origin)}
    function = flat.get("activation_fn") or flat.get("activation_fn_str") or "relu"
    arguments = _mapping(flat, "activation_fn_kwargs", origin)
    architecture = str(flat.get("architecture", "standard"))
    if "metadata" not in config and architecture == "standard" and function != "relu":
        architecture = str(function)
    hook = str(flat.get("hook_name") or flat.get("hook_point") or "")
    head = flat.get("hook_head_index", flat.get("hook_point_head_index"))
    try:
        return LensConfig(
            origin=origin,
            architecture=architecture,
            d_in=int(flat["d_in"]),
            d_sae=int(flat["d_sae"]),
            k=flat.get("k", arguments.get("k")),
            by_decoder_norm=bool(flat.get("rescale_acts_by_decoder_norm", False)),
            centre_is_bias=bool(flat.get("apply_b_dec_to_input", True)),
            normalisation=_normalisation(flat.get("normalize_activations")),
            reshaping=str(flat.get("reshape_activations") or "none"),
            hook=hook,
            head=head,
            model=str(flat.get("model_name") or ""),
            mean_free=_mean_free(flat, origin),
            explained_variance=_optional_number(flat.get("variance_explained")),
            l0=_optional_number(flat.get("l0")),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SuiteError(
            expected=f"the numbers d_in and d_sae in the config of {origin}, and numbers where others are",
            came=f"a config without ({type(error).__name__}: {error})",
            todo="name an autoencoder that sae-lens wrote",
        ) from None


def _mean_free(flat: Mapping[str, Any], origin: str) -> bool | None:
    if flat.get("model_from_pretrained_kwargs") is None:
        return None
    return bool(_mapping(flat, "model_from_pretrained_kwargs", origin).get("center_writing_weights"))


def _optional_number(value: Any) -> float | None:
    return None if value is None else float(value)


def _mapping(config: Mapping[str, Any], name: str, origin: str) -> Mapping[str, Any]:
    value = config.get(name) or {}
    if not isinstance(value, Mapping):
        raise SuiteError(
            expected=f"an object as {name!r} in the config of {origin}",
            came=repr(value),
            todo="name an autoencoder that sae-lens wrote",
        )
    return value


def _normalisation(value: object) -> str:
    if isinstance(value, bool):
        return "expected_average_only_in" if value else "none"
    return str(value or "none")


def check_form(config: LensConfig) -> None:
    """Raise SuiteError for an architecture or normalisation that a `Dictionary` can't express."""
    if config.architecture not in KINDS:
        raise SuiteError(
            expected=f"an autoencoder of architecture {', '.join(KINDS)} in {config.origin}",
            came=repr(config.architecture),
            todo="choose another autoencoder",
        )
    if config.architecture == "topk" and not (isinstance(config.k, int) and config.k >= 1):
        raise SuiteError(
            expected=f"a number k of at least 1 in the config of {config.origin}",
            came=repr(config.k),
            todo="add k to its cfg.json",
        )
    if config.normalisation != "none":
        raise SuiteError(
            expected=f"an autoencoder in {config.origin} that takes vectors as they are",
            came=f"normalize_activations {config.normalisation!r}",
            todo="fold it into the weights with sae-lens where it is one factor or one matrix; one that "
            "differs from vector to vector can't be undone latent by latent",
        )
