"""Language models in which the true subspace of each attribute is known, because training put it there. Made
by interchange intervention training (Geiger et al. 2022, arXiv 2112.00826) on invented facts, then turned by
a random rotation that is folded into the weights. A world is such a model with its facts and truth."""

from typing import TYPE_CHECKING

from das.models.planted.spec import (
    HiddenPathway,
    PlantedSpec,
    PlantedTraining,
    Variable,
    check_spec,
    open_spec,
    planted_spec,
    planted_specs,
)
from ravel.common.registry.late import late_names

if TYPE_CHECKING:
    from das.models.planted.world import (
        BUNDLED_WORLD,
        PlantedWorld,
        load_world,
        make_world,
        make_world_folder,
        planted_tables,
        save_world,
    )
else:
    # Specifications are read without torch; a world takes it.
    __getattr__ = late_names(
        __name__,
        {
            "das.models.planted.world": (
                *("BUNDLED_WORLD", "PlantedWorld", "load_world", "make_world", "make_world_folder"),
                *("planted_tables", "save_world"),
            )
        },
    )

__all__ = [
    "BUNDLED_WORLD",
    "HiddenPathway",
    "PlantedSpec",
    "PlantedTraining",
    "PlantedWorld",
    "Variable",
    "check_spec",
    "load_world",
    "make_world",
    "make_world_folder",
    "open_spec",
    "planted_spec",
    "planted_specs",
    "planted_tables",
    "save_world",
]
