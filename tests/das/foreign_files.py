"""Files of other tools, written here as those tools write them: names, shapes and which way round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from das.featurizers import retract

WIDTH = 32


def stream(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def columns(size: int, *, width: int = WIDTH, seed: int = 0) -> Tensor:
    """Orthonormal columns, [width, size]."""
    return retract(torch.randn(width, size, generator=stream(seed)))


def vectors(n: int = 7, *, width: int = WIDTH, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Bases and sources, [n, width] each."""
    return torch.randn(2, n, width, generator=stream(seed)).unbind()


class RotateLayer(nn.Module):
    """A matrix that vectors are multiplied with from the left, as in pyvene, pyreft and CausalAbstraction."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


def trained(module: nn.Module, *, seed: int = 5) -> nn.Module:
    """The module with its weight orthogonally parametrised and moved off its start, as after training."""
    made = orthogonal(module)
    with torch.no_grad():
        free = made.parametrizations.weight.original  # type: ignore[union-attr, index]
        free.add_(torch.randn(free.shape, generator=stream(seed)).tril(-1) * 0.1)
    return made


def pyvene_folder(
    folder: Path,
    kind: str,
    state: dict[str, Tensor] | None,
    *,
    layer: int = 1,
    component: str = "block_output",
    dimension: Any = WIDTH,
    **changes: Any,
) -> Path:
    """A folder as pyvene's save leaves it, with one intervention."""
    key = f"layer_{layer}_comp_{component}_unit_pos_nunit_1#0"
    config = {
        "intervention_constant_sources": [False],
        "intervention_dimensions": [dimension],
        "intervention_types": [f"<class 'pyvene.models.interventions.{kind}'>"],
        "mode": "parallel",
        "representations": [[layer, component, "pos", 1, *[None] * 10]],
        "sorted_keys": [key],
        "transformers_version": "4.45.1",
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if state is not None:
        torch.save(state, folder / f"intkey_{key}.bin")
    return folder


def loreft_state(basis: Tensor, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What pyreft's LoreftIntervention saves: W and b flat, R transposed under `rotate_layer`."""
    width, rank = basis.shape
    learned = nn.Linear(width, rank)
    return {name: t.to(dtype) for name, t in {**learned.state_dict(), "rotate_layer": basis}.items()}


def mib_unit(
    folder: Path,
    name: str,
    rotation: Tensor | None,
    indices: list[int] | None,
    *,
    n_features: int | None = WIDTH,
) -> Path:
    """The three files of a unit as CausalAbstraction's save_modules writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = "Identity" if rotation is None else "Subspace"
    extra: dict[str, Any] = {}
    state: dict[str, Tensor] = {}
    if rotation is not None:
        layer = orthogonal(RotateLayer(rotation.clone()))
        state = {f"rotate.{key}": value for key, value in layer.state_dict().items()}
        extra = {"rotation_matrix": layer.weight.detach().clone(), "requires_grad": True}
    info = {
        "featurizer_class": f"{kind}FeaturizerModule",
        "inverse_featurizer_class": f"{kind}InverseFeaturizerModule",
        "n_features": n_features,
        "additional_config": extra,
    }
    for suffix in ("featurizer", "inverse_featurizer"):
        torch.save({"model_info": info, "state_dict": state}, folder / f"{name}_{suffix}")
    (folder / f"{name}_indices").write_text(json.dumps(indices))
    return folder
