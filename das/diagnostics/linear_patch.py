"""Adding along some columns what others read of a change, orthonormal or not; who made them is not known."""

from __future__ import annotations

from typing import final

from torch import Tensor

from das.featurizers.base import Featurizer
from ravel.common.errors import SuiteError


@final
class LinearPatch(Featurizer):
    """Swaps by `base + writers readers^T (source - base)`, whatever the columns.

    `Subspace` is the case in which this is a projection. Here it need be none: a part of a basis that is not
    brought back to length 1 and a cross patch (Makelov, Lange, Nanda 2024, arXiv 2311.17030) are not.

    Laws of featurizers that hold: `interchange(x, x)` is x exactly, no columns change nothing, the result has
    the base's dtype and device. Laws that do NOT hold: swapping twice is swapping once (only where
    `readers^T writers = I`), the complement is untouched (only where writers lie in the readers' span), and
    a saved one swaps as before: it is made for a measurement and never stored.
    """

    kind = "linear_patch"

    writers: Tensor
    """Columns along which is written, [d_model, k] in float32; k may be 0."""
    readers: Tensor
    """Columns along which the change is read, [d_model, k] in float32."""

    def __init__(self, writers: Tensor, readers: Tensor) -> None:
        """Keep both matrices in float32. Raises SuiteError unless they are matrices of one shape."""
        super().__init__()
        if writers.ndim != 2 or writers.shape != readers.shape:
            raise SuiteError(
                expected="writers and readers of one shape [d_model, k]",
                came=f"the shapes {list(writers.shape)} and {list(readers.shape)}",
                todo="give both as columns of the model's width",
            )
        self.register_buffer("writers", writers.float().contiguous())
        self.register_buffer("readers", readers.float().contiguous())

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.writers.shape[0])

    def encode(self, vectors: Tensor) -> Tensor:
        """Return what the readers see: [..., d_model] to [..., k]."""
        return vectors @ self.readers

    def decode(self, features: Tensor) -> Tensor:
        """Return what the writers make of it: [..., k] to [..., d_model]; no way back from `encode`."""
        return features @ self.writers.mT

    def mask(self) -> Tensor:
        """Return ones, [k]."""
        return self.writers.new_ones(self.writers.shape[1])
