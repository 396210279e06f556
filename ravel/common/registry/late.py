"""Names of a package that are imported when they are asked for, so that its cheap names stay cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def late_names(package: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package: `places` says of each module which names come from it. It raises
    AttributeError for any other. Hide it from type checkers, and import for them what it brings."""
    homes = {name: module for module, names in places.items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return __getattr__
