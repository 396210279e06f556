"""Other forwards in place of modules' own, for the thread that asks and as long as it asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

Forward = Callable[..., Any]


class Replaced:
    """Gives some modules other forwards within a block of code.

    A thread meets only its own: others run the same modules meanwhile as they are. Hooks on a module still
    run. When no thread is within a block the modules are as they were before.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[Any] = []
        self._mine = threading.local()

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

    def _enter(self) -> None:
        with self._lock:
            if not self._inside:
                owns = [self._own(i) for i in range(len(self._modules))]
                self._before = [vars(module).get("forward") for module in self._modules]
                for i, module in enumerate(self._modules):
                    module.forward = self._chosen(i, owns[i])
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

    def _chosen(self, index: int, own: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            mine: Mapping[int, Forward] = getattr(self._mine, "forwards", {})
            return mine.get(index, own)(*args, **kwargs)

        return forward
