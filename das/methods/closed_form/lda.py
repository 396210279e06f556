"""Fisher's discriminants: directions in which classes differ most for their spread; it trains nothing."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.closed_form._directions import ClassDirections
from das.methods.common.base import MethodConfig, Problem
from das.methods.common.coordinates import (
    class_means,
    class_shares,
    fixed_signs,
    principal_coordinates,
    require_rank,
    significant,
)
from das.methods.common.labelled import LabelledVectors, labelled_vectors
from das.threads import one_thread

_SMALLEST_SPREAD = 1e-6
"""Least variance within classes, as a share of the mean variance of a coordinate: where classes have none at
all, Fisher's ratio would be infinite."""


class LdaConfig(MethodConfig):
    """Settings of lda."""

    shrinkage: Annotated[float, Field(ge=0, le=1)] | None = None
    """Weight of the unit matrix (times the mean variance) in the covariance within classes, from 0 (none) to
    1; None: as Ledoit and Wolf (2004) estimate it."""
    vectors: PositiveInt = 20000
    """Most training vectors; a larger population is sampled, always the same."""


class Lda(ClassDirections[LdaConfig]):
    """Linear discriminant analysis (Fisher 1936; Rao 1948) as an oblique projection.

    With Sw the covariance within classes and V [d_model, size] the leading eigenvectors of Sw^-1 Sb, normed
    to V^T Sw V = I, coordinates are read along V and written along Sw V: `out = base + Sw V V^T (source -
    base)`. That is the orthogonal projection in units where Sw is the unit matrix. At most one column less
    than there are classes. Sw is shrunk in standardised units (mean 0, variance 1 per neuron), as in
    scikit-learn's `LinearDiscriminantAnalysis(shrinkage="auto")`.
    """

    name = "lda"
    summary = "Swaps Fisher's discriminants: class differences relative to the spread within"
    config_class = LdaConfig

    def directions(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        """Return what `discriminants` finds in vectors with classes."""
        labelled = labelled_vectors(problem, engine, limit=self.config.vectors)
        return discriminants(labelled, shrinkage=self.config.shrinkage)


def discriminants(labelled: LabelledVectors, *, shrinkage: float | None) -> dict[str, Tensor]:
    """Return `readers` V and `writers` Sw V [d_model, rank] and Fisher's `ratios` [rank], descending. Raises
    NotApplicableError if the class means are the same up to rounding."""
    coordinates = principal_coordinates(labelled.vectors)
    n_classes = len(labelled.classes)
    means = class_means(coordinates.values, labelled.labels, n_classes)
    residuals = coordinates.values - means[torch.from_numpy(labelled.labels)]
    floor = _SMALLEST_SPREAD * float(coordinates.variances.mean())
    whiten, colour = _whitening(_shrunk(residuals, shrinkage), floor)
    weighted = means * class_shares(labelled.labels, n_classes).sqrt()[:, None]
    whitened = whiten @ weighted.mT
    with one_thread():
        columns, singular, _ = torch.linalg.svd(whitened, full_matrices=False)
    rank = significant(singular, scale=1.0)
    require_rank(rank, came=f"{n_classes} class means that are all the same")
    columns = fixed_signs(columns[:, :rank])
    return {
        "readers": (coordinates.readers @ whiten @ columns).float(),
        "writers": (coordinates.writers @ colour @ columns).float(),
        "ratios": singular[:rank].square().float(),
    }


def _shrunk(residuals: Tensor, shrinkage: float | None) -> Tensor:
    """The covariance of centred residuals [n, d] drawn towards the unit matrix times the mean variance."""
    if shrinkage is None:
        from sklearn.covariance import ledoit_wolf

        return torch.from_numpy(ledoit_wolf(residuals.numpy(), assume_centered=True)[0])
    covariance = residuals.mT @ residuals / len(residuals)
    unit = torch.eye(len(covariance), dtype=covariance.dtype)
    return (1 - shrinkage) * covariance + shrinkage * covariance.diagonal().mean() * unit


def _whitening(covariance: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The symmetric inverse root of a covariance and its inverse, with eigenvalues of at least `floor`."""
    with one_thread():
        eigenvalues, axes = torch.linalg.eigh(covariance)
    roots = eigenvalues.clamp(min=floor).sqrt()
    return (axes / roots) @ axes.mT, (axes * roots) @ axes.mT


METHOD = Lda
