"""Members of registries from outside the suite: entry points of installed packages and a user's own files,
which `RAVEL_PLUGINS` names, so that worker processes see the same ones."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from types import ModuleType

from ravel.common.errors import SuiteError
from ravel.common.io import sha256_file, sha256_text

PLUGINS_VARIABLE = "RAVEL_PLUGINS"
"""Environment variable with the absolute paths of plugin files, parted as in PATH."""
_GROUPS = "ravel."
"""What the entry-point groups of the suite begin with."""
_ATTRIBUTES = ("METHOD", "ENTITY_TYPE", "FAMILY", "CONTROL", "TRACK")
"""Names of which a plugin file has to bind one, or it would be read for nothing."""


@dataclass(frozen=True, slots=True)
class PluginMember:
    """Something that a plugin registers."""

    thing: object
    """The object itself."""
    home: str
    """The file or package that it comes from, for error messages."""


def plugin_files() -> tuple[Path, ...]:
    """Return the plugin files that `RAVEL_PLUGINS` names, each once, in order."""
    named = os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(name).expanduser().absolute() for name in named if name))


@contextmanager
def plugins_named(files: Sequence[Path]) -> Iterator[None]:
    """Let these files be plugins too, in this process and the ones it starts, until the block ends. Raises
    SuiteError for a path that is no file or can't stand in an environment variable."""
    for file in files:
        if os.pathsep in str(file.absolute()) or not file.is_file():
            raise SuiteError(
                expected=f"a Python file at {file}, without {os.pathsep!r} in its path, as a plugin",
                came="none",
                todo="check the path that --plugin names",
            )
    before = os.environ.get(PLUGINS_VARIABLE)
    named = dict.fromkeys((*map(str, plugin_files()), *(str(file.absolute()) for file in files)))
    if files:
        os.environ[PLUGINS_VARIABLE] = os.pathsep.join(named)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(PLUGINS_VARIABLE, None)
        else:
            os.environ[PLUGINS_VARIABLE] = before


def plugin_versions() -> dict[str, str]:
    """Return the versions of the installed packages that have an entry point for the suite, by name, and the
    hashes of the plugin files, by file name."""
    packages = {
        distribution.name: distribution.version
        for distribution in distributions()
        if any(point.group.startswith(_GROUPS) for point in distribution.entry_points)
    }
    return packages | {file.name: f"sha256:{sha256_file(file)}" for file in plugin_files() if file.is_file()}


def are_plugged_in(group: str) -> bool:
    """Tell whether any plugin file, or entry point of a group, may have members for a registry."""
    return bool(plugin_files()) or bool(entry_points(group=group))


def members_of_entry_points(group: str, attribute: str) -> Iterator[PluginMember]:
    """Yield what installed packages register in a group: an object, or the `attribute` of a module. Raises
    SuiteError that names the package where one can't be imported or lacks the attribute."""
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        package = point.dist.name if point.dist is not None else "unknown"
        home = f"the package {package} (entry point {point.name} = {point.value})"
        thing = _loaded(point, home)
        if isinstance(thing, ModuleType):
            if not hasattr(thing, attribute):
                raise SuiteError(
                    expected=f"a module that binds {attribute}, in the group {group} of {home}",
                    came=f"{thing.__name__}, which does not",
                    todo=f"bind {attribute} there, or name the object itself as MODULE:OBJECT",
                )
            thing = getattr(thing, attribute)
        yield PluginMember(thing, home)


def _loaded(point: EntryPoint, home: str) -> object:
    try:
        loaded: object = point.load()
    # Whatever goes wrong in a stranger's module is that package's fault.
    except Exception as error:
        raise SuiteError(
            expected=f"a plugin that can be imported from {home}",
            came=_words(error),
            todo="mend that package, or uninstall it",
        ) from error
    return loaded


def members_of_files(files: Sequence[Path], attribute: str) -> Iterator[PluginMember]:
    """Yield what plugin files bind to the module-level name `attribute`; a file may bind other kinds alone.
    Raises SuiteError that names the file where one can't be imported or registers nothing of any kind."""
    for file in files:
        module = _module_of(file)
        if hasattr(module, attribute):
            yield PluginMember(getattr(module, attribute), f"the file {file}")


def _module_of(file: Path) -> ModuleType:
    """Import a file, once in a process, under a name that is the same in every process."""
    name = f"ravel_plugin_{sha256_text(str(file))[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise _unfit(file, "a file whose name does not end in .py")
    module = importlib.util.module_from_spec(spec)
    # Settings look their annotations up in the module of their class while it is being run.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    # Whatever goes wrong in a user's own file is that file's fault.
    except Exception as error:
        del sys.modules[name]
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
        ]
        raise _unfit(file, f"{_words(error)}{f' (line {lines[-1]})' if lines else ''}") from error
    if not any(hasattr(module, attribute) for attribute in _ATTRIBUTES):
        del sys.modules[name]
        raise _unfit(file, f"a file that binds none of {', '.join(_ATTRIBUTES)}")
    return module


def _unfit(file: Path, came: str) -> SuiteError:
    return SuiteError(
        expected=f"a plugin that can be imported from {file}",
        came=came,
        todo=f"mend the file, or leave it out of --plugin and {PLUGINS_VARIABLE}",
    )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
