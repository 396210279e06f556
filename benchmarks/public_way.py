"""What the public pipelines do with a batch of pairs, written plainly with pyvene; it keeps nothing between
batches and knows nothing of our engines.

A batch is 32 pairs. Both prompts are padded on the left to 64 tokens and run in full: the source through all
blocks and the vocabulary, though one vector of one block is wanted, then the base with the swap. To train,
three label tokens stand after the base, and pyvene's low-rank rotation with torch's orthogonal
parametrisation takes AdamW steps on their cross entropy. To score, three tokens are generated with the swap
on the prompt and compared, as text, with both answers. So do the scripts of the RAVEL repository.

Where those scripts do more, this is kinder to them: tokens are made once per call and not row by row, nothing
is copied or printed, and scoring doesn't generate a second time without the swap (`original=True` does).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from das.engine.base.batch import PromptEncoder
from das.engine.base.hooks import preserved
from das.engine.base.protocol import ForcedPair
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.seeds import derive_seed
from ravel.terms.schema import Prompt

# Importing pyvene prints a line about a back-end that is not used here.
with contextlib.redirect_stdout(io.StringIO()):
    import pyvene
    from pyvene.models.intervenable_modelcard import type_to_module_mapping

__all__ = ["AskedPair", "PublicWay", "token_mean_loss"]

IGNORED = -100
"""Stands where a label has no token."""


@dataclass(frozen=True, slots=True)
class AskedPair:
    """A pair to be scored: what the model is to say tells whether the swap brought the source's answer."""

    base: Prompt
    """The prompt that is answered."""
    source: Prompt
    """The prompt whose vector is brought in."""
    unchanged: tuple[int, ...]
    """Token ids of the base's own answer, cut to those that are compared."""
    swapped: tuple[int, ...]
    """Token ids of the answer with the source's entity."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Prompts as a rectangle of token ids with padding on the left."""

    ids: Tensor
    """Token ids, [rows, width]."""
    mask: Tensor
    """1 where a token is real, [rows, width]."""
    positions: list[int]
    """Column of each row's site token."""

    def batch(self, start: int, size: int, device: torch.device) -> _Rows:
        """Return the rows from `start` on, on the device."""
        rows = slice(start, start + size)
        return _Rows(self.ids[rows].to(device), self.mask[rows].to(device), self.positions[rows])

    def inputs(self) -> dict[str, Tensor]:
        """Return what a forward pass takes."""
        places = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
        return {"input_ids": self.ids, "attention_mask": self.mask, "position_ids": places}

    def followed_by(self, labels: Tensor) -> _Rows:
        """Return the rows with label tokens [rows, n] behind them, absent ones masked."""
        real = labels != IGNORED
        ids = torch.cat([self.ids, labels.masked_fill(~real, int(self.ids[0, 0]))], dim=1)
        return _Rows(ids, torch.cat([self.mask, real.long()], dim=1), self.positions)


def token_mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy per label token: logits [rows, n, vocabulary], labels [rows, n]."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten().to(logits.device), ignore_index=IGNORED
    )


def label_table(labels: Sequence[tuple[int, ...]], width: int) -> Tensor:
    """Return the first `width` ids of each label as a table [rows, width]."""
    return torch.tensor([(label + (IGNORED,) * width)[:width] for label in labels])


