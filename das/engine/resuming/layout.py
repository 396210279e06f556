"""From rows of token ids, cut at a site, to the index tensors of one pass; no model is run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.cut_rows import CutRow
from das.engine.resuming.tokens import Tokens

_LANES = 16
"""Keys are padded to a multiple of this: attention adds up so many numbers side by side."""
_TILE = 32
"""Tokens that attention takes together; what is left of a row must be an even number and more than two."""
_FEWEST_VECTORS = 16
"""Fewest vectors in one matrix product: with fewer, other code that rounds otherwise would run."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Where the first vectors of a row are kept."""

    prefix: int
    """First slot of its keys and values."""
    suffix: int
    """First slot of its stream from the site on."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All that one pass over rows is told, as tensors."""

    tokens: Tokens
    """The tokens from the site on."""
    stream_slots: Tensor
    """Where the stream of each token is kept, [rows, tokens]; padding repeats the row's last."""
    key_slots: Tensor
    """Where the keys before the site are kept, [rows, keys]; 0 for the keys that are still to be made."""
    asked: Tensor
    """The tokens whose next token is asked for, [rows, n]; padding repeats the row's last."""
    answers: Tensor
    """Places in the flattened `asked` that are no padding, row by row, [sum of the rows' asked]."""


def padded_width(width: int, rows: int) -> int:
    """Return how many tokens a row of a pass must have for results that do not depend on its neighbours."""
    width = max(width, -(-_FEWEST_VECTORS // rows))
    width += width % 2
    return width + 2 if width % _TILE == 2 else width


def padded_keys(count: int) -> int:
    """Return how many keys a row of a pass must have for results that do not depend on its neighbours."""
    return -(-count // _LANES) * _LANES


def lay_out(rows: Sequence[CutRow], kept: Sequence[Slots], device: torch.device) -> Layout:
    """Return the index tensors of a pass over `rows`, whose states stand at `kept`."""
    most = max(row.after for row in rows)
    width = padded_width(most, len(rows))
    n_keys = padded_keys(max(row.start for row in rows) + width)
    n_asked = padded_width(max(row.asked for row in rows), len(rows))
    numbers = torch.tensor(
        [
            (row.start, row.after, row.fork, row.second, slots.prefix, slots.suffix)
            for row, slots in zip(rows, kept, strict=True)
        ]
    )
    answers = (torch.arange(n_asked) < numbers[:, 1:2] + numbers[:, 0:1] - numbers[:, 2:3] + 1).flatten()
    numbers, answers = numbers.to(device), answers.nonzero().squeeze(1).to(device)
    start, after, fork, second, prefix, suffix = numbers[:, :, None].unbind(1)
    place = torch.minimum(torch.arange(width, device=device), after - 1)
    keys = torch.arange(n_keys, device=device).expand(len(rows), n_keys)
    return Layout(
        tokens=Tokens(
            positions=_in_text(start + place, fork, second),
            slots=start + torch.arange(width, device=device),
            key_positions=_in_text(keys, fork, second),
            hidden_from=_hidden(start + place, fork, second, rows),
        ),
        stream_slots=suffix + place,
        key_slots=torch.where(keys < start, prefix + keys, 0),
        asked=torch.minimum(fork - 1 - start + torch.arange(n_asked, device=device), after - 1),
        answers=answers,
    )


def _in_text(index: Tensor, fork: Tensor, second: Tensor) -> Tensor:
    """Return the place in its text of the token at an index of its row."""
    return torch.where(index >= second, index - second + fork, index)


def _hidden(index: Tensor, fork: Tensor, second: Tensor, rows: Sequence[CutRow]) -> Tensor | None:
    if all(row.second == len(row.ids) for row in rows):
        return None
    apart = index >= second
    none = torch.zeros_like(index)
    return torch.stack([torch.where(apart, fork, none), torch.where(apart, second, none)], dim=2)


def plan_passes(
    lengths: Sequence[int],
    starts: Sequence[int],
    *,
    batch_tokens: int,
    call_tokens: int,
    most_rows: int | None = None,
) -> list[list[int]]:
    """Group row numbers by the `lengths` of their suffixes, so that padding and calls together cost least.

    A pass costs as much as `call_tokens` tokens before it has done anything. `starts` are the lengths before
    the cut: mixing them costs next to nothing, yet they count among the `batch_tokens` that a batch holds at
    most (but at least one row); nor does it hold more than `most_rows`.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], starts[row]))
    return [
        batch
        for first, end in _cheapest_cuts([lengths[row] for row in order], call_tokens)
        for batch in _bounded(order[first:end], lengths, starts, batch_tokens, most_rows)
    ]


def _cheapest_cuts(ascending: Sequence[int], call_tokens: int) -> list[tuple[int, int]]:
    """Cut ascending lengths into ranges (first, end) whose padded tokens and calls cost least together."""
    last = len(ascending) - 1
    ends = [i + 1 for i, length in enumerate(ascending) if i == last or ascending[i + 1] != length]
    best: dict[int, tuple[int, int]] = {0: (0, 0)}
    for end in ends:
        longest = ascending[end - 1]
        best[end] = min((best[i][0] + (end - i) * longest + call_tokens, i) for i in best)
    cuts: list[tuple[int, int]] = []
    end = len(ascending)
    while end:
        first = best[end][1]
        cuts.append((first, end))
        end = first
    return cuts[::-1]


def _bounded(
    rows: list[int],
    lengths: Sequence[int],
    starts: Sequence[int],
    batch_tokens: int,
    most_rows: int | None,
) -> list[list[int]]:
    width = max(lengths[row] for row in rows) + max(starts[row] for row in rows)
    most = batch_tokens // width
    most = max(1, most if most_rows is None else min(most, most_rows))
    return [rows[first : first + most] for first in range(0, len(rows), most)]
