"""Folders that pyvene's `save` wrote, as featurizers of the suite; pyvene is not imported and none of its
classes is made. pyvene multiplies rows of vectors from the right, `x @ weight`, so that the directions are
the *columns* of what it stores; papers that write R x have them as rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.dictionary import Activation, Dictionary
from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from das.interop.foreign import Imported, one_part
from das.interop.pyvene_config import CONFIG, Listed, listed_interventions, place_of
from das.interop.rotations import columns_of, stored_weight
from das.interop.torch_files import names_of, plain_state, plain_tensor, read_torch_file, unfit
from das.models.base import TargetModel
from ravel.common.errors import SuiteError


def read_pyvene(
    folder: Path,
    *,
    width: int | None = None,
    layer: int = 0,
    part: str | None = None,
    target: TargetModel | None = None,
) -> Imported:
    """Return the featurizer that swaps as a pyvene intervention does, where one does so exactly.

    `width` is the length of the vectors, which a plain swap does not store; `layer` and `part` choose among
    several interventions; in `target` a component that is a module's path is looked up. Raises SuiteError for
    a folder that is none of pyvene's or damaged, pickled classes, kinds that no featurizer expresses, and
    components that are no site.
    """
    by_name = {listed.name: listed for listed in listed_interventions(folder)}
    layers = {name: listed.place.layer for name, listed in by_name.items()}
    name, listed = one_part(by_name, layers, folder / CONFIG, part=part, layer=layer)
    if listed.kind not in _READERS and listed.kind != _PLAIN:
        raise SuiteError(
            expected=f"an intervention of {', '.join([*_READERS, _PLAIN])} in {folder}",
            came=names_of([listed.kind]),
            todo="no featurizer of the suite swaps as it does"
            + ("; read a LoReFT folder with --format loreft" if "reft" in listed.kind.lower() else ""),
        )
    place, unchecked = place_of(listed, folder / CONFIG, target)
    path = folder / f"intkey_{name}.bin"
    notes: tuple[str, ...] = ()
    if listed.kind == _PLAIN:
        featurizer = _plain(listed, width, folder / CONFIG)
    else:
        state = plain_state(read_torch_file(path), path)
        featurizer, notes = _READERS[listed.kind](state, listed.swapped, path)
    if listed.partitioned:
        notes = (
            *notes,
            "The folder has a subspace partition. Which of its parts are swapped is an argument of pyvene's "
            "call and not in the folder; here all that it swaps without one is swapped.",
        )
    return Imported(featurizer, listed.kind, place, (*unchecked, *notes))


# --- the kinds

Made = tuple[Featurizer, tuple[str, ...]]
_PLAIN = "VanillaIntervention"


def _count(swapped: Any, most: int, path: Path) -> int:
    """Return how many leading coordinates are swapped; pyvene slices, so more than there are means all."""
    if swapped is None:
        return most
    if type(swapped) is not int or swapped < 0:
        expected = f"a number of leading coordinates as interchange dimension beside {path}"
        raise unfit(expected, repr(swapped)[:80])
    return min(swapped, most)


def _plain(listed: Listed, width: int | None, path: Path) -> Featurizer:
    size = width if width is not None else listed.swapped
    if type(size) is not int or not 1 <= size <= 1 << 20:
        todo = "name the model that it was made for"
        raise unfit(f"the length of the vectors that {path} swaps", repr(size)[:80], todo)
    mask = torch.zeros(size)
    mask[: _count(listed.swapped, size, path)] = 1.0
    return MaskedBasis(mask)


def _rotated(state: Mapping[str, Any], swapped: Any, path: Path) -> Made:
    columns = columns_of(_square(state, path), path, orientation="columns")
    return Subspace(columns.basis[:, : _count(swapped, columns.basis.shape[1], path)]), columns.notes


def _low_rank(state: Mapping[str, Any], swapped: Any, path: Path) -> Made:
    # Its forward pass never looks at the interchange dimension.
    columns = columns_of(stored_weight(state, "rotate_layer.", path), path, orientation="columns")
    return Subspace(columns.basis), columns.notes


def _boundless(state: Mapping[str, Any], swapped: Any, path: Path) -> Made:
    columns = columns_of(_square(state, path), path, orientation="columns")
    width = columns.basis.shape[0]
    boundary = plain_tensor(state, "intervention_boundaries", path, shape=(1,)).clamp(1e-3, 1.0) * width
    places, temperature = torch.arange(width).double(), _temperature(state, path)
    weights = torch.sigmoid(places / temperature) * torch.sigmoid((boundary - places) / temperature)
    note = "The soft boundary was kept as it is, as weights between 0 and 1."
    return MaskedBasis(weights.float(), columns.basis), (*columns.notes, note)


def _masked_rotation(state: Mapping[str, Any], swapped: Any, path: Path) -> Made:
    columns = columns_of(_square(state, path), path, orientation="columns")
    return MaskedBasis(_weights(state, "masks", columns.basis.shape[0], path), columns.basis), columns.notes


def _masked(state: Mapping[str, Any], swapped: Any, path: Path) -> Made:
    return MaskedBasis(_weights(state, "mask", None, path)), ()


def _jump_relu(state: Mapping[str, Any], swapped: Any, path: Path) -> Made:
    encoder = plain_tensor(state, "W_enc", path, shape=(None, None))
    d, m = encoder.shape
    shapes: dict[str, tuple[int, ...]] = {"b_enc": (m,), "W_dec": (m, d), "b_dec": (d,), "threshold": (m,)}
    t = {name: plain_tensor(state, name, path, shape=shape) for name, shape in shapes.items()}
    mask = torch.zeros(m)
    mask[: _count(swapped, m, path)] = 1.0
    made = Dictionary(
        encoder=encoder,
        encoder_bias=t["b_enc"],
        decoder=t["W_dec"],
        decoder_bias=t["b_dec"],
        mask=mask,
        activation=Activation("jump_relu", threshold=t["threshold"].clamp_min(0)),
        keeps_error=False,
    )
    return made, (_DROPPED,)


def _autoencoder(state: Mapping[str, Any], swapped: Any, path: Path) -> Made:
    encoder = plain_tensor(state, "autoencoder.encoder.0.weight", path, shape=(None, None))
    m, d = encoder.shape
    bias = plain_tensor(state, "autoencoder.encoder.0.bias", path, shape=(m,))
    decoder = plain_tensor(state, "autoencoder.decoder.0.weight", path, shape=(d, m))
    centre = plain_tensor(state, "autoencoder.decoder.0.bias", path, shape=(d,))
    mask = torch.zeros(m)
    mask[_indices(swapped, m, path)] = 1.0
    made = Dictionary(
        encoder=encoder.mT,
        encoder_bias=bias,
        decoder=decoder.mT,
        decoder_bias=centre,
        centre=centre,
        mask=mask,
        activation=Activation("relu"),
        keeps_error=False,
    )
    return made, (_DROPPED,)


_DROPPED = (
    "As in pyvene, what the autoencoder loses is dropped, so that even a swap with itself changes the vector."
)

_READERS: Mapping[str, Callable[[Mapping[str, Any], Any, Path], Made]] = {
    "LowRankRotatedSpaceIntervention": _low_rank,
    "RotatedSpaceIntervention": _rotated,
    "BoundlessRotatedSpaceIntervention": _boundless,
    "SigmoidMaskRotatedSpaceIntervention": _masked_rotation,
    "SigmoidMaskIntervention": _masked,
    "JumpReLUAutoencoderIntervention": _jump_relu,
    "AutoencoderIntervention": _autoencoder,
}


def _square(state: Mapping[str, Any], path: Path) -> Tensor:
    weight = stored_weight(state, "rotate_layer.", path)
    if weight.shape[0] != weight.shape[1]:
        raise unfit(f"a square rotation in {path}", f"the shape {list(weight.shape)}")
    return weight


def _temperature(state: Mapping[str, Any], path: Path) -> Tensor:
    temperature = plain_tensor(state, "temperature", path, shape=())
    if float(temperature) == 0:
        raise unfit(f"a temperature other than 0 in {path}", "0")
    return temperature


def _weights(state: Mapping[str, Any], name: str, width: int | None, path: Path) -> Tensor:
    logits = plain_tensor(state, name, path, shape=(width,))
    return torch.sigmoid(logits / _temperature(state, path)).float()


def _indices(swapped: Any, latents: int, path: Path) -> list[int]:
    """Return the latents that pyvene's autoencoder swaps: it indexes where the other kinds slice."""
    listed = swapped if isinstance(swapped, list) else [swapped]
    if not all(type(place) is int and -latents <= place < latents for place in listed):
        expected = f"indices of latents below {latents} as interchange dimension beside {path}"
        raise unfit(expected, repr(swapped)[:80], "set them with set_interchange_dim before saving")
    return listed
