"""A registry that scans folders: one file, one registered thing; it knows nothing of what it registers."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ravel.common.errors import unknown_name

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Everything of one kind, found by importing each module of the given packages.

    A module registers a thing by binding it to the module-level name `attribute` (for instance `METHOD`).
    Modules whose name starts with an underscore, and modules without that attribute, register nothing.
    Scanning happens at first use, so importing a registry imports none of its members.
    """

    def __init__(
        self, *, kind: str, packages: tuple[str, ...], attribute: str, name_of: Callable[[T], str]
    ) -> None:
        self.kind = kind
        """What is registered, in words, for error messages."""
        self.packages = packages
        """Import names of the packages whose modules are scanned."""
        self.attribute = attribute
        """The module-level name that holds the registered thing."""
        self._name_of = name_of
        self._found: dict[str, T] | None = None

    def get(self, name: str) -> T:
        """Return the thing called `name`. Raises SuiteError that lists near misses if there is none."""
        members = self._members()
        if name not in members:
            raise unknown_name(self.kind, name, members)
        return members[name]

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        return sorted(self._members())

    def __iter__(self) -> Iterator[T]:
        return iter(self._members()[name] for name in self.names())

    def __contains__(self, name: str) -> bool:
        return name in self._members()

    def _members(self) -> dict[str, T]:
        if self._found is None:
            self._found = self._scan()
        return self._found

    def _scan(self) -> dict[str, T]:
        found: dict[str, T] = {}
        homes: dict[str, str] = {}
        for package in self.packages:
            for module_name in _modules_of(package):
                module = importlib.import_module(module_name)
                if not hasattr(module, self.attribute):
                    continue
                thing: T = getattr(module, self.attribute)
                name = self._name_of(thing)
                if name in found:
                    raise ValueError(
                        f"{self.kind} {name!r} is registered by both {homes[name]} and {module_name}"
                    )
                found[name] = thing
                homes[name] = module_name
        return found


def _modules_of(package: str) -> list[str]:
    home = importlib.import_module(package)
    modules = pkgutil.iter_modules(home.__path__)
    return [f"{package}.{m.name}" for m in modules if not m.name.startswith("_")]
