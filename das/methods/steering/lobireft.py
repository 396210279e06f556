"""LobiReFT towards each value: a learned vector, put together in a learned subspace."""

from __future__ import annotations

from das.edits.low_rank import Form
from das.methods.steering._low_rank import LowRankConfig, TrainsLowRank


class LobireftConfig(LowRankConfig):
    """Settings of lobireft."""


class Lobireft(TrainsLowRank[LobireftConfig]):
    """`h + R^T b`, rows of R orthonormal (LobireftIntervention of the code of ReFT, Wu et al. 2024, arXiv
    2404.03592): a constant vector. All else as `loreft`.
    """

    name = "lobireft"
    summary = "Learned vector for each value in a learned subspace"
    config_class = LobireftConfig

    def form(self) -> Form:
        """Return the form."""
        return "lobireft"


METHOD = Lobireft
