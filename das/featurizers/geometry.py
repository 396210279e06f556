"""Angles between the parts of a vector that two featurizers swap; it knows no method and no attribute."""

from __future__ import annotations

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.dictionary import Dictionary
from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from ravel.common.errors import SuiteError

LINEAR_PARTS = (Subspace, MaskedBasis, Dictionary)
"""Featurizers whose swap moves a vector within fixed directions, whatever the vector."""
_RANK_TOLERANCE = 1e-6
"""Singular values below this share of the largest count as zero."""


def written_directions(featurizer: Featurizer) -> Tensor:
    """Return orthonormal columns that span what a swap can change, [d_model, k] in float64 on the CPU.

    The range of a `Subspace`'s basis (of an oblique one too: where it writes), the chosen columns of a
    `MaskedBasis`, the decoder's rows of the chosen features of a `Dictionary`. A coordinate is chosen if more
    than half of it is swapped. Dependent rows of a dictionary count once, so that k may be less than its
    size. Raises SuiteError for another kind of featurizer.
    """
    if isinstance(featurizer, Subspace):
        return featurizer.basis.detach().double().cpu()
    if isinstance(featurizer, MaskedBasis):
        chosen = featurizer.weights > 0.5
        basis = torch.eye(featurizer.width) if featurizer.basis is None else featurizer.basis
        return basis.detach().double().cpu()[:, chosen.cpu()]
    if isinstance(featurizer, Dictionary):
        return _span(featurizer.decoder.detach().double().cpu()[featurizer.weights.cpu() > 0.5].mT)
    raise SuiteError(
        expected="a featurizer that swaps a linear part: subspace, masked_basis or dictionary",
        came=f"a {featurizer.kind}",
        todo="leave it out of comparisons of angles",
    )


def principal_cosines(first: Featurizer, second: Featurizer) -> Tensor:
    """Return the cosines of the principal angles between two swapped parts, largest first, [min(k_1, k_2)].

    They are the singular values of Q_1^T Q_2 for orthonormal columns Q_1 and Q_2 (Bjorck and Golub 1973),
    clipped to [0, 1], in float64. 1 means a shared direction; 0, a direction of one that is orthogonal to all
    of the other. Raises SuiteError for vectors of different widths.
    """
    if first.width != second.width:
        raise SuiteError(
            expected="two featurizers of vectors of one width",
            came=f"widths {first.width} and {second.width}",
            todo="compare featurizers of one site",
        )
    product = written_directions(first).mT @ written_directions(second)
    if not product.numel():
        return torch.zeros(0, dtype=torch.float64)
    cosines: Tensor = torch.linalg.svdvals(product)
    return cosines.clamp(0.0, 1.0)


def overlap(cosines: Tensor) -> float | None:
    """Return the mean squared cosine: the share of the smaller part that lies in the larger; None if there is
    no angle. Two random subspaces of d dimensions with k_1 <= k_2 have k_2 / d on average."""
    return float(cosines.square().mean()) if cosines.numel() else None


def _span(columns: Tensor) -> Tensor:
    if not columns.shape[1]:
        return columns
    left, values, _ = torch.linalg.svd(columns, full_matrices=False)
    kept: Tensor = left[:, values > _RANK_TOLERANCE * values[0]]
    return kept
