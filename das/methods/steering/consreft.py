"""ConsReFT towards each value: what stands in a learned subspace gives way to fixed coordinates."""

from __future__ import annotations

from das.edits.low_rank import Form
from das.methods.steering._low_rank import LowRankConfig, TrainsLowRank


class ConsreftConfig(LowRankConfig):
    """Settings of consreft."""


class Consreft(TrainsLowRank[ConsreftConfig]):
    """`h + R^T (b - R h)`, rows of R orthonormal (ConsreftIntervention of the code of ReFT, Wu et al. 2024,
    arXiv 2404.03592): an interchange of a learned subspace with a learned source. All else as `loreft`, but
    that training begins with coordinates of 0.
    """

    name = "consreft"
    summary = "Learned fixed coordinates for each value in a learned subspace"
    config_class = ConsreftConfig

    def form(self) -> Form:
        """Return the form."""
        return "consreft"


METHOD = Consreft
