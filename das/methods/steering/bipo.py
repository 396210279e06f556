"""BiPO: a vector for each value that makes its answer likelier than it was, and turned round less likely."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from das.methods.common import edit_objectives as objectives
from das.methods.common.edit_training import EditTrainingConfig
from das.methods.detection._trained_vectors import TrainsVectors


class BipoConfig(EditTrainingConfig):
    """Settings of bipo."""

    isolate_pairs: int = Field(default=0, ge=0)
    """Most prompts of the other attributes whose own answer is not to lose; 0: a single task, as
    published."""
    beta: PositiveFloat = objectives.BIPO_BETA
    """Factor of the margins: the larger, the sooner a preference counts as learned."""


class Bipo(TrainsVectors[BipoConfig]):
    """The vector of BiPO (Cao et al. 2024, arXiv 2406.00045) for each value: added it raises the odds of the
    value's answer over the model's own, taken away it lowers them, both beside the model that is left alone.

    It steers to scale. Departures: it acts at the site and on no other token; isolate prompts can be added.
    """

    name = "bipo"
    summary = "Vector for each value that raises the odds of its answer, and turned round lowers them"
    config_class = BipoConfig

    def objective(self) -> objectives.Bipo:
        """Return BiPO's."""
        return objectives.Bipo(self.config.beta)


METHOD = Bipo
