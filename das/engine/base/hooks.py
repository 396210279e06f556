"""The only file that registers hooks: read, write, gather in a forward pass; none outlasts its block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from das.models.base import Place

_HOOK_TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


Key = TypeVar("Key", bound=Hashable)


class _ReachedError(Exception):
    """Ends a forward pass once the last wanted vector has been read."""


def _hidden(output: Any) -> Tensor:
    """Return a module's hidden vectors: newer transformers return them bare, older ones first in a tuple or
    list. Raises LookupError for anything else."""
    hidden = output[0] if isinstance(output, (tuple, list)) and output else output
    if isinstance(hidden, Tensor):
        return hidden
    raise LookupError(f"a {type(hidden).__name__} flows where vectors were looked for")


def _with_hidden(output: Any, hidden: Tensor) -> Any:
    if isinstance(output, list):
        return [hidden, *output[1:]]
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _by_row(flowing: Tensor, rows: int) -> Tensor:
    """Return vectors as [rows, tokens, features]: some modules see the first two axes as one. Raises
    LookupError for vectors of more axes, such as several streams side by side."""
    if flowing.dim() > 3:
        raise LookupError(f"vectors are of shape {tuple(flowing.shape)} rather than [rows, tokens, features]")
    return flowing if flowing.dim() == 3 else flowing.unflatten(0, (rows, -1))


@contextmanager
def _removed_afterwards(handle: RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _hooked(place: Place, act: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Register `act` on what flows through a place, [batch, tokens, features]; what it returns flows on.
    Passes of other threads through the same module flow on as they are."""
    thread = threading.get_ident()

    def after(module: nn.Module, inputs: Any, output: Any) -> Any:
        changed = act(_hidden(output)) if threading.get_ident() == thread else None
        return None if changed is None else _with_hidden(output, changed)

    def before(module: nn.Module, inputs: Any) -> Any:
        changed = act(_hidden(inputs)) if threading.get_ident() == thread else None
        return None if changed is None else _with_hidden(inputs, changed)

    if place.side == "input":
        return place.module.register_forward_pre_hook(before)
    return place.module.register_forward_hook(after)


@contextmanager
def rewritten(place: Place, positions: Tensor, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, `change` makes the vectors [batch, width] of a place at `positions` [batch] into others; with
    several positions a row, [batch, n], the vectors [batch, n, width]."""
    rows = torch.arange(len(positions), device=positions.device)
    tokens = (rows if positions.dim() == 1 else rows[:, None], positions)
    with changed_at(place, len(positions), tokens, change):
        yield


@contextmanager
def changed_at(
    place: Place,
    n_rows: int,
    tokens: tuple[Tensor, Tensor],
    change: Callable[[Tensor], Tensor],
    *,
    first_pass_only: bool = False,
) -> Iterator[None]:
    """Within, `change` makes the vectors [..., width] of a place at some tokens, (row, column) of a pass of
    `n_rows` rows, into others; no two tokens are the same. With `first_pass_only` later passes flow on as
    they are: those that go on from cached keys and values have other columns."""
    columns = place.columns
    passes = [0]

    def act(flowing: Tensor) -> Tensor | None:
        passes[0] += 1
        if first_pass_only and passes[0] > 1:
            return None
        hidden = _by_row(flowing, n_rows)
        places = (tokens[0].to(hidden.device), tokens[1].to(hidden.device))
        vectors = hidden[places]
        if columns is None:
            return hidden.index_put(places, change(vectors)).view_as(flowing)
        parts = (vectors[..., : columns.start], change(vectors[..., columns]), vectors[..., columns.stop :])
        return hidden.index_put(places, torch.cat(parts, dim=-1)).view_as(flowing)

    with _removed_afterwards(_hooked(place, act)):
        yield


@contextmanager
def changed_everywhere(place: Place, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, `change` makes the vectors [..., width] of a place at every token of every pass into others;
    the place's columns are not looked at."""
    with _removed_afterwards(_hooked(place, change)):
        yield


@contextmanager
def added_to(module: nn.Module, term: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, what a module returns, one tensor, has `term` of its one positional input added to it."""
    thread = threading.get_ident()

    def after(module: nn.Module, inputs: Any, output: Any) -> Any:
        return output + term(inputs[0]) if threading.get_ident() == thread else None

    with _removed_afterwards(module.register_forward_hook(after)):
        yield


@contextmanager
def clipped(place: Place, starts: Tensor, lowest: Tensor, highest: Tensor) -> Iterator[None]:
    """Within, the vectors of a place are kept between `lowest` and `highest`, both [width], in each row from
    token `starts` [batch] on. The place's columns are not looked at."""

    def act(flowing: Tensor) -> Tensor:
        hidden = _by_row(flowing, len(starts))
        tokens = torch.arange(hidden.shape[1], device=hidden.device)
        after = tokens[None, :, None] >= starts.to(hidden.device)[:, None, None]
        bounded = hidden.clamp(lowest.to(hidden), highest.to(hidden))
        return torch.where(after, bounded, hidden).view_as(flowing)

    with _removed_afterwards(_hooked(place, act)):
        yield


@contextmanager
def captured(
    places: Mapping[Key, Place], positions: Mapping[Key, Tensor], *, stop: bool = True
) -> Iterator[dict[Key, Tensor]]:
    """Within, a forward pass fills the yielded dictionary: per key the vectors [batch, n, width] in float32.
    `places` and `positions` [batch, n] go by any key, such as a layer or a site; of a place that runs several
    times the first run counts. With `stop` the pass ends silently after the last of these places, for nothing
    after it is wanted; the context ends there too."""
    vectors: dict[Key, Tensor] = {}

    def reader(key: Key, columns: slice) -> Callable[[Tensor], None]:
        def act(flowing: Tensor) -> None:
            if key in vectors:
                return
            hidden = _by_row(flowing, len(positions[key]))
            where = positions[key].to(hidden.device)
            rows = torch.arange(len(where), device=hidden.device)[:, None]
            vectors[key] = hidden[..., columns][rows, where].detach().float()
            if stop and len(vectors) == len(places):
                raise _ReachedError

        return act

    with ExitStack() as stack:
        for key, place in places.items():
            act = reader(key, place.columns or slice(None))
            stack.enter_context(_removed_afterwards(_hooked(place, act)))
        try:
            yield vectors
        except _ReachedError:
            return


@contextmanager
def gathered(head: nn.Module, positions: Tensor) -> Iterator[None]:
    """Within, the vocabulary projection sees only `positions` [batch, n] of each row. Whatever the model does
    to logits after its head, such as a soft cap, still happens."""

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden: Tensor = inputs[0]
        rows = torch.arange(len(positions), device=hidden.device)[:, None]
        return (hidden[rows, positions.to(hidden.device)], *inputs[1:])

    with _removed_afterwards(head.register_forward_pre_hook(hook)):
        yield


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put every forward hook of the model and its parts back as it was, whatever happened within. The tables
    are refilled in place, for the handles that users hold point to them."""
    before = [
        (table, dict(table))
        for module in model.modules()
        for name in _HOOK_TABLES
        if (table := getattr(module, name, None)) is not None
    ]
    try:
        yield
    finally:
        for table, entries in before:
            table.clear()
            table.update(entries)
