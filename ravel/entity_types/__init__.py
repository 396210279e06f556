"""Every entity type the suite knows, one declaration per file."""

from ravel.common.registry import Registry
from ravel.terms.schema import EntityType

__all__ = ["ENTITY_TYPES"]

ENTITY_TYPES: Registry[EntityType] = Registry(
    kind="entity type",
    packages=("ravel.entity_types",),
    attribute="ENTITY_TYPE",
    name_of=lambda t: t.name,
    group="ravel.entity_types",
    accepts=lambda thing: isinstance(thing, EntityType),
)
