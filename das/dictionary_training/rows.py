"""Documents as rows of token ids of one length, some documents held out; no model is run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from das.dictionary_training.settings import TextSaeConfig
from das.engine.base.batch import PromptEncoder
from das.engine.base.token_rows import token_rows
from das.models.base import TargetModel
from ravel.common.errors import SuiteError
from ravel.common.seeds import python_stream, sampled

_LEAST_STATES = 2
"""With fewer states nothing can be trained, nor measured."""


@dataclass(frozen=True, slots=True)
class TextRows:
    """Rows of tokens to train on and to measure on, from different documents."""

    training: list[tuple[int, ...]]
    """Rows of one length, in the order drawn."""
    held_out: list[tuple[int, ...]]
    """Rows of the same length."""
    n_tokens: int
    """Tokens of the whole text, special ones included."""


def text_rows(documents: Sequence[str], target: TargetModel, config: TextSaeConfig) -> TextRows:
    """Tokenise documents, hold some out by lot and pack each side into rows of `row_tokens`.

    Documents of a side are joined, with the tokenizer's end token between them where it has one; what does
    not fill the last row is dropped. Where there are more rows than wanted they are drawn by lot. Documents
    are held out until they fill the rows of `held_out_tokens`, and at most half of all. Raises SuiteError
    for rows that are longer than the model reads and for a text that does not fill a row of each side.
    """
    if target.max_tokens is not None and config.row_tokens > target.max_tokens:
        raise SuiteError(
            expected=f"rows of at most {target.max_tokens} tokens, as {target.name} reads",
            came=f"row_tokens {config.row_tokens}",
            todo="choose fewer",
        )
    written = [text for text in documents if text.strip()]
    ids = token_rows(target.tokenizer, PromptEncoder(target.tokenizer), written)
    python_stream(config.seed, "documents of the text").shuffle(ids)
    end = target.tokenizer.eos_token_id
    between = () if end is None else (int(end),)
    cut = _n_held_out([len(one) + len(between) for one in ids], config)
    held_out, training = (_packed(side, between, config.row_tokens) for side in (ids[:cut], ids[cut:]))
    n_tokens = sum(map(len, ids))
    _check_enough(training, held_out, n_tokens, config)
    per_row = config.row_tokens - 1
    return TextRows(
        training=sampled(training, -(-config.tokens // per_row), config.seed, "rows of the text"),
        held_out=held_out[: -(-config.held_out_tokens // per_row)],
        n_tokens=n_tokens,
    )


def _n_held_out(lengths: Sequence[int], config: TextSaeConfig) -> int:
    """Return how many of the first documents are held out."""
    rows = -(-config.held_out_tokens // (config.row_tokens - 1))
    wanted, so_far = rows * config.row_tokens, 0
    wanted = min(wanted, sum(lengths) // 2)
    for place, length in enumerate(lengths):
        if so_far >= wanted:
            return place
        so_far += length
    return len(lengths)


def _packed(
    documents: Sequence[tuple[int, ...]], between: tuple[int, ...], length: int
) -> list[tuple[int, ...]]:
    stream = [token for one in documents for token in (*one, *between)]
    return [tuple(stream[start : start + length]) for start in range(0, len(stream) - length + 1, length)]


def _check_enough(
    training: Sequence[tuple[int, ...]],
    held_out: Sequence[tuple[int, ...]],
    n_tokens: int,
    config: TextSaeConfig,
) -> None:
    if min(len(training), len(held_out)) * (config.row_tokens - 1) < _LEAST_STATES:
        raise SuiteError(
            expected=f"a text that fills a row of {config.row_tokens} tokens for training, and one of other "
            "documents for measuring",
            came=f"{n_tokens} tokens, {len(training)} rows for training and {len(held_out)} for measuring",
            todo="give more text, in several documents",
        )
