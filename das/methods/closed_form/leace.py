"""What least-squares concept erasure would erase, as a subspace to swap; concept-erasure has no swaps."""

from __future__ import annotations

from concept_erasure import LeaceFitter
from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.closed_form._directions import ClassDirections
from das.methods.common.base import MethodConfig, Problem
from das.methods.common.coordinates import (
    TOLERANCE,
    one_hot,
    principal_coordinates,
    require_rank,
)
from das.methods.common.labelled import LabelledVectors, labelled_vectors


class LeaceConfig(MethodConfig):
    """Settings of leace."""

    shrinkage: bool = True
    """Whether the covariance is drawn towards the unit matrix, as fits few vectors; the concept is erased
    from the training vectors either way, but only without it at the least change of them."""
    vectors: PositiveInt = 20000
    """Most training vectors; a larger population is sampled, always the same."""


class Leace(ClassDirections[LeaceConfig]):
    """Least-squares concept erasure (Belrose et al. 2023, arXiv 2306.03819, section 4): its erased part.

    With W = Sigma_xx^(-1/2) and U the left singular vectors of W Sigma_xz (z: one-hot classes), the erased
    part of a vector is `W^+ U U^T W x`; here it is swapped instead of removed: read along W U, written along
    W^+ U, an oblique projection that takes the whole covariance with the classes along. At full rank, one
    column less than there are classes, removing it leaves equal class means, so that no linear classifier
    beats the majority. A smaller `size` keeps the leading singular vectors and the guarantee only for them.
    Departures: vectors are standardised first, which changes nothing without shrinkage (the optimum is the
    same in all units); the package's limit on the trace of the covariance is off, for it mixes the projection
    with another.
    """

    name = "leace"
    summary = "Swaps what least-squares concept erasure would erase"
    config_class = LeaceConfig

    def directions(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        """Return what `erased_directions` finds in vectors with classes."""
        labelled = labelled_vectors(problem, engine, limit=self.config.vectors)
        return erased_directions(labelled, shrinkage=self.config.shrinkage)


def erased_directions(labelled: LabelledVectors, *, shrinkage: bool) -> dict[str, Tensor]:
    """Return `readers` W U and `writers` W^+ U, [d_model, rank], by descending singular value. Raises
    NotApplicableError if the class means are the same up to rounding."""
    coordinates = principal_coordinates(labelled.vectors)
    concept = one_hot(labelled.labels, len(labelled.classes))
    left, right = _erasure(coordinates.values, concept, shrinkage=shrinkage)
    if shrinkage and not _erases(left, right, coordinates.values, concept):
        # Where vectors are few and spread alike in all directions, the package's estimate of the covariance
        # need not be positive, and what is erased is not the concept.
        left, right = _erasure(coordinates.values, concept, shrinkage=False)
    require_rank(left.shape[1], came=f"{len(labelled.classes)} class means that are all the same")
    return {
        "readers": (coordinates.readers @ right.mT).float(),
        "writers": (coordinates.writers @ left).float(),
    }


def _erasure(values: Tensor, concept: Tensor, *, shrinkage: bool) -> tuple[Tensor, Tensor]:
    """Factors [d, rank] and [rank, d] of the erased part of vectors [n, d], for a concept [n, classes]."""
    eraser = LeaceFitter.fit(
        values,
        concept,
        constrain_cov_trace=False,
        shrinkage=shrinkage,
        svd_tol=TOLERANCE,
    ).eraser
    # The package sets singular vectors below its tolerance to zero and leaves them in place.
    kept = eraser.proj_right.norm(dim=1) > 0
    return eraser.proj_left[:, kept], eraser.proj_right[kept]


def _erases(left: Tensor, right: Tensor, values: Tensor, concept: Tensor) -> bool:
    """Whether nothing of the covariance with the concept is left without the erased part."""
    covariance = values.mT @ (concept - concept.mean(dim=0)) / len(values)
    rest = covariance - left @ (right @ covariance)
    return bool(rest.norm() <= 1e-3 * covariance.norm())


METHOD = Leace
