"""Tokens that run together and what each may look at; no model is run here."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that run together, and what each may look at.

    A row's keys stand side by side from the left, in the order of the row's tokens; what is beyond is
    padding that no token of the row looks at. All results of a row are then the same to the bit, whatever
    rows stand beside it, on a CPU whose matrix products treat each row of a large enough left side alike.
    """

    positions: Tensor
    """Place of each token in its text, [rows, tokens]."""
    slots: Tensor
    """Where each token's key stands among its row's keys, [rows, tokens]."""
    key_positions: Tensor
    """Place in the text of every key, [rows, keys]."""
    hidden_from: Tensor | None = None
    """First and end of the keys that a token must not see though they stand before it, [rows, tokens, 2];
    None: there are none. For a second label after the same prompt, which must not see the first."""
    masks: dict[tuple[int | None, bool], Tensor] = field(default_factory=dict)
    """Masks made so far, by window and form."""

    @property
    def n_keys(self) -> int:
        """Keys of a row, padding included."""
        return int(self.key_positions.shape[1])

    def visible(self, window: int | None) -> Tensor:
        """Return what each token sees, bool [rows, 1, tokens, keys], within a window of so many tokens."""
        keys = torch.arange(self.n_keys, device=self.slots.device)
        seen = keys <= self.slots[:, :, None]
        if self.hidden_from is not None:
            after = keys >= self.hidden_from[:, :, :1]
            seen &= ~(after & (keys < self.hidden_from[:, :, 1:]))
        if window is not None:
            seen &= self.key_positions[:, None, :] > self.positions[:, :, None] - window
        return seen[:, None]

    def mask(self, window: int | None, additive: torch.dtype | None) -> Tensor:
        """Return the attention mask of a block: booleans, or numbers of a dtype that are added."""
        key = (window, additive is None)
        if key not in self.masks:
            seen = self.visible(window)
            if additive is not None:
                numbers = torch.zeros(seen.shape, dtype=additive, device=seen.device)
                seen = numbers.masked_fill_(~seen, torch.finfo(additive).min)
            self.masks[key] = seen
        return self.masks[key]

    def chosen(self, picks: Tensor) -> Tokens:
        """Return some tokens of each row, `picks` [rows, n]; they still see all the keys they saw."""
        rows = torch.arange(len(picks), device=picks.device)[:, None]
        return Tokens(
            positions=self.positions[rows, picks],
            slots=self.slots[rows, picks],
            key_positions=self.key_positions,
            hidden_from=None if self.hidden_from is None else self.hidden_from[rows, picks],
        )