class PublicWay:
    """Trains and scores a subspace at one site of a model as the public pipelines do."""

    name = "public way"

    def __init__(
        self,
        target: TargetModel,
        site: Site,
        *,
        size: int,
        batch_size: int = 32,
        pad_to: int = 64,
        new_tokens: int = 3,
        learning_rate: float = 1e-4,
    ) -> None:
        """Prompts are padded to `pad_to` tokens, as far as the model reads."""
        self.target = target
        self.site = site
        self.size = size
        """Dimension of the subspace."""
        self.batch_size = batch_size
        """Pairs in a batch."""
        self.new_tokens = new_tokens
        """Label tokens in training, generated tokens in scoring."""
        self.learning_rate = learning_rate
        """Constant rate of AdamW."""
        limit = target.max_tokens
        self.pad_to = pad_to if limit is None else min(pad_to, limit - new_tokens)
        """Tokens of every padded prompt at least."""
        self._pad_id = min(target.end_ids, default=0)

    @contextlib.contextmanager
    def wrapped(self, start: Tensor | None = None) -> Iterator[Any]:
        """Yield the model wrapped by pyvene, its rotation random or begun at `start` [d_model, size].

        Afterwards the model has the hooks again that it had before, for wrapping takes them off.
        """
        with preserved(self.target.model), torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(0, "public way"))
            rotation = pyvene.LowRankRotatedSpaceIntervention(
                embed_dim=self.target.d_model, low_rank_dimension=self.size
            )
            representation = pyvene.RepresentationConfig(
                self.site.layer, self._component(), "pos", 1, intervention=rotation
            )
            config = pyvene.IntervenableConfig([representation])
            model = pyvene.IntervenableModel(config, self.target.model)
            model.set_device(self.target.device)
            model.disable_model_gradients()
            if start is not None:
                _rotation(model).weight = start.to(self.target.device)
            yield model

    def train(
        self,
        model: Any,
        pairs: Sequence[ForcedPair],
        *,
        epochs: int = 1,
        each_step: Callable[[], None] | None = None,
    ) -> list[float]:
        """Take a step per batch and return the losses; `model` is what `wrapped` yields."""
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
        shuffled = [pairs[i] for i in order]
        bases = self._rows([pair.base for pair in shuffled])
        sources = self._rows([pair.source for pair in shuffled])
        labels = label_table([pair.label_ids for pair in shuffled], self.new_tokens)
        optimiser = torch.optim.AdamW(_rotation(model).parameters(), lr=self.learning_rate, weight_decay=0.0)
        losses = []
        for _ in range(epochs):
            for start in range(0, len(pairs), self.batch_size):
                cut = slice(start, start + self.batch_size)
                loss = self._loss(model, *self._batch(bases, sources, start), labels[cut])
                losses.append(loss.item())
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                if each_step is not None:
                    each_step()
        return losses

    def loss(self, model: Any, pairs: Sequence[ForcedPair]) -> float:
        """Return the loss of one batch without a step: the mean over all label tokens."""
        bases, sources = self._rows([p.base for p in pairs]), self._rows([p.source for p in pairs])
        labels = label_table([pair.label_ids for pair in pairs], self.new_tokens)
        with torch.no_grad():
            device = self.target.device
            whole = (rows.batch(0, len(pairs), device) for rows in (bases, sources))
            return self._loss(model, *whole, labels).item()

    def judge(
        self, model: Any, pairs: Sequence[AskedPair], *, original: bool = False
    ) -> list[tuple[bool, bool]]:
        """Return for each pair whether the model said the base's own answer, and the source entity's.

        With `original` each batch is generated without the swap too, as the RAVEL repository does.
        """
        bases, sources = self._rows([p.base for p in pairs]), self._rows([p.source for p in pairs])
        verdicts: list[tuple[bool, bool]] = []
        for start in range(0, len(pairs), self.batch_size):
            said = self._generate(model, *self._batch(bases, sources, start), original=original)
            asked = pairs[start : start + self.batch_size]
            verdicts += [self._verdict(ids, pair) for ids, pair in zip(said, asked, strict=True)]
        return verdicts

    def _batch(self, bases: _Rows, sources: _Rows, start: int) -> tuple[_Rows, _Rows]:
        device = self.target.device
        return bases.batch(start, self.batch_size, device), sources.batch(start, self.batch_size, device)

    def _loss(self, model: Any, base: _Rows, source: _Rows, labels: Tensor) -> Tensor:
        labels = labels.to(self.target.device)
        _, swapped = model(
            base.followed_by(labels).inputs(), [source.inputs()], unit_locations=_locations(base, source)
        )
        return token_mean_loss(swapped.logits[:, -self.new_tokens - 1 : -1], labels)

    def _generate(self, model: Any, base: _Rows, source: _Rows, *, original: bool) -> list[list[int]]:
        with torch.no_grad():
            _, grown = model.generate(
                {"input_ids": base.ids, "attention_mask": base.mask},
                [source.inputs()],
                unit_locations=_locations(base, source),
                intervene_on_prompt=True,
                output_original_output=original,
                max_new_tokens=self.new_tokens,
                do_sample=False,
                pad_token_id=self._pad_id,
            )
        said: list[list[int]] = grown[:, base.ids.shape[1] :].tolist()
        return said

    def _verdict(self, said: list[int], pair: AskedPair) -> tuple[bool, bool]:
        unchanged, swapped = (self._says(said, answer) for answer in (pair.unchanged, pair.swapped))
        if unchanged and swapped:
            # One answer begins with the other; the longer one was said.
            return len(pair.unchanged) >= len(pair.swapped), len(pair.swapped) > len(pair.unchanged)
        return unchanged, swapped

    def _says(self, said: list[int], answer: tuple[int, ...]) -> bool:
        compared = answer[: self.new_tokens]
        decode = self.target.tokenizer.decode
        same: bool = decode(said[: len(compared)]) == decode(list(compared))
        return same

    def _rows(self, prompts: Sequence[Prompt]) -> _Rows:
        """Tokenise and pad; no prompt is cut, so that a longer one widens all rows."""
        encoder = PromptEncoder(self.target.tokenizer)
        encoded = [list(found.ids) for found in encoder.encode([prompt.text for prompt in prompts])]
        width = max(self.pad_to, *(len(ids) for ids in encoded))
        gaps = [width - len(ids) for ids in encoded]
        rows = zip(encoded, gaps, strict=True)
        return _Rows(
            ids=torch.tensor([[self._pad_id] * gap + ids for ids, gap in rows]),
            mask=torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps]),
            positions=[
                gap + encoder.position(prompt, self.site.position)
                for gap, prompt in zip(gaps, prompts, strict=True)
            ],
        )

    def _component(self) -> str:
        """Return pyvene's name of the stream, or our module's path where it does not know the model."""
        if self.site.stream in type_to_module_mapping.get(type(self.target.model), {}):
            return self.site.stream
        module = self.target.place(self.site).module
        path = next(name for name, found in self.target.model.named_modules() if found is module)
        return f"{path}.output"


def _rotation(model: Any) -> Any:
    (intervention,) = model.interventions.values()
    return intervention.rotate_layer


def _locations(base: _Rows, source: _Rows) -> dict[str, Any]:
    """Return the site's columns in pyvene's form: a list per intervention, row and unit."""
    places = [[[[column] for column in rows.positions]] for rows in (source, base)]
    return {"sources->base": tuple(places)}
