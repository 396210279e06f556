"""A supervised steering vector for each value: what must be added for the value to be said."""

from __future__ import annotations

from pydantic import Field

from das.methods.common.edit_objectives import Language
from das.methods.common.edit_training import EditTrainingConfig
from das.methods.detection._trained_vectors import TrainsVectors


class SsvConfig(EditTrainingConfig):
    """Settings of ssv."""

    isolate_pairs: int = Field(default=0, ge=0)
    """Most prompts of the other attributes that are to keep the model's own answer; 0: a single task, as
    published."""


class Ssv(TrainsVectors[SsvConfig]):
    """A vector for each value, trained so that, added, it gives prompts of entities without the value the
    value's answer (SSV of AxBench, Wu et al. 2025, arXiv 2501.17148). It is read as a direction, and to
    scale: strength 1 adds it as it was trained.

    Departures: it is added at the site and at no other token; isolate prompts can be added, as to `loreft`.
    """

    name = "ssv"
    summary = "Tells a value by the vector that, added, makes the model say it"
    config_class = SsvConfig

    def objective(self) -> Language:
        """Return the cross entropy."""
        return Language()


METHOD = Ssv
