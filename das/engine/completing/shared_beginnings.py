"""What rows of token ids begin with in common, and which run together behind it; no model is run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

Row = tuple[int, ...]
"""Token ids."""
ALIKE = 5
"""Lengths that differ by less run together; to pad more costs more than calls with fewer rows."""
_ENOUGH_TOKENS = 512
"""Tokens from which on a call takes no rows of another length: below it costs mostly what it costs empty."""


def shared_cuts(rows: Sequence[Row], sharers: int) -> list[int]:
    """Return for each of the *sorted* rows how many of its first tokens at least `sharers` rows, itself
    included, have in common: as many as possible, but never the whole row."""
    if sharers < 2 or len(rows) < sharers:
        return [0] * len(rows)
    lengths = np.array([len(row) for row in rows])
    table = np.full((len(rows), int(lengths.max())), -1, dtype=np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate([np.array(row) for row in rows])
    equal = (table[1:] == table[:-1]) & (table[1:] >= 0)
    common = np.cumprod(equal, axis=1).sum(axis=1)
    # A window of neighbours shares what each two next to each other share; a row takes its best window.
    windows = np.lib.stride_tricks.sliding_window_view(common, sharers - 1).min(axis=1)
    around = np.pad(windows, sharers - 1)
    best = np.lib.stride_tricks.sliding_window_view(around, sharers).max(axis=1)
    cuts: list[int] = np.minimum(best, lengths - 1).tolist()
    return cuts


def plan_behind_beginnings(
    lengths: Sequence[int], cuts: Mapping[int, int], most_new: int, *, call_tokens: int, held_tokens: int
) -> Iterator[list[int]]:
    """Yield batches of rows by their places, those with most tokens of their own first.

    A row of `lengths` has so many tokens of its own after its cut, and may grow by `most_new`. A batch runs
    at most `call_tokens` at once and keeps at most `held_tokens` (but has at least one row). A row joins
    others with more tokens of their own if they are few: it then repeats the end of its beginning, so that
    nothing is padded between a beginning and what follows.
    """
    after = {row: lengths[row] - cut for row, cut in cuts.items()}
    batch: list[int] = []
    shortest = longest = 0
    for row in sorted(cuts, key=lambda row: (-after[row], lengths[row])):
        suffix = after[batch[0]] if batch else after[row]
        width = max(longest, lengths[row] + most_new)
        few = len(batch) * suffix < _ENOUGH_TOKENS
        # Beginnings are padded to the longest: that costs less than a call, but not much less.
        joins = (after[row] == suffix or (few and lengths[row] >= suffix)) and (
            few or width <= shortest + ALIKE
        )
        count = len(batch) + 1
        many = count * suffix > call_tokens or count * width > held_tokens
        if batch and (many or not joins):
            yield batch
            batch, width = [], lengths[row] + most_new
        shortest = width if not batch else shortest
        batch.append(row)
        longest = width
    if batch:
        yield batch
