"""Every method: those of the suite, found in the folders of their families, and those of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ravel.common.registry import Registry

if TYPE_CHECKING:
    from das.methods.common.base import Method


def registered_name(method: type[Method]) -> str:
    """Return the name under which a method class registers itself."""
    return method.name


def methods_in(packages: tuple[str, ...]) -> Registry[type[Method]]:
    """Return the registry of the methods that modules of these packages, and plugins, bind to `METHOD`."""
    return Registry(
        kind="method",
        packages=packages,
        attribute="METHOD",
        name_of=registered_name,
        group="ravel.methods",
        accepts=_is_method,
    )


def _is_method(thing: object) -> bool:
    from das.methods.common.base import is_method

    return is_method(thing)


METHODS: Registry[type[Method]] = methods_in(
    tuple(
        f"das.methods.{family}"
        for family in (
            "bounds",
            "closed_form",
            "detection",
            "dictionaries",
            "masks",
            "neurons",
            "steering",
            "trained",
        )
    )
)
