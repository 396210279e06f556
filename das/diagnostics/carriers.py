"""Which positions of a prompt carry a token's activation, before and after an interchange; which token is
right is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from das.diagnostics.sharpness import check_projection, projected
from das.engine.base.batch import pad_rows, plan_batches
from das.engine.base.hooks import captured, rewritten
from das.featurizers.base import Featurizer
from das.models.base import TargetModel
from das.sites import Site


@dataclass(frozen=True, slots=True)
class RowSwap:
    """An interchange in rows of tokens."""

    site: Site
    """Where vectors are swapped."""
    places: Sequence[int]
    """The token of each row at which they are."""
    sources: Tensor
    """The source's vector for each row, [n_rows, width]."""
    featurizer: Featurizer
    """Which part of them."""

    def within(self, target: TargetModel, some: Sequence[int]) -> AbstractContextManager[None]:
        """Return a block in which a pass of some rows has its vectors swapped."""
        device = target.device
        here, sources = self.featurizer.to(device), self.sources[list(some)].to(device)
        places = torch.tensor([self.places[i] for i in some], device=device)

        def change(vectors: Tensor) -> Tensor:
            return here.interchange(vectors, sources.to(vectors.dtype)).to(vectors.dtype)

        return rewritten(target.place(self.site), places, change)


@torch.no_grad()
def position_weights(
    target: TargetModel,
    rows: Sequence[tuple[int, ...]],
    tokens: Sequence[int],
    layers: Sequence[int],
    *,
    swap: RowSwap | None = None,
    batch_tokens: int = 16_384,
) -> list[Tensor]:
    """Return for each row of token ids how its token's activation is spread over the row's positions at each
    layer, float64 [n_layers, n], each line summing to 1; with `swap` after that interchange.

    The activation is that of in-context sharpness (arXiv 2403.01548), of raw states after the layer's block;
    `weights_entropy` is its contextual entropy. Raises SuiteError for a layer or site that the model lacks,
    NotApplicableError where the vocabulary projection reads no states (OPT 350M).
    """
    for site in (*map(Site, layers), *(() if swap is None else (swap.site,))):
        target.check(site)
    check_projection(target)
    found: dict[int, Tensor] = {}
    lengths = [len(row) for row in rows]
    for batch in plan_batches(lengths, batch_tokens=batch_tokens, enough_tokens=batch_tokens // 16):
        activations = _activations(
            target, [rows[i] for i in batch], [tokens[i] for i in batch], layers, swap, batch
        )
        for i, own in zip(batch, activations, strict=True):
            found[i] = own[:, : lengths[i]].double().softmax(-1).cpu()
    return [found[i] for i in range(len(rows))]


def _activations(
    target: TargetModel,
    rows: Sequence[tuple[int, ...]],
    tokens: Sequence[int],
    layers: Sequence[int],
    swap: RowSwap | None,
    batch: Sequence[int],
) -> Tensor:
    padded = pad_rows(rows, side="right", device=target.device)
    everywhere = torch.arange(padded.ids.shape[1], device=target.device).expand(len(rows), -1)
    places = {layer: target.place(Site(layer)) for layer in layers}
    first = target.model.get_output_embeddings().weight[torch.tensor(tokens, device=target.device)].float()
    swapping = nullcontext() if swap is None else swap.within(target, batch)
    # The swap's hook stands first, so that its own layer is read as it is after the swap.
    with swapping, captured(places, dict.fromkeys(places, everywhere)) as states:
        target.model(input_ids=padded.ids, use_cache=False)
    return projected([states[layer] for layer in layers], first)


def weights_entropy(weights: Tensor) -> Tensor:
    """Return E = -sum_i p_i ln p_i in nats, [...], of weights [..., n] that sum to 1."""
    entropy: Tensor = torch.special.entr(weights).sum(-1)
    return entropy
