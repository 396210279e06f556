"""How forced labels fare under logits: their cross entropy, and whether each would be said; no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from das.engine.base.soft_labels import SoftLabel, divergences


@dataclass(frozen=True, slots=True)
class ForcedLabels:
    """How a batch's forced labels fared."""

    cross_entropy: Tensor
    """Mean over the label's own tokens, in nats, [n_pairs]; carries the gradient. Of a pair with a soft label
    it is the mean of the divergences from that."""
    correct: Tensor
    """True where no token is likelier than the label's at each of its places, bool [n_pairs]."""


def forced_labels(
    logits: Tensor, labels: Sequence[tuple[int, ...]], soft: Sequence[SoftLabel | None] = ()
) -> ForcedLabels:
    """Judge logits [n_pairs, longest label, vocabulary] against labels of their own lengths (none empty).
    Each pair counts once, however long its label: the mean is over the label's tokens first. `soft` has for
    each pair the distributions that are wanted in place of its label, if any."""
    lengths = torch.tensor([len(label) for label in labels])
    real = torch.arange(logits.shape[1])[None, :] < lengths[:, None]
    return packed_labels(logits[real.to(logits.device)], labels, soft)


def packed_labels(
    logits: Tensor, labels: Sequence[tuple[int, ...]], soft: Sequence[SoftLabel | None] = ()
) -> ForcedLabels:
    """Judge logits [all label tokens one after the other, vocabulary] as `forced_labels` does."""
    device = logits.device
    ids = torch.tensor([token for label in labels for token in label], device=device, dtype=torch.long)
    lengths = torch.tensor([len(label) for label in labels], dtype=torch.long)
    pair = torch.repeat_interleave(torch.arange(len(labels)), lengths).to(device)
    per_token = _losses(logits, ids, pair, soft)
    total = per_token.new_zeros(len(labels)).index_add(0, pair, per_token)
    with torch.no_grad():
        # The largest number alone is found many times faster than its place.
        wrong = (logits.detach().gather(1, ids[:, None])[:, 0] < logits.detach().amax(dim=-1)).float()
        missed = wrong.new_zeros(len(labels)).index_add_(0, pair, wrong)
    return ForcedLabels(cross_entropy=total / lengths.to(device), correct=missed == 0)


def _losses(logits: Tensor, ids: Tensor, pair: Tensor, soft: Sequence[SoftLabel | None]) -> Tensor:
    """Return what each token adds to the loss, [all label tokens]; `pair` says whose it is."""
    hard = functional.cross_entropy(logits, ids, reduction="none")
    for alike in _alike(soft):
        rows = torch.isin(pair, torch.tensor(list(alike), device=pair.device)).nonzero()[:, 0]
        hard = hard.index_copy(0, rows, divergences(logits[rows], list(alike.values())))
    return hard


def _alike(soft: Sequence[SoftLabel | None]) -> list[dict[int, SoftLabel]]:
    """Return the soft labels, by their places, parted into those that can be judged in one go."""
    parted: dict[tuple[int, str], dict[int, SoftLabel]] = {}
    for place, label in enumerate(soft):
        if label is not None:
            parted.setdefault((label.ids.shape[1], label.divergence), {})[place] = label
    return list(parted.values())


def is_likeliest(logits: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """Return whether the first largest of `logits` [n, vocabulary] is the one of `ids` [m] in row `rows` [m].

    The same as comparing with `argmax`, but finding the largest number is many times faster than finding its
    place; the place is looked for only where two numbers might be equal. `logits` must carry no gradient;
    they are as before when this returns.
    """
    top = logits.amax(dim=-1)
    own = logits[rows, ids]
    chosen = own == top[rows]
    hits, hit_ids = rows[chosen], ids[chosen]
    logits[hits, hit_ids] = -torch.inf
    # A row without a hit has no tie that would matter.
    tied = torch.zeros_like(top, dtype=torch.bool)
    tied[hits] = (logits.amax(dim=-1) == top)[hits]
    logits[hits, hit_ids] = own[chosen]
    lowest = torch.full_like(top, torch.inf).scatter_reduce(0, hits, hit_ids.to(top.dtype), "amin")
    tied[hits[hit_ids > lowest[hits]]] = True
    for place in tied.nonzero().squeeze(1).tolist():
        mine = rows == place
        chosen[mine] = ids[mine] == logits[place].argmax()
    return chosen


def likeliest(logits: Tensor) -> list[int]:
    """Return the first largest token of each row of `logits` [n, vocabulary]."""
    if logits.device.type == "cpu":
        # Many times faster than torch's own on a CPU.
        return [int(token) for token in logits.detach().float().numpy().argmax(axis=1)]
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    return tokens
