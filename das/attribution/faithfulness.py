"""What becomes of an answer as a prompt's tokens are masked in the order of their scores; it knows no way of
scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from das.attribution.reading import AnswerReader, AskedRow
from das.attribution.scores import ranked_places

MOST_MASKED = 50
"""Highest scored tokens that are masked at most."""
LOW_SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Shares of the tokens, of lowest scores, that are masked for sufficiency."""


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """What masking did to one prompt's leaning to its answer, as shares of the leaning."""

    without_top: Tensor
    """`(full - masked) / full` with the highest scored k tokens masked, k from 1 to all or `MOST_MASKED`."""
    without_rest: Tensor
    """The same with the lowest scored tokens masked, by `LOW_SHARES`."""

    @property
    def comprehensiveness(self) -> float:
        """Area over the curve of what is lost without the highest scores; high is faithful."""
        return float(self.without_top.mean())

    @property
    def sufficiency(self) -> float:
        """Mean of what is lost with the highest scores alone; low is faithful."""
        return float(self.without_rest.mean())


def faithfulness(
    reader: AnswerReader, rows: Sequence[AskedRow], scores: Sequence[Tensor], masked: int
) -> list[Faithfulness | None]:
    """Return what masking does to each row by its scores [n_tokens]: a masked token is the blank `masked`
    (arXiv 2505.17630; the measures are DeYoung et al.'s 2020, arXiv 1911.03429). Departure: the leaning takes
    the place of the bare logit, of which no share can be told. None for a row that leans away from its
    answer, so that there is nothing to lose. One token at least stays where the lowest are masked.
    """
    asked, ends = [], []
    for row, score in zip(rows, scores, strict=True):
        asked += [row, *_masked_rows(row, score, masked)]
        ends.append(len(asked))
    found = reader.leanings(asked)
    starts = [0, *ends[:-1]]
    return [_faithfulness(found[start:end], row) for row, start, end in zip(rows, starts, ends, strict=True)]


def n_lowest(n_scored: int, share: float) -> int:
    """Return how many of the lowest scored tokens a share is, rounded down; one token at least stays."""
    # A share such as .9 of 10 must be 9, whatever the product rounds to.
    return min(int(n_scored * share + 1e-9), max(n_scored - 1, 0))


def _masked_rows(row: AskedRow, score: Tensor, masked: int) -> list[AskedRow]:
    places = ranked_places(score, row)
    tops = [places[: k + 1] for k in range(min(len(places), MOST_MASKED))]
    rests = [places[len(places) - n_lowest(len(places), share) :] for share in LOW_SHARES]
    return [_without(row, some, masked) for some in (*tops, *rests)]


def _without(row: AskedRow, places: Sequence[int], masked: int) -> AskedRow:
    gone = set(places)
    ids = tuple(masked if place in gone else token for place, token in enumerate(row.ids))
    return replace(row, ids=ids)


def _faithfulness(leanings: Tensor, row: AskedRow) -> Faithfulness | None:
    full = leanings[0]
    if full <= 0:
        return None
    lost = (full - leanings[1:]) / full
    n_tops = len(leanings) - 1 - len(LOW_SHARES)
    assert n_tops == min(row.n_scored, MOST_MASKED)
    return Faithfulness(lost[:n_tops], lost[n_tops:])


def curve_of(found: Sequence[Faithfulness]) -> Tensor:
    """Return each prompt's curve without its highest scores, [n_prompts, longest]: where all tokens of a
    shorter one are masked already, nothing changes any more."""
    longest = max(len(one.without_top) for one in found)
    return torch.stack(
        [
            torch.cat([one.without_top, one.without_top[-1:].expand(longest - len(one.without_top))])
            for one in found
        ]
    )
