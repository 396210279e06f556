"""MDBM over principal components: the directions of most variance, chosen by a trained mask."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_key
from das.methods.common.base import Problem, TrainedMethod, Workspace
from das.methods.common.coordinates import fixed_signs
from das.methods.common.labelled import plain_vectors
from das.methods.common.tasks import mixed_task
from das.methods.masks._masks import MixedMaskConfig, train_mask
from das.threads import one_thread
from das.training.together import Training
from ravel.common.seeds import derive_seed


class PcaMdbmConfig(MixedMaskConfig):
    """Settings of pca_mdbm."""

    basis_vectors: PositiveInt = 8000
    """Most training vectors of which the components are taken."""


class PcaMdbm(TrainedMethod[PcaMdbmConfig]):
    """MDBM over all principal components of the training vectors, an orthonormal basis of the whole space.

    The components come from the plain covariance, not from standardised vectors, so that the basis is a
    rotation and each coordinate's interchange an orthogonal projection. What they lack of the target's own
    directions is what MDAS learns in their place.
    """

    name = "pca_mdbm"
    summary = "Principal components chosen by a mask trained on the target and all others"
    config_class = PcaMdbmConfig
    needs_size = False
    needs_vectors = True
    needs_pairs = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `MaskedBasis` of components with a hard mask, which may be empty. Raises SuiteError for an
        unknown attribute or layer, and a target or others without training pairs."""
        engine.target.check(problem.site)
        basis = shared_basis(problem, engine, workspace, limit=self.config.basis_vectors)
        basis = basis.to(engine.target.device)
        task = mixed_task(self, problem, engine)

        def make(mask: Tensor) -> Featurizer:
            return MaskedBasis(mask, basis)

        return (yield from train_mask(task, engine, workspace, self.config, make=make, n_features=len(basis)))


def shared_basis(problem: Problem, engine: Engine, workspace: Workspace, *, limit: int) -> Tensor:
    """Return the principal components [width, width] of at most `limit` training vectors of a site, made once
    for all methods, attributes and sizes."""
    seed = derive_seed(problem.seed, PcaMdbm.name, str(problem.site))

    def make() -> dict[str, Tensor]:
        vectors = plain_vectors(problem.instance, engine, problem.site, limit=limit, seed=seed)
        return {"basis": principal_basis(vectors)}

    key = shared_key("principal_basis", problem, engine, seed=seed, limit=limit)
    return workspace.shared(key, make)["basis"]


def principal_basis(vectors: Tensor) -> Tensor:
    """Return every principal component of vectors [n, width] as float32 columns [width, width], the largest
    first, by the covariance in float64; each column's largest entry is positive."""
    wide = vectors.double()
    centred = wide - wide.mean(dim=0)
    covariance = centred.mT @ centred
    with one_thread():
        columns: Tensor = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    return fixed_signs(columns).float().contiguous()


METHOD = PcaMdbm
