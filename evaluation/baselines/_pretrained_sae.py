"""Pretrained sparse autoencoders in the form of the package sae-lens, as dictionaries of the suite.

It knows files, names of hooks and sites; not what a dictionary is used for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from das.featurizers.dictionary import Activation, ActivationKind, Dictionary
from das.methods.base import NotApplicableError
from das.models.base import TargetModel
from das.sites import Site, Stream
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.errors import SuiteError
from ravel.common.io import read_bytes, read_json

__all__ = ["HOOKS", "dictionary_of", "latents_of_pretrained", "load_pretrained", "site_of_hook"]

_CONFIG = "cfg.json"
_WEIGHTS = "sae_weights.safetensors"
_INSTALL = "install it with `pip install 'ravel-bench[sae]'`, or name a local folder with cfg.json"
_KINDS: dict[str, ActivationKind] = {"standard": "relu", "topk": "top_k", "jumprelu": "jump_relu"}
"""Architectures by sae-lens's names, with the suite's."""
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
_SAME_MODEL = {"gpt2-small": "gpt2", "pythia-70m-v0": "pythia-70m"}
"""TransformerLens's names of models that the hub calls otherwise."""
_NORM_AFTER = ("gemma2", "gemma3", "olmo2")
"""Families with a norm between a module's output and the stream: there TransformerLens's `hook_attn_out` and
`hook_mlp_out` come after the norm, the suite's streams before it."""

HOOKS: dict[str, Stream] = {
    "hook_resid_post": "block_output",
    "hook_attn_out": "attention_output",
    "hook_mlp_out": "mlp_output",
}
"""TransformerLens's names of what a block writes, with the stream that is the same vector."""


@dataclass(frozen=True, slots=True)
class _Described:
    """What a config says, of sae-lens 6 or before."""

    origin: str
    architecture: str
    d_in: int
    d_sae: int
    k: int | None
    by_decoder_norm: bool
    """Whether pre-activations count in units of the decoder's rows (topk)."""
    centre_is_bias: bool
    """Whether the decoder's bias is taken from the input."""
    normalisation: str
    reshaping: str
    hook: str
    head: int | None
    model: str
    mean_free: bool
    """Whether it was trained on vectors without their mean over coordinates, as TransformerLens's option
    `center_writing_weights` makes them."""


def load_pretrained(
    setting: str, site: Site, target: TargetModel, *, other_model: bool = False
) -> Dictionary:
    """Return the dictionary that `lens:FOLDER` or `lens:RELEASE/SAE_ID` names, with nothing chosen.

    A folder holds `cfg.json` and `sae_weights.safetensors` and is read without sae-lens; anything else is
    loaded by sae-lens from the hub. Raises SuiteError for files that are absent or incomplete, an
    architecture or normalisation that a `Dictionary` can't express, another width, hook or model (unless
    `other_model`) than the site's, and where sae-lens is needed and not installed.
    """
    folder = _folder_of(setting)
    if folder is not None:
        config, tensors = _read_folder(folder)
        return dictionary_of(config, tensors, site, target, origin=str(folder), other_model=other_model)
    config, tensors = _from_hub(setting.removeprefix("lens:"))
    return dictionary_of(config, tensors, site, target, origin=setting, other_model=other_model)


def latents_of_pretrained(setting: str) -> int | None:
    """Return how many latents a local dictionary has, or None for one on the hub: only its files tell."""
    folder = _folder_of(setting)
    return None if folder is None else _described(_read_config(folder), str(folder)).d_sae


def dictionary_of(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    site: Site,
    target: TargetModel,
    *,
    origin: str,
    other_model: bool = False,
) -> Dictionary:
    """Return the dictionary of a sae-lens config and its tensors, after checking that it fits the site.

    Where the autoencoder was trained on vectors without their mean over coordinates (GPT-2 in
    TransformerLens), that is put into the encoder. Errors as in `load_pretrained`.
    """
    described = _described(config, origin)
    _check_form(described)
    _check_place(described, site, target)
    if not other_model:
        _check_model(described, target)
    _check_tensors(described, tensors)
    return _built(described, {name: tensor.detach().cpu().float() for name, tensor in tensors.items()})


def site_of_hook(hook: str) -> tuple[Stream, int] | None:
    """Return stream and layer of a hook's name, None if no stream of the suite is that vector.

    `blocks.L.hook_resid_pre` is the output of block L - 1; Hugging Face names of whole blocks count too.
    """
    match = re.fullmatch(r"blocks\.(\d{1,6})\.(\w+)", hook)
    if match is None:
        block = re.fullmatch(r"(?:\w+\.)*(?:layers|h)\.(\d{1,6})", hook)
        return None if block is None else ("block_output", int(block[1]))
    layer, name = int(match[1]), match[2]
    if name == "hook_resid_pre":
        return ("block_output", layer - 1) if layer else None
    return (HOOKS[name], layer) if name in HOOKS else None


