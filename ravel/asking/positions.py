"""Finds the token that ends an entity, from character offsets; it knows no tokenizer, template or model."""

from __future__ import annotations

from collections.abc import Sequence

from ravel.common.errors import SuiteError


class PositionError(SuiteError):
    """The entity has no last token of its own: none ends where it ends, or one runs on past its end."""


def last_token_of(offsets: Sequence[tuple[int, int]], span: tuple[int, int]) -> int:
    """Return the index of the token that ends the entity.

    `offsets` are a prompt's token offsets [start, end) in characters, in order; empty ones (special tokens)
    are passed over, and where several tokens share the last character (pieces of one letter's bytes) the
    last counts. `span` is the entity's [start, end). A token that also covers anything after the entity is
    refused, even a blank or a quote: its vector would depend on how the sentence goes on. Leading blanks
    inside a token are fine.

    Raises PositionError if no token covers the entity's last character or one crosses its end; SuiteError
    if the span is empty. The reference finds the position with a placeholder of zeros, which holds only for
    tokenizers that split digits one by one (RAVEL, arXiv 2402.17700).
    """
    start, end = span
    if not 0 <= start < end:
        raise SuiteError(
            expected="a span of at least one character", came=f"{span}", todo="give the entity a name"
        )
    covering = [
        index for index, (first, stop) in enumerate(offsets) if first <= end - 1 < stop and first < stop
    ]
    if not covering:
        raise PositionError(
            expected=f"a token that covers character {end - 1}, the entity's last",
            came=f"{len(offsets)} tokens, none of which does",
            todo="check that the tokenizer gives offsets and did not cut the prompt",
        )
    last = covering[-1]
    if offsets[last][1] > end:
        raise PositionError(
            expected=f"the entity's last token to end at character {end}",
            came=f"one over characters {offsets[last][0]} to {offsets[last][1]}",
            todo="put a blank or a mark that this tokenizer keeps apart after the slot",
        )
    return last
