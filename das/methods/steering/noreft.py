"""NoReFT towards each value: LoReFT whose directions need not be orthonormal."""

from __future__ import annotations

from das.edits.low_rank import Form
from das.methods.steering._low_rank import LowRankConfig, TrainsLowRank


class NoreftConfig(LowRankConfig):
    """Settings of noreft."""


class Noreft(TrainsLowRank[NoreftConfig]):
    """`h + R^T (W h + b - R h)` with any R (NoreftIntervention of the code of ReFT, Wu et al. 2024, arXiv
    2404.03592). All else as `loreft`.
    """

    name = "noreft"
    summary = "Learned low-rank edit for each value as loreft, in directions of any length and angle"
    config_class = NoreftConfig

    def form(self) -> Form:
        """Return the form."""
        return "noreft"


METHOD = Noreft
