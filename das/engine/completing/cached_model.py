"""A model that reads rows behind cached keys and values; which rows run when is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from das.engine.base.batch import pad_rows
from das.engine.base.hooks import gathered
from das.engine.completing.growing_cache import BufferPool, GrowingLayer, put_before
from das.engine.completing.shared_beginnings import Row
from das.models.base import TargetModel


@dataclass(slots=True)
class RunningRows:
    """Rows that run side by side. They end in one column, so padding stands before them and every distance
    between two tokens of a row is the true one."""

    rows: list[int]
    """Their places among all rows."""
    layers: list[GrowingLayer]
    """Keys and values of each block."""
    pads: Tensor
    """How many columns of padding stand before each row, [rows]."""
    tokens: Tensor
    """What is run next, [rows, tokens]."""
    live: list[int] = field(default_factory=list)
    """Which of `rows` are not done."""

    @property
    def length(self) -> int:
        """Number of columns that are kept, padding included."""
        return self.layers[0].length

    def release(self) -> None:
        """Give all memory back."""
        for layer in self.layers:
            layer.release()


class CachedModel:
    """Runs tokens behind what is cached of their rows, with true positions."""

    def __init__(self, target: TargetModel) -> None:
        self.target = target
        """The model."""
        self.narrows = True
        """Whether the last block's later parts see each row's last token only."""
        self.buffers = BufferPool()
        """Memory of keys and values."""

    def logits(self, running: RunningRows) -> Tensor:
        """Run the next tokens; return the logits after the last of them, [rows, vocabulary]."""
        model, count = self.target.model, running.tokens.shape[1]
        length = running.length
        columns = torch.arange(length + count, device=self.target.device)
        padded = bool(running.pads.any())
        last = torch.full((len(running.rows), 1), count - 1, device=self.target.device)
        with ExitStack() as stack:
            for module in self._narrowed() if count > 1 else ():
                stack.enter_context(gathered(module, last))
            output = model(
                input_ids=running.tokens,
                attention_mask=(columns >= running.pads[:, None]).long() if padded else None,
                position_ids=columns[length:] - running.pads[:, None],
                past_key_values=Cache(layers=running.layers),
                use_cache=True,
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _narrowed(self) -> list[nn.Module]:
        head: nn.Module = self.target.model.get_output_embeddings()
        if not self.narrows:
            return [head]
        blocks = self.target.family.blocks(self.target.model)
        last = blocks[len(blocks) - 1]
        # What these return for one token is added to the streams of all; only the last token's is read.
        return [head, self.target.family.projection(last), self.target.family.mlp(last)]

    def beginnings(self, beginnings: Sequence[Row], batch_tokens: int) -> list[tuple[Tensor, Tensor]]:
        """Return each block's keys and values of the beginnings, [beginnings, longest, heads, width] each;
        `batch_tokens` bounds one pass."""
        longest = max(map(len, beginnings), default=0)
        if longest == 0:
            return []
        some = [beginning or (0,) for beginning in beginnings]
        most = max(1, batch_tokens // longest)
        parts = [self._beginnings(some[first : first + most], longest) for first in range(0, len(some), most)]
        return [
            (torch.cat([part[i].keys for part in parts]), torch.cat([part[i].values for part in parts]))
            for i in range(len(parts[0]))
        ]

    def _beginnings(self, beginnings: Sequence[Row], longest: int) -> list[GrowingLayer]:
        padded = pad_rows(beginnings, side="right", device=self.target.device)
        extra = longest - padded.ids.shape[1]
        ids = torch.nn.functional.pad(padded.ids, (0, extra))
        layers = self._layers(longest)
        nowhere = torch.zeros(len(ids), 0, dtype=torch.long, device=self.target.device)
        # A causal model sees nothing of what stands on the right.
        with gathered(self.target.model.get_output_embeddings(), nowhere):
            self.target.model(input_ids=ids, past_key_values=Cache(layers=layers), use_cache=True)
        return layers

    def behind(
        self,
        rows: Sequence[Row],
        suffix: int,
        beginnings: list[tuple[Tensor, Tensor]],
        numbers: Sequence[int],
        *,
        places: list[int],
        spare: int,
    ) -> RunningRows:
        """Return the last `suffix` tokens of `rows`, ready to run behind their `beginnings`, row i behind
        number `numbers[i]`; they are called by `places`, and there is room for `spare` new tokens."""
        starts = [len(row) - suffix for row in rows]
        before = max(starts)
        layers = self._layers(before + suffix + spare - 1)
        if before:
            alike = [list(of) for _, of in groupby(range(len(rows)), key=lambda i: (numbers[i], starts[i]))]
            for layer, (keys, values) in zip(layers, beginnings, strict=True):
                layer.start(len(rows), keys, values)
                layer.length = before
                for group in alike:
                    part = slice(group[0], group[-1] + 1)
                    number, start = numbers[group[0]], starts[group[0]]
                    put_before(layer.keys[part], before, keys[number, :start])
                    put_before(layer.values[part], before, values[number, :start])
        pads = torch.tensor([before - start for start in starts], device=self.target.device)
        tokens = torch.tensor([row[-suffix:] for row in rows], device=self.target.device)
        return RunningRows(places, layers, pads, tokens, list(range(len(rows))))

    def together(self, held: Sequence[RunningRows], spare: int) -> RunningRows:
        """Return the rows that go on as one, without the others, with room for `spare` new tokens."""
        live = [torch.tensor(one.live, device=self.target.device) for one in held]
        length = max(one.length for one in held)
        layers = self._layers(length + spare)
        for index, layer in enumerate(layers):
            first = held[0].layers[index]
            layer.start(sum(map(len, live)), first.keys, first.values)
            layer.length = length
            start = 0
            for one, chosen in zip(held, live, strict=True):
                part, old = slice(start, start + len(chosen)), one.layers[index]
                put_before(layer.keys[part], length, old.keys[:, : one.length].index_select(0, chosen))
                put_before(layer.values[part], length, old.values[:, : one.length].index_select(0, chosen))
                start = part.stop
        for one in held:
            one.release()
        return RunningRows(
            rows=[one.rows[place] for one in held for place in one.live],
            layers=layers,
            pads=torch.cat([one.pads[c] + length - one.length for one, c in zip(held, live, strict=True)]),
            tokens=torch.cat([one.tokens[c] for one, c in zip(held, live, strict=True)]),
            live=list(range(sum(map(len, live)))),
        )

    def _layers(self, room: int) -> list[GrowingLayer]:
        """Return an empty cache with that much room per row."""
        return [GrowingLayer(room, self.buffers) for _ in range(self.target.n_layers)]
