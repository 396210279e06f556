"""Neurons ranked by the gradient of the answer: what each brings of the target, less its leak."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.methods.common.base import Problem, Workspace
from das.methods.common.ranked_coordinates import RankedCoordinatesConfig, RanksCoordinates


class NeuronsAttributionConfig(RankedCoordinatesConfig):
    """Settings of neurons_attribution."""


class NeuronsAttribution(RanksCoordinates[NeuronsAttributionConfig]):
    """Swaps the `size` neurons that attribution patching ranks highest for the target."""

    name = "neurons_attribution"
    summary = "Neurons ranked by the gradient of the answer in their interchange"
    config_class = NeuronsAttributionConfig

    def basis(self, problem: Problem, engine: Engine, workspace: Workspace, seed: int) -> None:
        """Return no basis: the coordinates are the neurons."""


METHOD = NeuronsAttribution
