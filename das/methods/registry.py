"""Every method: those of the suite, found in the folders of their families, and those of plugins."""

from das.methods.common.base import Method, is_method, registered_name
from ravel.common.registry import Registry

__all__ = ["METHODS", "methods_in"]


def methods_in(packages: tuple[str, ...]) -> Registry[type[Method]]:
    """Return the registry of the methods that modules of these packages, and plugins, bind to `METHOD`."""
    return Registry(
        kind="method",
        packages=packages,
        attribute="METHOD",
        name_of=registered_name,
        group="ravel.methods",
        accepts=is_method,
    )


METHODS: Registry[type[Method]] = methods_in(
    tuple(
        f"das.methods.{family}"
        for family in ("bounds", "closed_form", "dictionaries", "masks", "neurons", "trained")
    )
)