# --- where it lies


def _folder_of(setting: str) -> Path | None:
    """Return the folder that a setting names, None if it names a release of the hub."""
    name = setting.removeprefix("lens:")
    path = Path(name).expanduser()
    return path if path.is_dir() or name.startswith(("/", ".", "~")) else None


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / _CONFIG)
    # Numbers of thousands of digits and thousands of brackets are no syntax errors to the parser.
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise SuiteError(
            expected=f"the settings of a sae-lens autoencoder in {folder / _CONFIG}",
            came=f"a {type(config).__name__}",
            todo="name a folder that sae-lens's save_model wrote",
        )
    return config


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = folder / _WEIGHTS
    config = _read_config(folder)
    try:
        return config, parse_tensors(read_bytes(path))
    except TensorFileError as error:
        raise SuiteError(
            expected=f"the weights of a sae-lens autoencoder in {path}",
            came=f"no readable safetensors file ({error})",
            todo="name a folder that sae-lens's save_model wrote",
        ) from None


def _from_hub(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        from sae_lens import SAE
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except ImportError:
        raise SuiteError(
            expected=f"the package sae-lens, to load {name!r} from the hub",
            came="no such package",
            todo=_INSTALL,
        ) from None
    parts = name.split("/")
    # A release of sae-lens's own list is one word; anything else is a repository, OWNER/NAME.
    cut = 1 if parts[0] in get_pretrained_saes_directory() else 2
    release, sae_id = "/".join(parts[:cut]), "/".join(parts[cut:])
    if not sae_id:
        raise SuiteError(
            expected="a pretrained autoencoder as lens:RELEASE/SAE_ID or lens:FOLDER",
            came=f"{name!r}, which is neither a folder nor a release known to sae-lens with an id after it",
            todo="look the release and the id up in sae-lens's table of pretrained autoencoders",
        )
    try:
        found = SAE.from_pretrained(release, sae_id, device="cpu")
    except (ValueError, KeyError, OSError) as error:
        raise SuiteError(
            expected=f"the autoencoder {sae_id!r} of the release {release!r}",
            came=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            todo="check both names and the network, or name a local folder with cfg.json",
        ) from None
    return found.cfg.to_dict(), found.state_dict()


# --- what it is


def _described(config: Mapping[str, Any], origin: str) -> _Described:
    """Read a config; before sae-lens 6 all settings were flat and some had other names."""
    flat = {**config, **_mapping(config, "metadata", origin)}
    function = flat.get("activation_fn") or flat.get("activation_fn_str") or "relu"
    arguments = _mapping(flat, "activation_fn_kwargs", origin)
    architecture = str(flat.get("architecture", "standard"))
    if "metadata" not in config and architecture == "standard" and function != "relu":
        architecture = str(function)
    hook = str(flat.get("hook_name") or flat.get("hook_point") or "")
    head = flat.get("hook_head_index", flat.get("hook_point_head_index"))
    try:
        return _Described(
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
            mean_free=bool(
                _mapping(flat, "model_from_pretrained_kwargs", origin).get("center_writing_weights")
            ),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SuiteError(
            expected=f"the numbers d_in and d_sae in the config of {origin}",
            came=f"a config without ({type(error).__name__}: {error})",
            todo="name an autoencoder that sae-lens wrote",
        ) from None


def _mapping(config: Mapping[str, Any], name: str, origin: str) -> Mapping[str, Any]:
    found = config.get(name) or {}
    if not isinstance(found, Mapping):
        raise SuiteError(
            expected=f"an object as {name!r} in the config of {origin}",
            came=repr(found),
            todo="name an autoencoder that sae-lens wrote",
        )
    return found


def _normalisation(value: object) -> str:
    if isinstance(value, bool):
        return "expected_average_only_in" if value else "none"
    return str(value or "none")


def _check_form(described: _Described) -> None:
    if described.architecture not in _KINDS:
        raise SuiteError(
            expected=f"an autoencoder of architecture {', '.join(_KINDS)} in {described.origin}",
            came=repr(described.architecture),
            todo="choose another autoencoder",
        )
    if described.architecture == "topk" and not (isinstance(described.k, int) and described.k >= 1):
        raise SuiteError(
            expected=f"a number k of at least 1 in the config of {described.origin}",
            came=repr(described.k),
            todo="add k to its cfg.json",
        )
    if described.normalisation != "none":
        raise SuiteError(
            expected=f"an autoencoder in {described.origin} that takes vectors as they are",
            came=f"normalize_activations {described.normalisation!r}",
            todo="fold it into the weights with sae-lens where it is one factor or one matrix; one that "
            "differs from vector to vector can't be undone latent by latent",
        )


def _check_place(described: _Described, site: Site, target: TargetModel) -> None:
    width = target.width(site)
    if described.d_in != width:
        raise NotApplicableError(
            expected=f"an autoencoder of width {width}, that of {target.name} at {site}",
            came=f"width {described.d_in} in {described.origin}",
            todo="choose an autoencoder of this model and site",
        )
    whole = described.head is None and described.reshaping == "none" and site.head is None
    if not whole or site_of_hook(described.hook) != (site.stream, site.layer):
        found = site_of_hook(described.hook)
        meaning = f", which is {found[0]}.{found[1]}" if found and whole else ""
        raise NotApplicableError(
            expected=f"an autoencoder of {site.stream}.{site.layer} in {described.origin}",
            came=f"one of the hook {described.hook!r}{meaning}",
            todo="choose the autoencoder of this site, or the site of this autoencoder",
        )
    if site.stream != "block_output" and target.family.name in _NORM_AFTER:
        raise NotApplicableError(
            expected=f"an autoencoder of what {site.stream} is in {target.family.name}, before the norm",
            came=f"one of the hook {described.hook!r}, which is after it",
            todo="choose an autoencoder of the residual stream and a site block_output",
        )


def _check_model(described: _Described, target: TargetModel) -> None:
    named, used = _plain_name(described.model), _plain_name(target.name)
    if named and named != used:
        raise NotApplicableError(
            expected=f"an autoencoder of {target.name}",
            came=f"one of {described.model} in {described.origin}",
            todo="choose another, or set other_model: true if the two are the same model by other names",
        )


def _plain_name(name: str) -> str:
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return _SAME_MODEL.get(last, last)


def _check_tensors(described: _Described, tensors: Mapping[str, Tensor]) -> None:
    wanted = [*_TENSORS, *(["threshold"] if described.architecture == "jumprelu" else [])]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise SuiteError(
            expected=f"the tensors {', '.join(wanted)} in {described.origin}",
            came=f"none named {', '.join(missing)}",
            todo="name an autoencoder that sae-lens wrote, of the architecture that its config states",
        )
    d, m = described.d_in, described.d_sae
    shapes = dict(zip((*_TENSORS, "threshold"), [(d, m), (m,), (m, d), (d,), (m,)], strict=True))
    for name in wanted:
        tensor = tensors[name]
        if tuple(tensor.shape) != shapes[name]:
            raise _other_tensor(
                f"{name} of shape {list(shapes[name])}", f"the shape {list(tensor.shape)}", described.origin
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor.float()).all()):
            raise _other_tensor(f"finite numbers in {name}", f"others, of {tensor.dtype}", described.origin)
    scaling = tensors.get("scaling_factor")
    if scaling is not None and not bool((scaling == 1).all()):
        raise SuiteError(
            expected=f"an autoencoder without scaling factors for its latents in {described.origin}",
            came="a scaling_factor that is not 1",
            todo="multiply the rows of W_dec by it, and set it to 1",
        )


def _other_tensor(expected: str, came: str, origin: str) -> SuiteError:
    return SuiteError(
        expected=f"{expected} in {origin}", came=came, todo="restore the files from where they come from"
    )


def _built(described: _Described, tensors: dict[str, Tensor]) -> Dictionary:
    encoder, decoder = tensors["W_enc"], tensors["W_dec"]
    bias = tensors["b_enc"]
    if described.architecture == "topk" and described.by_decoder_norm:
        norms = decoder.norm(dim=1)
        encoder, bias, decoder = encoder * norms, bias * norms, decoder / norms[:, None]
    centre = tensors["b_dec"] if described.centre_is_bias else torch.zeros_like(tensors["b_dec"])
    if described.mean_free:
        # (x - mean x - c) W = (x - c) (W - column means) + constant, and that constant is c's own mean.
        bias = bias - centre.mean() * encoder.sum(dim=0)
        encoder = encoder - encoder.mean(dim=0)
    threshold = tensors["threshold"].clamp_min(0) if described.architecture == "jumprelu" else None
    kind = _KINDS[described.architecture]
    return Dictionary(
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder,
        decoder_bias=tensors["b_dec"],
        centre=centre,
        mask=torch.zeros(described.d_sae),
        activation=Activation(kind, described.k if kind == "top_k" else None, threshold),
    )
