"""One pass over rows of token ids, padded to one length, and its logits where labels are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from das.engine.base.batch import PaddedRows, PaddingSide, pad_rows
from das.engine.base.hooks import gathered
from das.engine.base.protocol import ForcedPair
from das.models.base import TargetModel


class PaddedPasses:
    """Runs padded rows through a target model; its output is projected where it is asked for only."""

    def __init__(self, target: TargetModel, *, side: PaddingSide, extra: int) -> None:
        """Rows are padded on `side`, by `extra` tokens more than the longest needs."""
        self._target = target
        self._head: nn.Module = target.model.get_output_embeddings()
        self._side = side
        self._extra = extra

    def pad(self, rows: Sequence[tuple[int, ...]]) -> PaddedRows:
        """Return rows as one rectangle on the model's device."""
        return pad_rows(rows, side=self._side, extra=self._extra, device=self._target.device)

    def forward(self, padded: PaddedRows) -> Any:
        """Return what the model returns."""
        inputs: dict[str, Any] = {"input_ids": padded.ids, "use_cache": False}
        # A causal model never sees padding on its right; masks and position ids would only cost time.
        if padded.ragged and self._side == "left":
            inputs |= {"attention_mask": padded.attention_mask, "position_ids": padded.position_ids}
        return self._target.model(**inputs)

    def label_logits(
        self, padded: PaddedRows, rows: Sequence[tuple[int, ...]], pairs: Sequence[ForcedPair], longest: int
    ) -> Tensor:
        """Return float32 logits [rows, longest, vocabulary] that predict the tokens of each pair's label,
        forced at the end of its row; zeros after them."""
        wanted = self._label_positions(rows, pairs, longest) + padded.shifts[:, None]
        with gathered(self._head, wanted):
            logits: Tensor = self.forward(padded).logits
        return _blank(logits.float(), [len(pair.label_ids) for pair in pairs])

    def _label_positions(
        self, rows: Sequence[tuple[int, ...]], pairs: Sequence[ForcedPair], longest: int
    ) -> Tensor:
        starts = [len(row) - len(pair.label_ids) for row, pair in zip(rows, pairs, strict=True)]
        wanted = [
            [min(start + j, len(row) - 1) for j in range(longest)]
            for start, row in zip(starts, rows, strict=True)
        ]
        return torch.tensor(wanted, device=self._target.device)


def _blank(logits: Tensor, lengths: list[int]) -> Tensor:
    """Put zeros after each row's own label, [rows, n, vocabulary]."""
    if min(lengths) == logits.shape[1]:
        return logits
    kept = torch.arange(logits.shape[1])[None, :] < torch.tensor(lengths)[:, None]
    return logits.masked_fill(~kept.to(logits.device)[:, :, None], 0.0)
