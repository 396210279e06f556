"""Pretrained sparse autoencoders in the form of the package sae-lens, as dictionaries of the suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from das.engine.selftest.additive import adds_as_is
from das.featurizers.dictionary import Activation, Dictionary
from das.methods.common.base import NotApplicableError
from das.methods.dictionaries._lens_config import KINDS, LensConfig, check_form, describe, site_of_hook
from das.methods.dictionaries._published_saes import Published, plain_name, published_as, published_in
from das.models.base import TargetModel
from das.sites import Site
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.errors import SuiteError
from ravel.common.io import read_bytes, read_json

_CONFIG = "cfg.json"
_WEIGHTS = "sae_weights.safetensors"
_INSTALL = "install it with `pip install 'ravel-bench[sae]'`, or name a local folder with cfg.json"
_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A dictionary that others trained, with nothing chosen, and what is known of it."""

    dictionary: Dictionary
    """It takes vectors as the model has them."""
    origin: str
    """Where it came from."""
    mean_free: bool
    """Whether vectors lose their mean over coordinates on their way into it."""
    unsure_of_mean: bool
    """Whether nothing tells if they should."""
    published: Published | None
    """What those who published it say of it; None where nothing is known."""
    notes: tuple[str, ...] = ()
    """What a reader of its results has to know, a sentence each."""

    def as_read(self, vectors: Tensor) -> Tensor:
        """Return vectors [n, d_model] as the dictionary describes them: what it decodes to."""
        return without_mean(vectors) if self.mean_free else vectors


def without_mean(vectors: Tensor) -> Tensor:
    """Return vectors [n, d_model] without each one's mean over coordinates."""
    return vectors - vectors.mean(dim=-1, keepdim=True)


def load_pretrained(
    setting: str, site: Site, target: TargetModel, *, other_model: bool = False
) -> Pretrained:
    """Return the dictionary that `lens:FOLDER` or `lens:RELEASE/SAE_ID` names, with nothing chosen.

    A folder holds `cfg.json` and `sae_weights.safetensors` and is read without sae-lens; anything else is
    loaded by sae-lens from the hub. Raises SuiteError for files that are absent or incomplete, an
    architecture or normalisation that a `Dictionary` can't express, another width, hook or model (unless
    `other_model`) than the site's, and where sae-lens is needed and not installed.
    """
    folder = _folder_of(setting)
    if folder is not None:
        config, tensors = _read_folder(folder)
        return dictionary_of(
            config, tensors, site, target, origin=str(folder), folder=folder, other_model=other_model
        )
    loaded = _from_hub(setting.removeprefix("lens:"))
    return dictionary_of(
        *loaded[:2], site, target, origin=setting, published=loaded[2], other_model=other_model
    )


def latents_of_pretrained(setting: str) -> int | None:
    """Return how many latents a local dictionary has, or None for one on the hub: only its files tell."""
    folder = _folder_of(setting)
    return None if folder is None else describe(_read_config(folder), str(folder)).d_sae


def dictionary_of(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    site: Site,
    target: TargetModel,
    *,
    origin: str,
    folder: Path | None = None,
    published: Published | None = None,
    other_model: bool = False,
) -> Pretrained:
    """Return the dictionary of a sae-lens config and its tensors, after checking that it fits the site.

    Where the autoencoder was trained on vectors without their mean over coordinates (GPT-2 in
    TransformerLens), that is put into the encoder. Of a local `folder` whose config does not say so,
    sae-lens's table may; else a note says that it is unknown. Errors as in `load_pretrained`.
    """
    described = describe(config, origin)
    check_form(described)
    _check_place(described, site, target)
    if not other_model:
        _check_model(described, target)
    _check_tensors(described, tensors)
    listed = published if folder is None else published_in(folder, described.model, described.hook)
    mean_free = described.mean_free
    if mean_free is None:
        mean_free = listed is not None and listed.mean_free
    # What sae-lens loads from the hub has been through its table, so that silence there means no.
    unsure = folder is not None and described.mean_free is None and listed is None
    unsure = unsure and _norms_take_the_mean(target.model)
    plain = {name: tensor.detach().cpu().float() for name, tensor in tensors.items()}
    return Pretrained(
        dictionary=_built(described, plain, mean_free=mean_free),
        origin=origin,
        mean_free=mean_free,
        unsure_of_mean=unsure,
        published=_stated(described) or listed,
        notes=_notes_on_mean(described, listed, mean_free=mean_free, unsure=unsure),
    )


def _stated(described: LensConfig) -> Published | None:
    if described.explained_variance is None and described.l0 is None:
        return None
    return Published("", described.explained_variance, described.l0)


