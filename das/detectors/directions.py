"""A direction for each value: how far a vector goes along it says how likely the value is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from das.detectors.base import VectorDetector
from ravel.common.errors import SuiteError


@final
class Directions(VectorDetector):
    """Scores `vectors @ readers + bias`, through a ReLU if `rectified`, as latents of an autoencoder are.

    What is added to all scores of a value changes no ranking; it matters where a ReLU cuts.
    """

    kind = "directions"

    readers: Tensor
    """One column per value, [d_model, n_values] in float32."""
    bias: Tensor
    """[n_values] in float32."""
    written: Tensor | None
    """Where other directions change values than tell them, a column each, [d_model, n_values]; else None."""

    def __init__(
        self,
        attribute: str,
        values: Sequence[str],
        readers: Tensor,
        bias: Tensor | None = None,
        *,
        writers: Tensor | None = None,
        rectified: bool = False,
        to_scale: bool = False,
    ) -> None:
        """Keep all in float32; no bias is one of zeros, without `writers` readers write too. Raises
        SuiteError unless there is a column, and a number, for each value."""
        super().__init__(attribute, values)
        offsets = readers.new_zeros(len(self.values)) if bias is None else bias
        fits = readers.ndim == 2 and readers.shape[1] == len(self.values) == offsets.numel()
        if not fits:
            raise SuiteError(
                expected=f"directions of shape [d_model, {len(self.values)}], one for each value",
                came=f"the shape {list(readers.shape)}, with {offsets.numel()} numbers to add",
                todo="give a column and a number for each value",
            )
        self.register_buffer("readers", readers.float().contiguous())
        self.register_buffer("bias", offsets.float().contiguous())
        if writers is not None and writers.shape != readers.shape:
            raise SuiteError(
                expected=f"directions that write of shape {list(readers.shape)}, as those that read",
                came=f"the shape {list(writers.shape)}",
                todo="give a column for each value",
            )
        self.register_buffer("written", None if writers is None else writers.float().contiguous())
        self.rectified = rectified
        """Whether scores below 0 count as 0."""
        self.to_scale = to_scale
        """Whether the lengths of those that write, and the level 0 of scores, were trained to be acted on:
        then what is added or nulled goes by them, and not by the means of training vectors."""

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.readers.shape[0])

    @property
    def writers(self) -> Tensor:
        """The directions along which values are changed, [d_model, n_values]."""
        return self.readers if self.written is None else self.written

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """Return the scores of vectors: [..., d_model] to [..., n_values]."""
        found = vectors.float() @ self.readers + self.bias
        return found.relu() if self.rectified else found

    def settings(self) -> dict[str, Any]:
        """Return attribute, values, whether scores are rectified, and of directions to scale that."""
        scale = {"to_scale": True} if self.to_scale else {}
        return {**super().settings(), "rectified": self.rectified, **scale}
