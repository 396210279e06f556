"""Every method of the suite: those that train (`das/methods/`) and baselines (`evaluation/baselines/`)."""

from das.methods.base import Method, registered_name
from ravel.common.registry import Registry

__all__ = ["METHODS"]

METHODS: Registry[type[Method]] = Registry(
    kind="method",
    packages=("das.methods", "evaluation.baselines"),
    attribute="METHOD",
    name_of=registered_name,
)
