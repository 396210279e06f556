"""Other forwards in place of modules' own, for the thread that asks or for all, as long as it asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

Forward = Callable[..., Any]


class Replaced:
    """Gives some modules other forwards within a block of code.

    A thread meets only its own, and those for every thread: others run the same modules meanwhile as they
    are. Hooks on a module still run. When no thread is within a block the modules are as they were before.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[Any] = []
        self._mine = threading.local()
        self._everyones: Mapping[int, Forward] = {}

    @staticmethod
    def is_within(module: nn.Module) -> bool:
        """Tell whether any thread is within a block that gives this module another forward."""
        return isinstance(vars(module).get("forward"), _Chosen)

    def own(self, index: int) -> Forward:
        """Return a module's own forward, whoever replaces it now."""
        with self._lock:
            return self._own(index)

    def _own(self, index: int) -> Forward:
        module = self._modules[index]
        if not self._inside:
            return module.forward
        before: Forward | None = self._before[index]
        return before if before is not None else type(module).forward.__get__(module)

    @contextmanager
    def by(self, forwards: Mapping[int, Forward]) -> Iterator[None]:
        """Within, this thread meets `forwards`, by the modules' numbers. Such blocks don't nest."""
        self._enter()
        self._mine.forwards = forwards
        try:
            yield
        finally:
            self._mine.forwards = {}
            self._leave()

    @contextmanager
    def by_everyone(self, forwards: Mapping[int, Forward]) -> Iterator[None]:
        """Within, every thread meets `forwards` where it has none of its own. Such blocks don't nest."""
        self._enter()
        self._everyones = forwards
        try:
            yield
        finally:
            self._everyones = {}
            self._leave()

    def met(self, index: int, own: Forward) -> Forward:
        """Return what this thread meets in place of a module's own forward."""
        mine: Mapping[int, Forward] = getattr(self._mine, "forwards", {})
        return mine[index] if index in mine else self._everyones.get(index, own)

    def _enter(self) -> None:
        with self._lock:
            if not self._inside:
                owns = [self._own(i) for i in range(len(self._modules))]
                self._before = [vars(module).get("forward") for module in self._modules]
                for i, module in enumerate(self._modules):
                    module.forward = _Chosen(self, i, owns[i])
            self._inside += 1

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            for module, before in zip(self._modules, self._before, strict=True):
                if before is None:
                    del module.forward
                else:
                    module.forward = before


class _Chosen:
    """A module's forward that is another by who calls it."""

    def __init__(self, replaced: Replaced, index: int, own: Forward) -> None:
        self._replaced = replaced
        self._index = index
        self._own = own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._replaced.met(self._index, self._own)(*args, **kwargs)
