"""Coordinates of a rotation, drawn or trained, ranked by the gradient of the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import check_attribute, check_size, random_columns
from das.methods.common.base import Method, Problem, Workspace
from das.methods.common.ranked_coordinates import RankedCoordinatesConfig, RanksCoordinates
from das.methods.common.tasks import MixedPairsConfig
from das.methods.trained.das import Das
from das.methods.trained.mdas import Mdas
from ravel.common.seeds import derive_seed


class RotationAttributionConfig(RankedCoordinatesConfig, MixedPairsConfig):
    """Settings of rotation_attribution; those of training are the ones of `mdas`, and of `das` as far as it
    has them."""

    rotation: Literal["mdas", "das", "random"] = "mdas"
    """Whose columns the rotation begins with; `random`: all of it is drawn."""
    fitted_size: PositiveInt = 64
    """Columns that are trained, at most the width. The others are drawn in their complement."""


class RotationAttribution(RanksCoordinates[RotationAttributionConfig]):
    """Swaps the `size` coordinates of a rotation that attribution patching ranks highest for the target.

    A trained subspace swaps as a whole; this asks which of its columns bring the target and which leak, and
    takes the best of them. Training sees the subspace alone, so that its columns are those at which it ended,
    one choice of many. They are ranked as neurons are in `neurons_attribution`.
    """

    name = "rotation_attribution"
    summary = "Columns of a trained or drawn rotation, ranked by the gradient of the answer"
    config_class = RotationAttributionConfig

    def basis(self, problem: Problem, engine: Engine, workspace: Workspace, seed: int) -> Tensor:
        """Return the rotation. Raises SuiteError as the method that is trained does."""
        check_attribute(problem)
        check_size(problem, engine)
        width = engine.target.width(problem.site)
        drawn = random_columns(width, width, derive_seed(seed, "rotation"))
        fitted = self._fitted(problem, engine, workspace, width)
        # Orthonormal columns come out of this as they went in, up to signs and rounding.
        return retract(torch.cat([fitted, drawn], dim=1)[:, :width]).contiguous()

    def _fitted(self, problem: Problem, engine: Engine, workspace: Workspace, width: int) -> Tensor:
        config = self.config
        if config.rotation == "random":
            return torch.zeros(width, 0)
        kind: type[Method] = Mdas if config.rotation == "mdas" else Das
        settings = {name: getattr(config, name) for name in kind.config_class.model_fields}
        method = kind(kind.config_class.model_validate(settings))
        found = method.fit(replace(problem, size=min(config.fitted_size, width)), engine, workspace)
        assert isinstance(found, Subspace)
        return found.basis.cpu()


METHOD = RotationAttribution
