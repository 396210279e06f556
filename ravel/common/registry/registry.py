"""A registry that scans folders: one file, one registered thing; it knows nothing of what it registers."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from ravel.common.errors import SuiteError, unknown_name
from ravel.common.registry.plugins import (
    PluginMember,
    are_plugged_in,
    members_of_entry_points,
    members_of_files,
    plugin_files,
)
from ravel.common.registry.stated import stated_in

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""What names of plugins may be: they stand in file names, tables and settings."""


class Registry(Generic[T]):
    """Everything of one kind, found by importing each module of the given packages.

    A module registers a thing by binding it to the module-level name `attribute` (for instance `METHOD`).
    Modules whose name starts with an underscore, and modules without that attribute, register nothing.
    Scanning happens at first use, so importing a registry imports none of its members. With `group`,
    installed packages register more by entry points of that group, and so do the plugin files of the moment.
    """

    def __init__(
        self,
        *,
        kind: str,
        packages: tuple[str, ...],
        attribute: str,
        name_of: Callable[[T], str],
        group: str | None = None,
        accepts: Callable[[object], bool] = lambda _: True,
    ) -> None:
        self.kind = kind
        """What is registered, in words, for error messages."""
        self.packages = packages
        """Import names of the packages whose modules are scanned."""
        self.attribute = attribute
        """The module-level name that holds the registered thing."""
        self.group = group
        """The entry-point group of other packages' members; None keeps the registry to its own packages."""
        self._name_of = name_of
        self._accepts = accepts
        self._known: dict[str, T] | None = None
        self._plugin_files: tuple[Path, ...] = ()

    def get(self, name: str) -> T:
        """Return the thing called `name`. Raises SuiteError that lists near misses if there is none."""
        members = self._members()
        if name not in members:
            raise unknown_name(self.kind, name, members)
        return members[name]

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        return sorted(self._members())

    def stated(self, *fields: str) -> list[dict[str, Any]]:
        """Return name and these attributes, which are texts or tuples of texts, of every member, sorted by
        name. Our own members are not imported for it, unless there are plugins, with which they must go
        together. Raises ValueError for a module of ours that does not state one in plain text."""
        if self.group is not None and are_plugged_in(self.group):
            return [{field: getattr(member, field) for field in ("name", *fields)} for member in self]
        files = (file for package in self.packages for file in _files_of(package))
        rows = (stated_in(file, self.attribute, ("name", *fields)) for file in files)
        return sorted((row for row in rows if row is not None), key=lambda row: row["name"])

    def __iter__(self) -> Iterator[T]:
        return iter(self._members()[name] for name in self.names())

    def __contains__(self, name: str) -> bool:
        return name in self._members()

    def _members(self) -> dict[str, T]:
        files = plugin_files() if self.group is not None else ()
        if self._known is None or files != self._plugin_files:
            self._known, self._plugin_files = self._scan(files), files
        return self._known

    def _scan(self, files: Sequence[Path]) -> dict[str, T]:
        members: dict[str, T] = {}
        homes: dict[str, str] = {}
        for module_name, thing in self._own():
            name = self._name_of(thing)
            if name in members:
                raise ValueError(
                    f"{self.kind} {name!r} is registered by both {homes[name]} and {module_name}"
                )
            members[name], homes[name] = thing, module_name
        for plugin in self._plugins(files):
            name, thing = self._checked(plugin)
            if name in members:
                raise SuiteError(
                    expected=f"a {self.kind} of a new name in {plugin.home}",
                    came=f"{name!r}, which {homes[name]} has registered",
                    todo="choose another name, or leave one of the two out",
                )
            members[name], homes[name] = thing, plugin.home
        return members

    def _own(self) -> Iterator[tuple[str, T]]:
        for package in self.packages:
            for module_name in _modules_of(package):
                module = importlib.import_module(module_name)
                if hasattr(module, self.attribute):
                    yield module_name, getattr(module, self.attribute)

    def _plugins(self, files: Sequence[Path]) -> Iterator[PluginMember]:
        if self.group is not None:
            yield from members_of_entry_points(self.group, self.attribute)
        yield from members_of_files(files, self.attribute)

    def _checked(self, plugin: PluginMember) -> tuple[str, T]:
        """Return name and thing of a plugin. Raises SuiteError for what is not of this registry's kind."""
        if not self._accepts(plugin.thing):
            raise SuiteError(
                expected=f"a {self.kind} as {self.attribute} in {plugin.home}",
                came=ascii(plugin.thing)[:120],
                todo=f"bind {self.attribute} to a {self.kind} that declares all that one must",
            )
        thing = cast("T", plugin.thing)
        name: object = self._name_of(thing)
        if not isinstance(name, str) or not is_plugin_name(name):
            raise SuiteError(
                expected=f"a {self.kind} whose name has letters, digits, '_' and '-' only, in {plugin.home}",
                came=repr(name),
                todo="choose another name",
            )
        return name, thing


def is_plugin_name(name: object) -> bool:
    """Tell whether a member from outside may be called so."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _modules_of(package: str) -> list[str]:
    home = importlib.import_module(package)
    modules = pkgutil.iter_modules(home.__path__)
    return [f"{package}.{m.name}" for m in modules if not m.name.startswith("_")]


def _files_of(package: str) -> list[Path]:
    home = importlib.import_module(package)
    return [file for place in home.__path__ for file in Path(place).glob("*.py") if file.name[0] != "_"]
