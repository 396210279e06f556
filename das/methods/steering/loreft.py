"""LoReFT towards each value: a learned low-rank source, trained to bring the value and leave the others."""

from __future__ import annotations

from das.methods.steering._low_rank import LowRankConfig, TrainsLowRank


class LoreftConfig(LowRankConfig):
    """Settings of loreft."""


class Loreft(TrainsLowRank[LoreftConfig]):
    """LoReFT (Wu et al. 2024, arXiv 2404.03592) at one vector, an R, W and b for each value, on the
    cross entropy of answers: the value's on prompts of the target, the model's own on all others; or on
    preferences between the two (`objective`).

    Departures: it acts at the site and on no other token; isolate prompts are added, as mdas adds them to
    das; W begins at R, so that training begins at the identity; R is put back on its manifold by QR after
    each step.
    """

    name = "loreft"
    summary = "Learned low-rank edit for each value, trained on the value's answers and on keeping all others"
    config_class = LoreftConfig


METHOD = Loreft
