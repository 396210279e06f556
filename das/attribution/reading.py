"""Runs rows of token ids and reads how far the model leans to an answer after them, and the slope of that in
the embeddings; what scores are made of it is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from das.engine.base.batch import PaddedRows, pad_rows, plan_batches
from das.engine.base.checks import check_row_lengths
from das.engine.base.hooks import gathered, rewritten
from das.gradients.context import backward_rules
from das.gradients.rules import BackwardRules
from das.models.base import Place, TargetModel
from ravel.common.errors import SuiteError


@dataclass(frozen=True, slots=True)
class AskedRow:
    """A prompt as token ids, and the answer whose logit is looked at after it."""

    ids: tuple[int, ...]
    """Token ids of the prompt."""
    answer: int
    """Token id of the answer."""
    front: int = 0
    """Leading tokens that the tokenizer puts there: they have no score and are never masked."""

    @property
    def n_scored(self) -> int:
        """How many tokens have a score."""
        return len(self.ids) - self.front


def masking_id(tokenizer: Any) -> int:
    """Return the id of the token for one blank, which stands in a masked token's place. Raises SuiteError
    for a tokenizer that makes no token of a blank."""
    ids: list[int] = tokenizer(" ", add_special_tokens=False)["input_ids"]
    if not ids:
        raise SuiteError(
            expected="a tokenizer that makes a token of a blank, to mask others with",
            came="one that makes none",
            todo="use a model with another tokenizer",
        )
    return ids[0]


def leaning(logits: Tensor, answers: Sequence[int]) -> Tensor:
    """Return the logit of each row's answer less the mean of all its logits, [n] in float64 or float32, for
    logits [n, vocabulary]. What is added to all logits alike changes nothing that a model says, nor this."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    ids = torch.tensor(list(answers), device=logits.device)
    return wide.gather(1, ids[:, None])[:, 0] - wide.mean(dim=1)


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads leanings of one model."""

    target: TargetModel
    """The model."""
    batch_tokens: int = 8192
    """Tokens of one pass at most."""

    @torch.no_grad()
    def leanings(self, rows: Sequence[AskedRow]) -> Tensor:
        """Return how far the model leans to each row's answer, [n_rows] in float64 on the CPU. Equal rows
        run once. Raises SuiteError for a row that is longer than the model takes."""
        once = list(dict.fromkeys(replace(row, front=0) for row in rows))
        found = torch.zeros(len(once), dtype=torch.float64)
        for batch, padded in self._batches(once):
            values = self._leaning([once[i] for i in batch], padded)
            found[torch.tensor(batch)] = values.double().cpu()
        places = {row: place for place, row in enumerate(once)}
        return found[torch.tensor([places[replace(row, front=0)] for row in rows], dtype=torch.long)]

    def likeliest(self, rows: Sequence[tuple[int, ...]]) -> list[int]:
        """Return the token that the model would say next after each row of ids."""
        found: dict[int, int] = {}
        asked = [AskedRow(row, 0) for row in rows]
        for batch, padded in self._batches(asked):
            with torch.no_grad():
                logits = self._logits([asked[i] for i in batch], padded)
            found.update(zip(batch, logits.argmax(dim=-1).tolist(), strict=True))
        return [found[i] for i in range(len(rows))]

    def products(
        self, rows: Sequence[AskedRow], masked: int, *, share: float, rules: BackwardRules
    ) -> list[Tensor]:
        """Return, per row, `(e_i - e_masked) . slope_i` of each token, [n_tokens] in float64: the slope of
        the leaning in the embedding of token i, through the model by `rules`, where every scored token's
        embedding stands at `e_masked + share (e_i - e_masked)`. Tokens in front have 0."""
        found: dict[int, Tensor] = {}
        for batch, padded in self._batches(rows):
            some = [rows[i] for i in batch]
            scores = self._products(some, padded, masked, share, rules)
            found.update({i: scores[place, : len(rows[i].ids)] for place, i in enumerate(batch)})
        return [found[i] for i in range(len(rows))]

    def _products(
        self, rows: Sequence[AskedRow], padded: PaddedRows, masked: int, share: float, rules: BackwardRules
    ) -> Tensor:
        embedding = self.target.model.get_input_embeddings()
        with torch.no_grad():
            vectors = embedding(padded.ids)
            change = vectors - embedding(torch.tensor([masked], device=padded.ids.device))[0]
            change = change * _scored(rows, padded)[..., None]
        leaf = (vectors - (1 - share) * change).detach().requires_grad_()
        everywhere = torch.arange(padded.ids.shape[1]).expand(len(rows), -1)
        with torch.enable_grad(), backward_rules(self.target, rules):
            with rewritten(Place(embedding), everywhere, lambda _: leaf):
                total = self._leaning(rows, padded).sum()
            (slope,) = torch.autograd.grad(total, leaf)
        products: Tensor = (change.double() * slope.double()).sum(dim=-1).cpu()
        return products

    def _leaning(self, rows: Sequence[AskedRow], padded: PaddedRows) -> Tensor:
        return leaning(self._logits(rows, padded), [row.answer for row in rows])

    def _logits(self, rows: Sequence[AskedRow], padded: PaddedRows) -> Tensor:
        """Return the logits after each row, [n_rows, vocabulary]: rows are padded after their ends, which no
        token before looks at."""
        ends = torch.tensor([[len(row.ids) - 1] for row in rows], device=padded.ids.device)
        with gathered(self.target.model.get_output_embeddings(), ends):
            logits: Tensor = self.target.model(input_ids=padded.ids, use_cache=False).logits
        return logits[:, 0]

    def _batches(self, rows: Sequence[AskedRow]) -> Iterator[tuple[list[int], PaddedRows]]:
        lengths = [len(row.ids) for row in rows]
        check_row_lengths(lengths, self.target)
        sides = self.target.sides(lengths)
        pad = partial(pad_rows, side="right", device=self.target.device)
        for side in sorted(set(sides)):
            own = [i for i, other in enumerate(sides) if other == side]
            size = self.batch_tokens
            planned = plan_batches([lengths[i] for i in own], batch_tokens=size, enough_tokens=size // 16)
            for batch in planned:
                places = [own[place] for place in batch]
                yield places, pad([rows[i].ids for i in places])


def _scored(rows: Sequence[AskedRow], padded: PaddedRows) -> Tensor:
    """Return 1 where a token has a score, [rows, width]."""
    places = torch.arange(padded.ids.shape[1], device=padded.ids.device)[None, :]
    fronts = torch.tensor([[row.front] for row in rows], device=padded.ids.device)
    ends = torch.tensor([[len(row.ids)] for row in rows], device=padded.ids.device)
    return ((places >= fronts) & (places < ends)).float()
