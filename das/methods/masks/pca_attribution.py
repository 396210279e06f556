"""Principal components ranked by the gradient of the answer: what each brings, less its leak."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.attribution import AttributionConfig, feature_attribution
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from das.methods.masks.pca_mdbm import shared_basis
from ravel.common.seeds import derive_seed


class PcaAttributionConfig(AttributionConfig, MethodConfig):
    """Settings of pca_attribution."""

    basis_vectors: PositiveInt = 8000
    """Most training vectors of which the components are taken."""


class PcaAttribution(Method[PcaAttributionConfig]):
    """Swaps the `size` principal components that attribution patching ranks highest for the target.

    The components are those of `pca_mdbm`, an orthonormal basis of the whole space, so that a coordinate's
    interchange is an orthogonal projection; the rank of one is that of a neuron in `neurons_attribution`, in
    rotated coordinates (`feature_attribution`). No mask is trained; the ranking serves every size.
    """

    name = "pca_attribution"
    summary = "Principal components ranked by the gradient of the answer in their interchange"
    config_class = PcaAttributionConfig
    needs_vectors = True
    needs_pairs = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` of `size` components. Raises SuiteError for an unknown attribute, a size
        beyond the width, or a target without training pairs."""
        seed = derive_seed(problem.seed, self.name, problem.attribute, str(problem.site))

        def make() -> dict[str, Tensor]:
            basis = shared_basis(problem, engine, workspace, limit=self.config.basis_vectors)
            return {"basis": basis, "attribution": self._attribution(problem, engine, basis, seed)}

        shared = shared_by_sizes(self, problem, engine, workspace, make, seed=seed)
        attribution = shared["attribution"]
        chosen = attribution.argsort(descending=True, stable=True)[: problem.size]
        workspace.log(
            {
                "phase": "attribution",
                "chosen": float(attribution[chosen].sum()),
                "positive": int((attribution > 0).sum()),
            }
        )
        return MaskedBasis(torch.zeros(len(attribution)).index_fill(0, chosen, 1.0), shared["basis"])

    def _attribution(self, problem: Problem, engine: Engine, basis: Tensor, seed: int) -> Tensor:
        here = basis.to(engine.target.device)

        def swapping(mask: Tensor) -> Featurizer:
            return MaskedBasis(mask, here)

        return feature_attribution(problem, engine, swapping, len(basis), config=self.config, seed=seed)


METHOD = PcaAttribution
