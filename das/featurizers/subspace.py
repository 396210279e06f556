"""A linear subspace: its coordinates are swapped whole, its complement stays."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import check_orthonormal
from das.threads import one_thread
from ravel.common.errors import SuiteError

READER_TOLERANCE = 1e-4
"""Largest error of `reader^T basis` against the unit matrix, relative to the longest reader column."""


@final
class Subspace(Featurizer):
    """The span of orthonormal columns; swapping it adds the projection P(source - base) to the base.

    Without a `reader` the projection is orthogonal, P = basis basis^T, as in distributed alignment search
    (Geiger et al. 2024, arXiv 2303.02536) with the columns in place of a full rotation. With one it is
    oblique, P = basis reader^T: coordinates are read along `reader` and written along `basis`. That is what
    a projection becomes that is orthogonal in other units (standardised, whitened) than those of the model.
    """

    kind = "subspace"

    basis: Tensor
    """Orthonormal columns along which is written, [d_model, k] in float32; k may be 0."""
    reader: Tensor | None
    """Columns along which is read, [d_model, k] with `reader^T basis = I`; None: `basis` itself."""

    def __init__(self, basis: Tensor, reader: Tensor | None = None) -> None:
        """Keep both as given, so that a gradient reaches whatever they were computed from. Raises SuiteError
        if `basis` is not a matrix of at most d_model orthonormal columns, or `reader` does not read its
        columns as the unit vectors. `Subspace.oblique` makes both of any two such matrices."""
        super().__init__()
        if basis.ndim != 2 or basis.shape[1] > basis.shape[0]:
            raise SuiteError(
                expected="a basis of shape [d_model, k] with k at most d_model",
                came=f"the shape {tuple(basis.shape)}",
                todo="choose a dimension no larger than the model's width",
            )
        check_orthonormal(basis, what="a basis")
        if reader is not None:
            _check_reader(reader, basis)
        self.register_buffer("basis", basis.float().contiguous())
        self.register_buffer("reader", None if reader is None else reader.float().contiguous())

    @classmethod
    def oblique(cls, readers: Tensor, writers: Tensor) -> Subspace:
        """Return the projection `writers (readers^T writers)^-1 readers^T`; both are [d_model, k]. The
        readers say which coordinates of a vector count, the writers in which directions a change of them is
        written; k must not exceed the rank of `readers^T writers`. Computed in float64."""
        wide_readers, wide_writers = readers.double(), writers.double()
        gram = wide_readers.mT @ wide_writers
        with one_thread():
            basis, mixing = torch.linalg.qr(wide_writers)
            solved = torch.linalg.solve(gram, wide_readers.mT)
        reader = solved.mT @ mixing.mT
        return cls(basis.float(), reader.float())

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.basis.shape[0])

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the coordinates in the subspace: [..., d_model] to [..., k]."""
        return vectors @ (self.basis if self.reader is None else self.reader)

    def decode(self, features: Tensor) -> Tensor:
        """Return the vectors of the subspace with these coordinates: [..., k] to [..., d_model]."""
        return features @ self.basis.mT

    def mask(self) -> Tensor:
        """Return ones, [k]: every coordinate is swapped."""
        return self.basis.new_ones(self.basis.shape[1])


def _check_reader(reader: Tensor, basis: Tensor) -> None:
    fits = reader.shape == basis.shape
    if fits:
        with torch.no_grad():
            read = reader.double().mT @ basis.double()
            scale = max(1.0, float(reader.double().norm(dim=0).max())) if reader.numel() else 1.0
            difference = (read - torch.eye(basis.shape[1], dtype=read.dtype, device=read.device)).abs()
            fits = not difference.numel() or float(difference.max()) <= READER_TOLERANCE * scale
    if not fits:
        raise SuiteError(
            expected="a reader of the basis's shape whose products with the basis are the unit matrix",
            came=f"a reader of shape {tuple(reader.shape)} that does not read the basis so",
            todo="make it with Subspace.oblique",
        )