def _notes_on_mean(
    described: LensConfig, listed: Published | None, *, mean_free: bool, unsure: bool
) -> tuple[str, ...]:
    if unsure:
        return (
            "UNKNOWN: whether this autoencoder was trained on vectors without their mean (TransformerLens's "
            "center_writing_weights). Its cfg.json does not say, and no entry of sae-lens's table is surely "
            "it; it was taken to read vectors as they are. State it in cfg.json as "
            '"model_from_pretrained_kwargs": {"center_writing_weights": true} or false.',
        )
    if mean_free and described.mean_free is None and listed is not None:
        return (f"Vectors lose their mean first, as sae-lens's table says of {listed.release}.",)
    return ()


def _norms_take_the_mean(model: nn.Module) -> bool:
    """Return whether the model has layer norms: only there may vectors lose their mean and answers stay."""
    return any("LayerNorm" in type(module).__name__ for module in model.modules())


# --- where it lies


def _folder_of(setting: str) -> Path | None:
    """Return the folder that a setting names, None if it names a release of the hub."""
    name = setting.removeprefix("lens:")
    path = Path(name).expanduser()
    return path if path.is_dir() or name.startswith(("/", ".", "~")) else None


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / _CONFIG)
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


def _from_hub(name: str) -> tuple[dict[str, Any], dict[str, Tensor], Published | None]:
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
        sae = SAE.from_pretrained(release, sae_id, device="cpu")
    except (ValueError, KeyError, OSError) as error:
        raise SuiteError(
            expected=f"the autoencoder {sae_id!r} of the release {release!r}",
            came=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            todo="check both names and the network, or name a local folder with cfg.json",
        ) from None
    return sae.cfg.to_dict(), sae.state_dict(), published_as(release, sae_id)


# --- what it is


def _check_place(described: LensConfig, site: Site, target: TargetModel) -> None:
    width = target.width(site)
    if described.d_in != width:
        raise NotApplicableError(
            expected=f"an autoencoder of width {width}, that of {target.name} at {site}",
            came=f"width {described.d_in} in {described.origin}",
            todo="choose an autoencoder of this model and site",
        )
    whole = described.head is None and described.reshaping == "none" and site.head is None
    if not whole or site_of_hook(described.hook) != (site.stream, site.layer):
        place = site_of_hook(described.hook)
        meaning = f", which is {place[0]}.{place[1]}" if place and whole else ""
        raise NotApplicableError(
            expected=f"an autoencoder of {site.stream}.{site.layer} in {described.origin}",
            came=f"one of the hook {described.hook!r}{meaning}",
            todo="choose the autoencoder of this site, or the site of this autoencoder",
        )
    if site.stream != "block_output" and not adds_as_is(target, site.layer):
        raise NotApplicableError(
            expected=f"an autoencoder of what {site.stream} is in {target.family.name}: what the module "
            "returns, before the norm, factor or further branch that stands between it and the stream",
            came=f"one of the hook {described.hook!r}, which is after it",
            todo="choose an autoencoder of the residual stream and a site block_output",
        )


def _check_model(described: LensConfig, target: TargetModel) -> None:
    named, used = plain_name(described.model), plain_name(target.name)
    if named and named != used:
        raise NotApplicableError(
            expected=f"an autoencoder of {target.name}",
            came=f"one of {described.model} in {described.origin}",
            todo="choose another, or set other_model: true if the two are the same model by other names",
        )


def _check_tensors(described: LensConfig, tensors: Mapping[str, Tensor]) -> None:
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


def _built(described: LensConfig, tensors: dict[str, Tensor], *, mean_free: bool) -> Dictionary:
    encoder, decoder = tensors["W_enc"], tensors["W_dec"]
    bias = tensors["b_enc"]
    if described.architecture == "topk" and described.by_decoder_norm:
        norms = decoder.norm(dim=1)
        encoder, bias, decoder = encoder * norms, bias * norms, decoder / norms[:, None]
    centre = tensors["b_dec"] if described.centre_is_bias else torch.zeros_like(tensors["b_dec"])
    if mean_free:
        # (x - mean x - c) W = (x - c) (W - column means) + constant, and that constant is c's own mean.
        bias = bias - centre.mean() * encoder.sum(dim=0)
        encoder = encoder - encoder.mean(dim=0)
    threshold = tensors["threshold"].clamp_min(0) if described.architecture == "jumprelu" else None
    kind = KINDS[described.architecture]
    return Dictionary(
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder,
        decoder_bias=tensors["b_dec"],
        centre=centre,
        mask=torch.zeros(described.d_sae),
        activation=Activation(kind, described.k if kind == "top_k" else None, threshold),
    )
