"""Every model family the suite knows, one declaration per file, and how a target model is loaded."""

from das.models.base import ModelFamily, TargetModel
from ravel.common.registry import Registry

__all__ = ["FAMILIES", "ModelFamily", "TargetModel"]

FAMILIES: Registry[ModelFamily] = Registry(
    kind="model family",
    packages=("das.models.families",),
    attribute="FAMILY",
    name_of=lambda f: f.name,
    group="ravel.model_families",
    accepts=lambda thing: isinstance(thing, ModelFamily),
)
