"""LoReFT trained by RePS."""

from __future__ import annotations

from typing import Literal

from das.methods.steering._low_rank import LowRankConfig, TrainsLowRank


class LoreftRepsConfig(LowRankConfig):
    """Settings of loreft_reps: those of loreft."""

    objective: Literal["language", "reps", "bipo"] = "reps"
    """As of `loreft`."""


class LoreftReps(TrainsLowRank[LoreftRepsConfig]):
    """The form of `loreft`, trained by RePS (Wu et al. 2025, arXiv 2505.20809): steered by a factor the
    value's answer is preferred to the model's own, steered by its negative the other way round. Departures as
    of `loreft` and `reps`.
    """

    name = "loreft_reps"
    summary = "Learned low-rank edit for each value, trained on preferences both ways round"
    config_class = LoreftRepsConfig


METHOD = LoreftReps
