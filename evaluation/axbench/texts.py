"""Texts and instructions as tokens a model reads, the states at one layer, and steered answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from das.engine.base.batch import PromptEncoder, pad_rows, plan_batches
from das.engine.base.hooks import captured, changed_at, changed_everywhere
from das.models.base import TargetModel
from das.sites import Site
from evaluation.axbench.concepts import ConceptText
from ravel.common.errors import SuiteError

_ENOUGH_TOKENS = 2_048


class Reader:
    """What a model reads of texts, through its chat template or plainly."""

    def __init__(self, target: TargetModel, *, chat: bool) -> None:
        """Raises SuiteError for a chat without a chat template."""
        self.target = target
        """The model."""
        self._chat = chat
        self._encoder = PromptEncoder(target.tokenizer)
        if chat and not getattr(target.tokenizer, "chat_template", None):
            raise SuiteError(
                expected=f"a chat template in the tokenizer of {target.name}, for --chat was asked for",
                came="none",
                todo="leave out --chat, or choose a model that was tuned to chat",
            )
        one, other = (self._rendered([{"role": "user", "content": c}]) for c in "12") if chat else ((), ())
        self._suffix = _common(one[::-1], other[::-1])
        self.prefix = _common(one, other) if chat else self._plain_prefix()
        """Leading tokens that say nothing of the text, and whose states are dropped: those of the chat
        template, or what the tokenizer puts in front (in AxBench always one)."""

    def text(self, text: ConceptText) -> tuple[int, ...]:
        """Return instruction and answer as tokens, without what a chat template puts after the answer. Raises
        SuiteError for more tokens than the model reads, or none beyond the prefix."""
        if not self._chat:
            return self._checked(self._encoder.encode([text.asked + text.said])[0].ids, text.asked)
        turns = [{"role": "user", "content": text.asked}, {"role": "assistant", "content": text.said}]
        ids = self._rendered(turns)
        return self._checked(ids[: len(ids) - self._suffix], text.asked)

    def instruction(self, text: str) -> tuple[int, ...]:
        """Return an instruction as tokens, up to where the answer begins."""
        if not self._chat:
            return self._encoder.encode([text])[0].ids
        return self._rendered([{"role": "user", "content": text}], answer_next=True)

    def _rendered(self, turns: list[dict[str, str]], *, answer_next: bool = False) -> tuple[int, ...]:
        tokenizer: Any = self.target.tokenizer
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer_next)
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    def _plain_prefix(self) -> int:
        encoded = self._encoder.encode(["a"])[0]
        return len(list(takewhile(lambda span: span == (0, 0), encoded.offsets)))

    def _checked(self, ids: tuple[int, ...], text: str) -> tuple[int, ...]:
        most = self.target.max_tokens
        if len(ids) <= self.prefix or (most is not None and len(ids) > most):
            raise SuiteError(
                expected=f"texts of {self.prefix + 1} to {most or 'any number of'} tokens",
                came=f"{len(ids)} with {text[:60]!r}",
                todo="leave that text out, or choose another model",
            )
        return ids


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


@torch.no_grad()
def token_states(
    reader: Reader, layer: int, rows: Sequence[tuple[int, ...]], *, batch_tokens: int = 16_384
) -> list[Tensor]:
    """Return the states after a block of each row's tokens beyond the prefix, [n_tokens, d_model] in float32
    on the CPU."""
    target = reader.target
    place = target.place(Site(layer))
    found: dict[int, Tensor] = {}
    lengths = [len(row) for row in rows]
    for batch in plan_batches(lengths, batch_tokens=batch_tokens, enough_tokens=_ENOUGH_TOKENS):
        padded = pad_rows([rows[i] for i in batch], side="right", device=target.device)
        every = torch.arange(padded.ids.shape[1]).expand_as(padded.ids.cpu())
        with captured({layer: place}, {layer: every}) as states:
            target.model(input_ids=padded.ids, attention_mask=padded.attention_mask, use_cache=False)
        for i, own in zip(batch, states[layer].cpu(), strict=True):
            found[i] = own[reader.prefix : len(rows[i])].clone()
    return [found[i] for i in range(len(rows))]


@torch.no_grad()
def steered_answers(
    target: TargetModel,
    steering: AbstractContextManager[None],
    prompt: tuple[int, ...],
    count: int,
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> list[str]:
    """Return what a model answers to one prompt within a steering block, in `count` rows side by side. Tokens
    are drawn at a temperature, for all rows together, by a seed of the prompt's own; at 0 the likeliest is
    taken."""
    ids = torch.tensor([prompt] * count, device=target.device)
    drawn: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    with steering, torch.random.fork_rng():
        torch.manual_seed(seed)
        return _generated(target, ids, max_new_tokens, drawn)


def adding(target: TargetModel, layer: int, vectors: Tensor) -> AbstractContextManager[None]:
    """Return a block within which each of some vectors [n, d_model] is added to its row after a block, at
    every token of the prompt and of the answer."""
    return changed_everywhere(target.place(Site(layer)), _adding(vectors))


def editing(
    target: TargetModel,
    layer: int,
    change: Callable[[Tensor], Tensor],
    factors: Tensor,
    columns: Sequence[int],
) -> AbstractContextManager[None]:
    """Return a block within which rows are changed after a block at some tokens of the prompt, each by its
    factor [n] times what `change` makes of them."""
    rows = torch.arange(len(factors)).repeat_interleave(len(columns))
    tokens = rows, torch.tensor(list(columns)).repeat(len(factors))

    def changed(vectors: Tensor) -> Tensor:
        wide = vectors.float()
        by = factors.to(vectors.device)[rows.to(vectors.device), None]
        return (wide + by * (change(wide) - wide)).to(vectors.dtype)

    return changed_at(target.place(Site(layer)), len(factors), tokens, changed, first_pass_only=True)


@torch.no_grad()
def likeliest_answer(target: TargetModel, prompt: tuple[int, ...], *, max_new_tokens: int) -> str:
    """Return what a model answers to one prompt by its likeliest tokens."""
    ids = torch.tensor([prompt], device=target.device)
    return _generated(target, ids, max_new_tokens, {"do_sample": False})[0]


def _generated(target: TargetModel, ids: Tensor, max_new_tokens: int, drawn: dict[str, Any]) -> list[str]:
    ends = sorted(target.end_ids)
    rows = target.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_new_tokens,
        num_beams=1,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
        **drawn,
    )
    texts: list[str] = target.tokenizer.batch_decode(
        rows[:, ids.shape[1] :].tolist(), skip_special_tokens=True
    )
    return texts


def _adding(vectors: Tensor) -> Callable[[Tensor], Tensor]:
    def add(flowing: Tensor) -> Tensor:
        return (flowing.float() + vectors[:, None].to(flowing.device)).to(flowing.dtype)

    return add
