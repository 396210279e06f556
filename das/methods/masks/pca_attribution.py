"""Principal components ranked by the gradient of the answer: what each brings, less its leak."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.base import Problem, Workspace
from das.methods.common.ranked_coordinates import RankedCoordinatesConfig, RanksCoordinates
from das.methods.masks.pca_mdbm import shared_basis


class PcaAttributionConfig(RankedCoordinatesConfig):
    """Settings of pca_attribution."""

    basis_vectors: PositiveInt = 8000
    """Most training vectors of which the components are taken."""


class PcaAttribution(RanksCoordinates[PcaAttributionConfig]):
    """Swaps the `size` principal components that attribution patching ranks highest for the target.

    The components are those of `pca_mdbm`, an orthonormal basis of the whole space; they are ranked as
    neurons are in `neurons_attribution`, in rotated coordinates.
    """

    name = "pca_attribution"
    summary = "Principal components ranked by the gradient of the answer in their interchange"
    config_class = PcaAttributionConfig
    needs_vectors = True

    def basis(self, problem: Problem, engine: Engine, workspace: Workspace, seed: int) -> Tensor:
        """Return the components, made once for all methods."""
        return shared_basis(problem, engine, workspace, limit=self.config.basis_vectors)


METHOD = PcaAttribution
