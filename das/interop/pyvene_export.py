"""Featurizers as folders that `pyvene.IntervenableModel.load` opens; pyvene itself writes them."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from das.engine.base.hooks import preserved
from das.engine.engines.reference import PYVENE_NAMES
from das.featurizers.base import Featurizer
from das.featurizers.dictionary import Dictionary
from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from das.interop.rotations import parametrised_state
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.errors import SuiteError

# Importing pyvene prints a line about a back-end not used here, which would spoil machine-readable output.
with contextlib.redirect_stdout(io.StringIO()):
    import pyvene
    from pyvene.models.intervenable_modelcard import type_to_module_mapping
    from pyvene.models.modeling_utils import get_dimension_by_component


_SATURATED = 200.0
"""A logit whose sigmoid is exactly 0 or 1 in float32."""


@dataclass(frozen=True, slots=True)
class _Intervention:
    """An intervention of pyvene that swaps as a featurizer does."""

    kind: type
    """Its class."""
    state: dict[str, Tensor]
    """Its tensors, without the two that pyvene derives from the site."""
    rank: int | None = None
    """What pyvene calls `low_rank_dimension`."""
    swapped: int | None = None
    """How many leading coordinates are swapped (`interchange_dim`); None where pyvene ignores it."""


def export_pyvene(featurizer: Featurizer, site: Site, target: TargetModel, folder: Path) -> str:
    """Write the featurizer as a pyvene intervention of `target` into `folder`; return pyvene's name for it.

    Position and head are no part of such a folder: whoever calls pyvene gives them as unit locations. Raises
    SuiteError for a featurizer that no intervention of pyvene expresses exactly, and for a site that
    pyvene has no name for in this family; nothing is written then. The model is left as it was, except that
    pyvene switches its gradients off, which a `TargetModel` has done already.
    """
    made = _intervention(featurizer)
    component = _component(site, target)
    unit = "pos" if site.head is None else "h.pos"
    representation = pyvene.RepresentationConfig(
        site.layer, component, unit, 1, low_rank_dimension=made.rank, intervention_type=made.kind
    )
    with (
        preserved(target.model),
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        wrapped = pyvene.IntervenableModel(pyvene.IntervenableConfig([representation]), target.model)
        (intervention,) = wrapped.interventions.values()
        _fill(intervention, made)
        wrapped.save(str(folder))
    return str(made.kind.__name__)


def _fill(intervention: Any, made: _Intervention) -> None:
    if made.swapped is not None:
        intervention.set_interchange_dim(made.swapped)
    derived = {
        name: value
        for name, value in intervention.state_dict().items()
        if name in ("embed_dim", "interchange_dim")
    }
    intervention.load_state_dict({**derived, **made.state})


def _component(site: Site, target: TargetModel) -> str:
    name, model = PYVENE_NAMES[site.stream], target.model
    reason = target.family.beyond_reference.get(site.stream)
    known = name in type_to_module_mapping.get(type(model), {})
    if reason is not None or not known:
        raise SuiteError(
            expected=f"a stream of {target.family.name} that pyvene knows by name",
            came=f"{site.stream}: {reason or f'pyvene 0.1.8 has no table for {type(model).__name__}'}",
            todo="keep the featurizer in the suite's own form; its folder is plain safetensors",
        )
    width = get_dimension_by_component(type(model), model.config, name)
    if width != target.width(site):
        raise SuiteError(
            expected=f"vectors of length {target.width(site)} at {site} of {target.family.name}",
            came=f"{width}, which pyvene reckons from the config",
            todo="keep the featurizer in the suite's own form; its folder is plain safetensors",
        )
    return name


def _intervention(featurizer: Featurizer) -> _Intervention:
    if isinstance(featurizer, Subspace):
        return _of_subspace(featurizer)
    if isinstance(featurizer, MaskedBasis):
        return _of_mask(featurizer)
    if isinstance(featurizer, Dictionary):
        return _of_dictionary(featurizer)
    raise _inexpressible(f"a {featurizer.kind}", "no intervention of pyvene has its form")


def _of_subspace(featurizer: Subspace) -> _Intervention:
    if featurizer.reader is not None:
        raise _inexpressible(
            "a subspace that is read along other directions than it is written",
            "pyvene's rotations are orthogonal",
        )
    if featurizer.size == 0:
        return _of_mask(MaskedBasis(torch.zeros(featurizer.width)))
    return _Intervention(
        pyvene.LowRankRotatedSpaceIntervention, _rotation(featurizer.basis), rank=featurizer.size
    )


def _of_mask(featurizer: MaskedBasis) -> _Intervention:
    logits = _logits(featurizer.weights)
    if featurizer.basis is None:
        return _Intervention(
            pyvene.SigmoidMaskIntervention, {"mask": logits, "temperature": torch.tensor(1.0)}
        )
    state = {"masks": logits, "temperature": torch.tensor(1.0), **_rotation(featurizer.basis)}
    return _Intervention(pyvene.SigmoidMaskRotatedSpaceIntervention, state)


def _of_dictionary(featurizer: Dictionary) -> _Intervention:
    _check_dictionary(featurizer)
    # pyvene swaps leading latents, so the chosen ones go first; what is taken from a vector before it is
    # encoded goes into the bias.
    order = torch.argsort(featurizer.weights, descending=True, stable=True)
    encoder = featurizer.encoder[:, order]
    threshold = featurizer.threshold
    state = {
        "W_enc": encoder,
        "b_enc": featurizer.encoder_bias[order].double() - featurizer.centre.double() @ encoder.double(),
        "W_dec": featurizer.decoder[order],
        "b_dec": featurizer.decoder_bias,
        "threshold": torch.zeros(len(order)) if threshold is None else threshold[order],
    }
    return _Intervention(
        pyvene.JumpReLUAutoencoderIntervention,
        {name: tensor.float().contiguous() for name, tensor in state.items()},
        rank=len(order),
        swapped=featurizer.size,
    )


def _check_dictionary(featurizer: Dictionary) -> None:
    weights, threshold = featurizer.weights, featurizer.threshold
    if featurizer.keeps_error:
        raise _inexpressible("a dictionary whose error stays with the base", "pyvene's autoencoders drop it")
    if featurizer.activation == "top_k" or bool(((weights != 0) & (weights != 1)).any()):
        raise _inexpressible(
            "a dictionary with a top-k activation or soft choices", "pyvene's autoencoders have neither"
        )
    if threshold is not None and bool((threshold < 0).any()):
        raise _inexpressible("a dictionary with negative thresholds", "pyvene's go through a ReLU as well")


def _rotation(basis: Tensor) -> dict[str, Tensor]:
    return {f"rotate_layer.{name}": value for name, value in parametrised_state(basis).items()}


def _logits(weights: Tensor) -> Tensor:
    logits = torch.logit(weights.double()).clamp(-_SATURATED, _SATURATED)
    return logits.float()


def _inexpressible(came: str, reason: str) -> SuiteError:
    return SuiteError(
        expected="a featurizer that an intervention of pyvene expresses exactly: a subspace with orthonormal "
        "columns, a masked basis, or a dictionary without its error",
        came=f"{came}, and {reason}",
        todo="keep the featurizer in the suite's own form; its folder is plain safetensors",
    )
