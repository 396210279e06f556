"""Labels that are distributions: how far logits are from what a model itself says; it knows no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Divergence = Literal["cross_entropy", "jensen_shannon"]
_NOTHING = -1e4
"""Log probability of no token at all: finite, so that nothing times it is nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class SoftLabel:
    """The distributions wanted at each place of a label: some tokens by name, all others as one."""

    ids: Tensor
    """Token ids named at each place, [n_tokens, n_named] in int64."""
    log_shares: Tensor
    """Log probability of each, and last of all other tokens together, [n_tokens, n_named + 1]."""
    divergence: Divergence
    """How the distance to it is measured."""


def coarse(logits: Tensor, ids: Tensor) -> Tensor:
    """Return log probabilities of the tokens `ids` [n, k] and, last, of all others together, [n, k + 1], for
    logits [n, vocabulary]."""
    log_total = logits.logsumexp(dim=-1, keepdim=True)
    if ids.shape[1] >= logits.shape[1]:
        others = torch.full_like(log_total, _NOTHING)
    else:
        others = logits.scatter(1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True) - log_total
    return torch.cat([logits.gather(1, ids) - log_total, others], dim=1)


def soft_labels(logits: Tensor, most: int, divergence: Divergence) -> SoftLabel:
    """Return what logits [n_tokens, vocabulary] say, with the `most` likeliest tokens of each place named."""
    ids = logits.topk(min(most, logits.shape[1]), dim=-1).indices
    return SoftLabel(ids.cpu(), coarse(logits.float(), ids).cpu(), divergence)


def divergences(logits: Tensor, soft: Sequence[SoftLabel]) -> Tensor:
    """Return the divergence of logits [all label tokens one after the other, vocabulary] from the labels that
    are wanted, in nats, [all label tokens]; carries the gradient. All labels name as many tokens and measure
    alike.

    The cross entropy is that of the wanted distribution q with what is said, p: `-sum q log p`; with a
    one-hot q it is that of a forced label. Jensen-Shannon is the mean of both relative entropies to their
    middle, at most log 2. Both are over the named tokens and all others as one, which never says more than
    over all tokens.
    """
    wanted = torch.cat([label.log_shares for label in soft]).to(logits.device)
    said = coarse(logits, torch.cat([label.ids for label in soft]).to(logits.device))
    if soft[0].divergence == "cross_entropy":
        return -(wanted.exp() * said).sum(dim=-1)
    middle = torch.logaddexp(wanted, said) - torch.log(said.new_tensor(2.0))
    relative = wanted.exp() * (wanted - middle) + said.exp() * (said - middle)
    return 0.5 * relative.sum(dim=-1)
