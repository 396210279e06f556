"""What a plan must know of a target model, open or not; it holds no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from das.models.base import TargetModel
from das.sites import Site, Stream, check_offered


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A target model as a plan knows it: no weights."""

    name: str
    """As its user calls it."""
    fingerprint: str
    """Equal for equal models."""
    parts: Mapping[str, str]
    """What the fingerprint is made of, by name."""
    n_layers: int
    """Number of blocks."""
    n_heads: int
    """Attention heads of a block."""
    d_model: int
    """Width of the residual stream."""
    head_width: int
    """Length of a head's output."""
    refusals: Mapping[Stream, str] = field(default_factory=dict)
    """Streams that are not offered, each with the reason."""

    @classmethod
    def of(cls, target: TargetModel) -> ModelInfo:
        """Return what a plan must know of an open model."""
        return cls(
            name=target.name,
            fingerprint=target.fingerprint,
            parts=target.parts,
            n_layers=target.n_layers,
            n_heads=target.n_heads,
            d_model=target.d_model,
            head_width=target.head_width,
            refusals=target.refusals,
        )

    def width(self, site: Site) -> int:
        """Return the length of the vector at a site."""
        return self.d_model if site.head is None else self.head_width

    def check(self, site: Site) -> None:
        """Raise SuiteError unless the model has the site's layer and head, and its stream is offered."""
        check_offered(site, self.refusals, self.name)
        site.check(self.n_layers, None if site.head is None else self.n_heads)
