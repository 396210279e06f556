"""A model continues prompts with what was learned at work; prompts of any length share a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from das.engine.base.batch import pad_rows, plan_batches
from das.models.base import TargetModel
from das.reft.tuned import PromptPlaces, Tuned

_ENOUGH_TOKENS = 512
"""Tokens from which on a batch takes no longer prompts."""


@torch.no_grad()
def continued(
    target: TargetModel,
    tuned: Tuned | None,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    *,
    cached: bool = True,
    batch_tokens: int = 16_384,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[tuple[int, ...]]:
    """Return the greedy continuation of each prompt, up to an end token, which is left out.

    The model's own `generate` runs, with padding before the prompts. Hidden states are edited in the pass
    over the prompts; later passes see the edit through what is `cached` of it, or run the edited prompts
    again. `tuned` None: the model as it is.
    """
    found: dict[int, tuple[int, ...]] = {}
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    for batch in plan_batches(lengths, batch_tokens=batch_tokens, enough_tokens=_ENOUGH_TOKENS):
        rows = _generated(target, tuned, [prompts[i] for i in batch], max_new_tokens, cached)
        found.update(zip(batch, rows, strict=True))
        progress(len(found), len(prompts))
    return [found[i] for i in range(len(prompts))]


def _generated(
    target: TargetModel,
    tuned: Tuned | None,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    cached: bool,
) -> list[tuple[int, ...]]:
    padded = pad_rows(prompts, side="left", device=target.device)
    ends = sorted(target.end_ids)
    places = PromptPlaces(tuple(padded.shifts.tolist()), tuple(map(len, prompts)))
    work = nullcontext() if tuned is None else tuned.at_work(target, places, cached=cached)
    with work:
        rows = target.model.generate(
            input_ids=padded.ids,
            attention_mask=padded.attention_mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=cached,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
        )
    return [_before_end(row, target.end_ids) for row in rows[:, padded.ids.shape[1] :].tolist()]


def _before_end(ids: Sequence[int], ends: frozenset[int]) -> tuple[int, ...]:
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return tuple(ids[:stop])
