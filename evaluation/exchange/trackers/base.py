"""What a tracker must say: which package it needs, and how it writes curves and scores; it knows no runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ravel.common.errors import SuiteError


class Writer(Protocol):
    """One logged run."""

    def curve(self, cell: str, step: int, values: Mapping[str, float]) -> None:
        """Write what a fit logged at a step."""
        ...

    def scores(self, values: Mapping[str, float]) -> None:
        """Write what the run came to."""
        ...

    def close(self) -> None:
        """Write nothing more."""
        ...


@dataclass(frozen=True, slots=True)
class Tracker:
    """A package that shows runs."""

    name: str
    """As on the command line."""
    package: str
    """What is to be installed."""
    module: str
    """What is imported of it."""
    begin: Callable[[Any, Path, Mapping[str, Any]], Writer]
    """Begins a logged run: takes the module, the folder of the run and the suite as plain values."""

    def open(self, folder: Path, config: Mapping[str, Any]) -> Writer:
        """Begin a logged run. Raises SuiteError where the package is not installed, or refuses to begin."""
        try:
            module = import_module(self.module)
        except ImportError:
            raise SuiteError(
                expected=f"the package {self.package}, which writes what --log {self.name} asks for",
                came="none that can be imported",
                todo=f"pip install {self.package}, or leave --log out: the folder of the run has all of it",
            ) from None
        try:
            return self.begin(module, folder, config)
        # Whatever a stranger's package refuses, such as a missing login, is for the user to mend.
        except Exception as error:
            raise SuiteError(
                expected=f"{self.package} to begin a run",
                came=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                todo=f"set {self.package} up, or leave --log out",
            ) from error
