"""Greedy answers that prefer tokens which stand out in their prompt; which answers are right is not known
here, and no judge decodes so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from das.diagnostics.sharpness import check_projection, contextual_entropy
from das.engine import EngineAnswerer
from das.engine.base.batch import plan_batches
from das.engine.base.hooks import captured
from das.engine.base.protocol import Engine
from das.engine.completing.new_tokens import NewTokens, Settled
from das.engine.completing.next_tokens import GrowingRows, grow, grows_truly
from das.models.base import TargetModel
from das.sites import Site
from ravel.asking.answerer import Decided
from ravel.terms.schema import Completion, Prompt

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SharpDecoding:
    """How much sharpness counts, and where it is read."""

    layer: int
    """The state after this block is read, raw."""
    alpha: float
    """Weight of the contextual entropy against the log probability; 0 is greedy decoding."""
    plausible: float = 0.1
    """A token counts if its probability is at least this share of the likeliest one's."""


def preferred_tokens(logits: Tensor, states: Tensor, weight: Tensor, how: SharpDecoding) -> Tensor:
    """Return the token of each row with the largest log p(v) - alpha E(v) among plausible ones, int64 [rows].

    `logits` [rows, vocabulary] follow each row; `states` [rows, positions, width] are those of its prompt and
    `weight` [vocabulary, width] the vocabulary projection, from which E(v) is worked out (activation
    decoding, arXiv 2403.01548, `contextual_entropy`). With alpha 0 it is the likeliest token.
    """
    logs = logits.float().log_softmax(-1)
    lowest = logs.amax(-1, keepdim=True) + math.log(how.plausible)
    most = int((logs >= lowest).sum(-1).max())
    values, tokens = logs.topk(most, dim=-1)
    activations = torch.einsum("rpd,rvd->rvp", states, weight[tokens].float())
    scores = values - how.alpha * contextual_entropy(activations).float()
    best = scores.masked_fill(values < lowest, -torch.inf).argmax(-1, keepdim=True)
    return tokens.gather(1, best)[:, 0]


def sharp_answers(
    target: TargetModel,
    rows: Sequence[Row],
    how: SharpDecoding,
    max_new_tokens: int,
    settled: Settled | None = None,
    *,
    batch_tokens: int = 16_384,
) -> list[Row]:
    """Return the new token ids of each row of token ids by `preferred_tokens`, up to the first end token.

    The entropies are those of the prompt, which every new token is held against, as in the published code.
    Raises SuiteError for a layer that the model lacks and NotApplicableError as `answer_signs` does.
    """
    site = Site(how.layer)
    target.check(site)
    check_projection(target)
    weight = target.model.get_output_embeddings().weight
    new = NewTokens(len(rows), target.end_ids, max_new_tokens, settled)
    cached = max_new_tokens > 1 and grows_truly(target)
    lengths = [len(row) for row in rows]
    with torch.inference_mode():
        for batch in plan_batches(lengths, batch_tokens=batch_tokens, enough_tokens=0, exact=True):
            ids = torch.tensor([rows[i] for i in batch], device=target.device)
            everywhere = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
            with captured({site: target.place(site)}, {site: everywhere}) as read:
                target.model(input_ids=ids, use_cache=False)
            states, places = read[site], {row: place for place, row in enumerate(batch)}

            def choose(
                logits: Tensor,
                held: Sequence[int],
                states: Tensor = states,
                places: dict[int, int] = places,
            ) -> Tensor:
                own = torch.tensor([places[row] for row in held], device=states.device)
                return preferred_tokens(logits, states.index_select(0, own), weight, how)

            grow(GrowingRows(target, ids, cached=cached), batch, new, choose)
    return [new.of(i) for i in range(len(rows))]


class SharpAnswerer(EngineAnswerer):
    """An engine's model as an answerer that prefers sharp tokens; with alpha 0 it is the greedy one."""

    def __init__(self, engine: Engine, how: SharpDecoding, chosen: Mapping[str, Any] | None = None) -> None:
        """`chosen` says how layer and alpha were chosen, as JSON."""
        super().__init__(engine)
        self.how = how
        """Layer, alpha and plausibility."""
        self.decoding = {
            "name": "sharp",
            "layer": how.layer,
            "alpha": how.alpha,
            "plausible": how.plausible,
            **(chosen or {}),
        }
        """The rule of its answers and how it was chosen, as JSON."""
        self.greedy = EngineAnswerer(engine)
        """The same model, greedily."""

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Continue each prompt by `preferred_tokens`. Raises as `sharp_answers` does."""
        if not self.how.alpha:
            return super().complete(prompts, max_new_tokens, decided)
        rows = [encoded.ids for encoded in self._encoder.encode([prompt.text for prompt in prompts])]
        stops = decided if self._text_grows else None
        found = sharp_answers(self.engine.target, rows, self.how, max_new_tokens, stops)
        return [Completion(text=self.decode(ids), token_ids=ids) for ids in found]

    def go_on(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        """Continue each prompt from its start, which comes to what is begun by itself."""
        if not self.how.alpha:
            return super().go_on(prompts, begun, max_new_tokens, decided)
        return self.complete(prompts, max_new_tokens, decided)
