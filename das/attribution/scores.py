"""Scores of a prompt's tokens, in five ways; whether they are faithful is not asked here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from pydantic import PositiveInt
from torch import Tensor

from das.attribution.reading import AnswerReader, AskedRow, masking_id
from das.attribution.rollout import AttentionWeights, check_one_per_layer, rolled_out
from das.gradients.rules import GIM, PLAIN
from ravel.common.config import Config
from ravel.common.seeds import numpy_stream

ScoreName = Literal["input_x_gradient", "integrated_gradients", "gim", "rollout", "random"]
SCORE_NAMES: tuple[ScoreName, ...] = get_args(ScoreName)


class TokenScoreConfig(Config):
    """How tokens are scored."""

    steps: PositiveInt = 16
    """Points between the masked prompt and the prompt, for integrated gradients."""
    seed: int = 0
    """Seed of the random scores."""


def token_scores(
    reader: AnswerReader, rows: Sequence[AskedRow], name: ScoreName, config: TokenScoreConfig
) -> list[Tensor]:
    """Return the score of each token of each row, [n_tokens] in float64; those in front have 0.

    With e_i the embedding of token i, e_0 that of a blank and F the leaning to the answer: `(e_i - e_0) .
    dF/de_i` at the prompt (input x gradient); its mean on the way from the prompt with every token masked,
    whose sum tends to F(prompt) - F(masked) as steps grow (integrated gradients, Sundararajan et al. 2017,
    arXiv 1703.01365); the first through the rules of GIM (arXiv 2505.17630). Attention rollout is what the
    last token has of token i; random scores are even in [0, 1). Raises SuiteError where a way can't be taken.
    """
    if name == "random":
        return [_random(row, config.seed) for row in rows]
    if name == "rollout":
        return [_rollout(reader, row) for row in rows]
    masked = masking_id(reader.target.tokenizer)
    rules = GIM if name == "gim" else PLAIN
    shares = [1.0]
    if name == "integrated_gradients":
        shares = [(step + 0.5) / config.steps for step in range(config.steps)]
    parts = [reader.products(rows, masked, share=share, rules=rules) for share in shares]
    return [torch.stack(of_row).mean(dim=0) for of_row in zip(*parts, strict=True)]


def _random(row: AskedRow, seed: int) -> Tensor:
    drawn = numpy_stream(seed, "tokens", " ".join(map(str, row.ids))).random(len(row.ids))
    return _without_front(torch.from_numpy(drawn), row)


def _rollout(reader: AnswerReader, row: AskedRow) -> Tensor:
    with torch.no_grad(), AttentionWeights() as kept:
        reader.likeliest([row.ids])
    check_one_per_layer(kept.weights, reader.target.n_layers, reader.target.name)
    return _without_front(rolled_out(kept.weights)[0, -1], row)


def _without_front(scores: Tensor, row: AskedRow) -> Tensor:
    return scores * (torch.arange(len(scores)) >= row.front)


def ranked_places(scores: Tensor, row: AskedRow) -> list[int]:
    """Return the places of a row's scored tokens, the highest score first, of equal ones the first."""
    own = scores[row.front :].argsort(descending=True, stable=True)
    return [row.front + int(place) for place in own]
