"""Every model family the suite knows, one declaration per file, and how a target model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ravel.common.registry import Registry
from ravel.common.registry.late import late_names

if TYPE_CHECKING:
    from das.models.base import ModelFamily, TargetModel
else:
    # What is known of planted models and of files of models is read without torch.
    __getattr__ = late_names(__name__, {"das.models.base": ("ModelFamily", "TargetModel")})

__all__ = ["FAMILIES", "ModelFamily", "TargetModel"]


def _is_family(thing: object) -> bool:
    from das.models.base import ModelFamily

    return isinstance(thing, ModelFamily)


FAMILIES: Registry[ModelFamily] = Registry(
    kind="model family",
    packages=("das.models.families",),
    attribute="FAMILY",
    name_of=lambda f: f.name,
    group="ravel.model_families",
    accepts=_is_family,
)
