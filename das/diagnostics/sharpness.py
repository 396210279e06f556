"""How sharply an answer's activation stands out among the tokens of its prompt, and how sure the model is of
it; which answers are right is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from das.engine.base.batch import PaddedRows, pad_rows, plan_batches
from das.engine.base.hooks import captured, gathered
from das.methods.common.base import NotApplicableError
from das.models.base import TargetModel
from das.models.parts import norms
from das.sites import Site


def contextual_entropy(activations: Tensor, seen: Tensor | None = None) -> Tensor:
    """Return E = -sum_i p_i ln p_i in nats, [...], where p is the softmax of activations [..., n] over the n
    positions of a prompt; those that are not `seen` [..., n] do not count. Low is sharp: one position stands
    out; at most it is ln n (in-context sharpness, arXiv 2403.01548)."""
    if seen is not None:
        activations = activations.masked_fill(~seen, -torch.inf)
    logs = activations.double().log_softmax(-1)
    return -(logs.exp() * logs.masked_fill(logs.isinf(), 0.0)).sum(-1)


@dataclass(frozen=True, slots=True)
class AnswerSigns:
    """What a model shows of the first token that it would say after each prompt."""

    tokens: Tensor
    """The likeliest token, int64 [n_prompts]."""
    entropy: Tensor
    """Its contextual entropy at each layer, float64 [n_prompts, n_layers]."""
    log_probability: Tensor
    """Its log probability, float64 [n_prompts]."""
    margin: Tensor
    """Its logit less that of the next likeliest token, float64 [n_prompts]."""


@torch.no_grad()
def answer_signs(
    target: TargetModel,
    rows: Sequence[tuple[int, ...]],
    layers: Sequence[int],
    *,
    final_norm: bool = False,
    batch_tokens: int = 16_384,
) -> AnswerSigns:
    """Read rows of token ids and return the signs of what the model would say next.

    The activation of a token at a position is the product of its row of the vocabulary projection with the
    state after the block of a layer there: raw, as published, or with `final_norm` after the model's last
    norm. Raises SuiteError for a layer that the model lacks, NotApplicableError where
    the vocabulary projection reads no states (OPT 350M) or, with `final_norm`, the last norm is not found.
    """
    for layer in layers:
        target.check(Site(layer))
    check_projection(target)
    norm = _final_norm(target) if final_norm else None
    parts: dict[int, tuple[Tensor, ...]] = {}
    lengths = [len(row) for row in rows]
    for batch in plan_batches(lengths, batch_tokens=batch_tokens, enough_tokens=batch_tokens // 16):
        padded = pad_rows([rows[i] for i in batch], side="right", device=target.device)
        ends = torch.tensor([lengths[i] for i in batch], device=target.device)
        found = _signs(target, padded, ends, layers, norm)
        parts.update(zip(batch, zip(*found, strict=True), strict=True))
    columns = zip(*(parts[i] for i in range(len(rows))), strict=True)
    tokens, entropy, log_probability, margin = (torch.stack(column).cpu() for column in columns)
    return AnswerSigns(tokens, entropy, log_probability, margin)


def _signs(
    target: TargetModel, padded: PaddedRows, ends: Tensor, layers: Sequence[int], norm: nn.Module | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width = padded.ids.shape[1]
    everywhere = torch.arange(width, device=ends.device).expand(len(ends), -1)
    places = {layer: target.place(Site(layer)) for layer in layers}
    head = target.model.get_output_embeddings()
    positions = dict.fromkeys(places, everywhere)
    with captured(places, positions, stop=False) as states, gathered(head, ends[:, None] - 1):
        logits = target.model(input_ids=padded.ids, use_cache=False).logits[:, 0].double()
    best, tokens = logits.topk(2, dim=-1)
    first = head.weight[tokens[:, 0]].float()
    read = states if norm is None else {layer: norm(state).float() for layer, state in states.items()}
    activations = projected([read[layer] for layer in layers], first)
    entropy = contextual_entropy(activations, (everywhere < ends[:, None])[:, None])
    return tokens[:, 0], entropy, logits.log_softmax(-1).amax(-1), best[:, 0] - best[:, 1]


def projected(states: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Return the activation of a token at each position, [batch, n_layers, n]: the products of states, one
    [batch, n, d_model] per layer, with its row of the vocabulary projection [batch, d_model]."""
    parts = [torch.einsum("bnd,bd->bn", state, rows.to(state.device)) for state in states]
    return torch.stack(parts, dim=1)


def check_projection(target: TargetModel) -> None:
    """Raise NotApplicableError unless the vocabulary projection reads states as they stand in the stream."""
    read = target.model.get_output_embeddings().weight.shape[1]
    if read != target.d_model:
        raise NotApplicableError(
            expected=f"a vocabulary projection that reads the {target.d_model} numbers of a state",
            came=f"that of {target.name}, which reads {read} numbers",
            todo="leave sharpness out for this model",
        )


def _final_norm(target: TargetModel) -> nn.Module:
    within = {module for block in target.family.blocks(target.model) for module in block.modules()}
    outside = [module for _, module in norms(target.model) if module not in within]
    if len(outside) == 1:
        return outside[0]
    raise NotApplicableError(
        expected=f"one norm after the blocks of {target.name}",
        came=f"{len(outside)} norms outside them",
        todo="leave the final norm out",
    )
