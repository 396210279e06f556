"""The one abstraction of the suite: coordinates of a vector, a choice among them, and the swap, written once.
A featurizer knows vectors only: no model, no prompts, no attributes, no method that found it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from torch import Tensor

from das.finding import Finding
from ravel.common.facts_table import facts_table


class Featurizer(Finding, ABC):
    """A change of coordinates `encode`, its way back `decode`, and a `mask` over the coordinates.

    Subclasses are final: `Subspace`, `MaskedBasis`, `Dictionary`, `ReversibleMap`, and `Complement` of any of
    them. All arithmetic is in float32, and tensors are kept contiguous: another memory layout rounds
    differently, and a saved featurizer must swap as before, to the bit.
    """

    keeps_error: bool = True
    """Whether what the encoder loses stays with the base. False drops it, so that even an empty mask changes
    the base: only for measuring what a lossy dictionary's reconstruction alone does."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Length d_model of the vectors this featurizer acts on."""

    @property
    def size(self) -> int:
        """How many coordinates are swapped: those of which more than half is."""
        return int((self.mask() > 0.5).sum())

    @abstractmethod
    def encode(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., d_model] to coordinates [..., n_features]."""

    @abstractmethod
    def decode(self, features: Tensor) -> Tensor:
        """Map coordinates [..., n_features] back to vectors [..., d_model]."""

    @abstractmethod
    def mask(self) -> Tensor:
        """Return the choice among coordinates, [n_features], from 0 (base's stays) to 1 (source's comes)."""

    def _repr_html_(self) -> str:
        """Return what a notebook shows: kind, sizes, and what happens to what the encoder loses."""
        kept = "stays with the base" if self.keeps_error else "is dropped"
        facts = {"size": self.size, "width": self.width, "what the encoder loses": kept}
        return facts_table(self.kind, facts)

    @final
    def interchange(self, base: Tensor, source: Tensor) -> Tensor:
        """Swap the chosen coordinates of `source` into `base`: both [..., d_model]; the result has base's
        dtype and device.

        `base + (decode(mix) - decode(f_base))` with `mix = f_base + mask * (f_source - f_base)`. What the
        encoder loses (the complement of a subspace, the error of an autoencoder) stays with the base, so
        `interchange(x, x)` is x exactly and an empty mask returns base exactly. Without `keeps_error` the
        result is `decode(mix)` alone.
        """
        wide_base = base.float()
        f_base = self.encode(wide_base)
        f_source = self.encode(source.to(device=base.device).float())
        mix = f_base + self.mask() * (f_source - f_base)
        if not self.keeps_error:
            return self.decode(mix).to(base.dtype)
        return (wide_base + (self.decode(mix) - self.decode(f_base))).to(base.dtype)
