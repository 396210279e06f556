"""The span of class means: the simplest supervised subspace; it knows no covariance and trains nothing."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.closed_form._directions import ClassDirections
from das.methods.common.base import MethodConfig, Problem
from das.methods.common.coordinates import (
    class_means,
    class_shares,
    fixed_signs,
    require_rank,
    significant,
)
from das.methods.common.labelled import LabelledVectors, labelled_vectors
from das.threads import one_thread


class MeanDifferenceConfig(MethodConfig):
    """Settings of mean_difference."""

    vectors: PositiveInt = 20000
    """Most training vectors; a larger population is sampled, always the same."""


class MeanDifference(ClassDirections[MeanDifferenceConfig]):
    """Swaps the span of the centred class means, or its `size` principal directions.

    The many-valued form of the difference of two means, as in mass-mean probes (Marks and Tegmark 2023, arXiv
    2310.06824). Removing all of it leaves equal class means, and so nothing to a linear classifier (Belrose
    et al. 2023, arXiv 2306.03819). Every class counts once, however many vectors it has. At most one column
    less than there are classes, so the result may be smaller than asked for.
    """

    name = "mean_difference"
    summary = "Swaps the span of the centred class means"
    config_class = MeanDifferenceConfig

    def directions(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        """Return what `mean_directions` finds in vectors with classes."""
        return mean_directions(labelled_vectors(problem, engine, limit=self.config.vectors))


def mean_directions(labelled: LabelledVectors) -> dict[str, Tensor]:
    """Return orthonormal `basis` [d_model, rank] of the centred class means and their `singular` values. The
    columns are the principal directions of the class means, each class with weight one, by descending
    singular value. Raises NotApplicableError if the means are the same up to rounding."""
    n_classes = len(labelled.classes)
    means = class_means(labelled.vectors, labelled.labels, n_classes)
    means = means[class_shares(labelled.labels, n_classes) > 0]
    with one_thread():
        basis, singular, _ = torch.linalg.svd((means - means.mean(dim=0)).mT, full_matrices=False)
    rank = significant(singular, scale=float(labelled.vectors.double().square().mean().sqrt()))
    require_rank(rank, came=f"{n_classes} class means that are all the same")
    return {"basis": fixed_signs(basis[:, :rank]).float(), "singular": singular[:rank].float()}


METHOD = MeanDifference
