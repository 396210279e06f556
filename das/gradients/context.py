"""A block within which one loaded model's way back follows other rules; its forward pass stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from das.gradients.rules import PLAIN, BackwardRules
from das.gradients.watching import AttentionWatch, MlpWatch, NormWatch, Running, Watch, Watched
from das.models.base import TargetModel
from das.models.parts import norms
from das.replaced import Forward, Replaced
from ravel.common.errors import SuiteError

Kind = type[NormWatch] | type[AttentionWatch] | type[MlpWatch]


@contextmanager
def backward_rules(target: TargetModel, rules: BackwardRules) -> Iterator[None]:
    """Within, gradients through the target follow `rules`, whichever engine runs it and whichever attention
    of torch it asks for; its values are the same to the bit.

    What is computed within must be led back within. Other models are untouched, and so is this one
    afterwards. Raises SuiteError with the module's path where norms or attentions are not found; a module
    that is found and not understood is refused so when it runs.
    """
    if rules == PLAIN:
        yield
        return
    forwards = dict(_forwards(target, rules))
    if any(map(Replaced.is_within, forwards)):
        raise RuntimeError("other rules for the way back are in force for this model already")
    # Whoever runs the model within, as threads side by side do, is led back by the same rules.
    with Replaced(list(forwards)).by_everyone(dict(enumerate(forwards.values()))):
        yield


def _forwards(target: TargetModel, rules: BackwardRules) -> Iterator[tuple[nn.Module, Forward]]:
    """Yield the modules whose forward is another, with that."""
    running, watches = Running(), dict(_watches(target, rules))
    within = _stand_within(watches)
    for path, module in target.model.named_modules():
        kind = watches.get(module)
        if kind is not None:
            yield module, _Ruled(Watched(path, module, rules), kind, running)
        elif module in within:
            yield module, _LeftAlone(module, running)


def _watches(target: TargetModel, rules: BackwardRules) -> Iterator[tuple[nn.Module, Kind]]:
    """Yield what is watched. Raises SuiteError where it is not found."""
    blocks = target.family.blocks(target.model)
    if rules.frozen_norms:
        for block in blocks:
            if not any(norms(block)):
                raise _not_found(target, block, "a norm", "which has none")
        yield from ((module, NormWatch) for _, module in norms(target.model))
    for block in blocks:
        if rules.in_attention:
            yield _part(target, block, target.family.attention, "an attention"), AttentionWatch
        if rules.shared_credit:
            yield _part(target, block, target.family.mlp, "an MLP"), MlpWatch


def _part(
    target: TargetModel, block: nn.Module, find: Callable[[nn.Module], nn.Module], kind: str
) -> nn.Module:
    try:
        return find(block)
    except (LookupError, AttributeError) as error:
        raise _not_found(target, block, kind, str(error)) from None


def _not_found(target: TargetModel, block: nn.Module, kind: str, reason: str) -> SuiteError:
    path = next(path for path, module in target.model.named_modules() if module is block)
    return SuiteError(
        expected=f"{kind} in every block of {target.name}, whose way back is to follow other rules",
        came=f"{path} ({type(block).__name__}): {reason}",
        todo="use the gradient plain, or declare the family in one file (docs/how-to/add-a-model-family.md)",
    )


def _stand_within(watches: dict[nn.Module, Kind]) -> set[nn.Module]:
    """Return the parts of watched modules that are not watched themselves: what they compute, such as an
    activation's products, is no step of the module around them."""
    parts = {child for module in watches for child in module.children()}
    return {part for part in parts - watches.keys() if not isinstance(part, (nn.Linear, nn.Dropout))}


class _Forward:
    """A module's own forward, during which the module is the innermost one that runs."""

    def __init__(self, module: nn.Module, running: Running) -> None:
        self._inner: Callable[..., Any] = module.forward
        self._running = running

    def _run(self, watch: Watch | None, args: Any, kwargs: Any) -> Any:
        self._running.modules.append(watch)
        try:
            return self._inner(*args, **kwargs)
        finally:
            self._running.modules.pop()


class _LeftAlone(_Forward):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(None, args, kwargs)


class _Ruled(_Forward):
    """A module's forward with other gradients, where there are any."""

    def __init__(self, watched: Watched, kind: Kind, running: Running) -> None:
        super().__init__(watched.module, running)
        self._watched = watched
        self._kind = kind

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._inner(*args, **kwargs)
        with self._kind(self._watched, self._running) as watch:
            output = self._run(watch, args, kwargs)
        watch.settle()
        return output
