"""Judges pairs of answers by what comes out of the last block at their tokens; no block is run here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from das.engine.base.labels import is_likeliest
from das.engine.base.protocol import AnswerPair

Logits = Callable[[Tensor], Tensor]
"""From vectors [n, d_model] to logits [n, vocabulary]."""


def predicted_answers(
    asked: Tensor, choices: Sequence[AnswerPair], logits_of: Logits
) -> list[tuple[bool, bool]]:
    """Return for both answers of each choice whether each of their tokens is the likeliest at its place.
    `asked` [n, d_model] are a choice's vectors after its prompt, then its first answer's, then its second's.
    The vocabulary is asked for an answer's later tokens only where its first one is the likeliest."""
    counts = [1 + sum(len(answer) - 1 for answer in choice.answers) for choice in choices]
    begins = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
    firsts = _are_likeliest(
        asked,
        [(begin, c.answers[k][0]) for begin, c in zip(begins, choices, strict=True) for k in (0, 1)],
        logits_of,
    )
    later: list[tuple[int, int]] = []
    owners: list[int] = []
    for i, (begin, choice) in enumerate(zip(begins, choices, strict=True)):
        place = begin + 1
        for k, answer in enumerate(choice.answers):
            if firsts[2 * i + k]:
                later += [(place + j, token) for j, token in enumerate(answer[1:])]
                owners += [2 * i + k] * (len(answer) - 1)
            place += len(answer) - 1
    for owner, right in zip(owners, _are_likeliest(asked, later, logits_of), strict=True):
        firsts[owner] = firsts[owner] and right
    return list(zip(firsts[::2], firsts[1::2], strict=True))


def _are_likeliest(asked: Tensor, tokens: Sequence[tuple[int, int]], logits_of: Logits) -> list[bool]:
    """Return for pairs of a place in `asked` and a token whether that token is the likeliest there."""
    if not tokens:
        return []
    places = list(dict.fromkeys(place for place, _ in tokens))
    row = {place: i for i, place in enumerate(places)}
    logits = logits_of(asked.index_select(0, torch.tensor(places, device=asked.device)))
    rows = torch.tensor([row[place] for place, _ in tokens], device=asked.device)
    ids = torch.tensor([token for _, token in tokens], device=asked.device)
    likeliest: list[bool] = is_likeliest(logits, rows, ids).tolist()
    return likeliest
