"""From prompts to rows of token ids and back: tokens, positions, padding, batches; no model is run here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from das.sites import Position
from ravel.asking.positions import last_token_of
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

PaddingSide = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as token ids."""

    ids: tuple[int, ...]
    """Token ids with the special tokens the tokenizer puts in front, without any it puts after the text."""
    offsets: tuple[tuple[int, int], ...]
    """Character span of each token; (0, 0) for special tokens that the tokenizer puts in front."""
    own_start: int = 0
    """How many leading tokens stand in the text that the tokenizer would put there too; each is here once."""


class PromptEncoder:
    """Tokenises texts once and remembers them; finds the positions that a site speaks of."""

    def __init__(self, tokenizer: Any, *, limit: int = 200_000) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._texts: OrderedDict[str, Encoded] = OrderedDict()
        self._entity_last: OrderedDict[tuple[str, tuple[int, int]], int] = OrderedDict()

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Return the tokens of each text, in order. Raises SuiteError for a text without any token."""
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        encoded = {text: self._texts[text] for text in texts if text in self._texts}
        if new:
            encoded.update(zip(new, self._tokenise(new), strict=True))
            self._texts.update((text, encoded[text]) for text in new)
            _trim(self._texts, self._limit)
        return [encoded[text] for text in texts]

    def position(self, prompt: Prompt, position: Position) -> int:
        """Return the index of the token that a site's position means in this prompt. Raises SuiteError where
        no token ends with the entity's name."""
        encoded = self.encode([prompt.text])[0]
        if position == "prompt_last":
            return len(encoded.ids) - 1
        key = (prompt.text, prompt.span)
        if key not in self._entity_last:
            self._entity_last[key] = last_token_of(encoded.offsets, prompt.span)
            _trim(self._entity_last, self._limit)
        return self._entity_last[key]

    def _tokenise(self, texts: list[str]) -> list[Encoded]:
        table = self._tokenizer(
            texts,
            add_special_tokens=True,
            padding=False,
            truncation=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        return [
            _encoded(text, ids, offsets, special)
            for text, ids, offsets, special in zip(
                texts,
                table["input_ids"],
                table["offset_mapping"],
                table["special_tokens_mask"],
                strict=True,
            )
        ]


def repeated_start(ids: Sequence[int], special: Sequence[int]) -> int:
    """Return how many tokens a tokenizer put before a text that begins with these very tokens itself. A text
    that a chat template made begins so: with `<bos>`, written out. The model was trained on one. `special` is
    1 for what the tokenizer added, not for special tokens that the text spells out."""
    added = 0
    while added < len(special) and special[added]:
        added += 1
    return added if list(ids[added : 2 * added]) == list(ids[:added]) else 0


def _encoded(text: str, ids: list[int], offsets: list[tuple[int, int]], special: list[int]) -> Encoded:
    """Drop an end token that a tokenizer appends, which nothing can follow, and a start that the text has."""
    start = repeated_start(ids, special)
    end = len(ids)
    while end > start and special[end - 1] and tuple(offsets[end - 1]) in ((0, 0), (len(text), len(text))):
        end -= 1
    if end == start:
        raise SuiteError(
            expected="a prompt of at least one token",
            came=f"{text!r}, which has none",
            todo="remove the empty prompt",
        )
    spans = tuple((int(a), int(b)) for a, b in offsets[start:end])
    return Encoded(ids=tuple(ids[start:end]), offsets=spans, own_start=start)


def _trim(cache: OrderedDict[Any, Any], limit: int) -> None:
    while len(cache) > limit:
        cache.popitem(last=False)


@dataclass(frozen=True, slots=True)
class PaddedRows:
    """Rows of different lengths as one rectangle."""

    ids: Tensor
    """Token ids, [rows, width]; padding repeats an id of the row's own, so that no id means padding."""
    attention_mask: Tensor
    """1 where a token is real, [rows, width]."""
    position_ids: Tensor
    """Place of each real token in its row, [rows, width]; 0 on padding."""
    shifts: Tensor
    """How many padding tokens stand before each row, [rows]."""
    ragged: bool
    """True if any padding was put in."""


def pad_rows(
    rows: Sequence[Sequence[int]], *, side: PaddingSide, extra: int = 0, device: torch.device | None = None
) -> PaddedRows:
    """Put rows of token ids into one rectangle, padded on `side` to the longest row plus `extra`."""
    width = max(len(row) for row in rows) + extra
    filled, masks, positions, shifts = [], [], [], []
    for row in rows:
        gap = width - len(row)
        before, after = (gap, 0) if side == "left" else (0, gap)
        filled.append([row[0]] * before + list(row) + [row[-1]] * after)
        masks.append([0] * before + [1] * len(row) + [0] * after)
        positions.append([0] * before + list(range(len(row))) + [0] * after)
        shifts.append(before)
    return PaddedRows(
        ids=torch.tensor(filled, device=device),
        attention_mask=torch.tensor(masks, device=device),
        position_ids=torch.tensor(positions, device=device),
        shifts=torch.tensor(shifts, device=device),
        ragged=any(len(row) != width for row in rows),
    )


def plan_batches(
    lengths: Sequence[int], *, batch_tokens: int, enough_tokens: int, exact: bool = False
) -> list[list[int]]:
    """Group row numbers into batches by length, shortest first and stable.

    A batch holds at most `batch_tokens` tokens, padding included (but at least one row). Once it holds
    `enough_tokens` it takes no longer rows, so that large jobs have no padding at all and small ones run in
    few batches. With `exact` no batch mixes lengths.
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    batches: list[list[int]] = []
    for row in order:
        if not batches or not _joins(batches[-1], row, lengths, batch_tokens, enough_tokens, exact):
            batches.append([])
        batches[-1].append(row)
    return batches


def _joins(
    batch: list[int], row: int, lengths: Sequence[int], batch_tokens: int, enough_tokens: int, exact: bool
) -> bool:
    longest, new = lengths[batch[-1]], lengths[row]
    if (len(batch) + 1) * new > batch_tokens:
        return False
    return new == longest or (not exact and len(batch) * longest < enough_tokens)
