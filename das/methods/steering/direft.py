"""DiReFT towards each value: a low-rank function of the vector is added, and nothing taken out."""

from __future__ import annotations

from das.edits.low_rank import Form
from das.methods.steering._low_rank import LowRankConfig, TrainsLowRank


class DireftConfig(LowRankConfig):
    """Settings of direft."""

    orthonormal: bool = False
    """Keep the rows of R orthonormal, as the reference code's class of this name does; the paper does
    not."""


class Direft(TrainsLowRank[DireftConfig]):
    """DiReFT (Wu et al. 2024, arXiv 2404.03592, equation 3): `h + R^T (W h + b)`. All else as `loreft`; W
    begins at 0.
    """

    name = "direft"
    summary = "Learned low-rank edit for each value that adds and takes nothing out"
    config_class = DireftConfig

    def form(self) -> Form:
        """Return the paper's form or the code's."""
        return "direft_orthonormal" if self.config.orthonormal else "direft"


METHOD = Direft
