"""Edge scores: what each place of a model hands on of the difference between two runs, by one gradient for
all places; it knows no pair of an instance."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.batch import pad_rows
from das.engine.base.hooks import captured, gathered, rewritten
from das.gradients.context import backward_rules
from das.gradients.rules import BackwardRules
from das.models.base import TargetModel
from das.sites import POSITIONS, Site, Stream

_AT_ONCE = 32
"""Pairs of rows in one pass."""


@dataclass(frozen=True, slots=True)
class ContrastRows:
    """Two prompts as token ids, with the answers that they have."""

    base: tuple[int, ...]
    """The prompt through which gradients are taken."""
    source: tuple[int, ...]
    """The prompt whose vectors are compared."""
    base_places: tuple[int, ...]
    """Where the sites' positions are in the base, in the order of `POSITIONS`."""
    source_places: tuple[int, ...]
    """The same in the source."""
    unchanged: int
    """Token id of the base's answer."""
    swapped: int
    """Token id of the source's answer."""


def edge_sites(target: TargetModel) -> list[Site]:
    """Return the sites that have an edge score: every layer of every stream of whole vectors, at both
    positions."""
    streams: list[Stream] = [stream for stream in target.streams if stream != "head_output"]
    return [Site(n, s, p) for s in streams for p in POSITIONS for n in range(target.n_layers)]


def edge_scores(target: TargetModel, pairs: Sequence[ContrastRows], rules: BackwardRules) -> Tensor:
    """Return `(a_source - a_base) . dT/da` at the base, [n_pairs, n_sites] in float64, for the vectors a of
    `edge_sites`: what goes on from a site over all edges out of it. T is the logit of the source's answer
    less that of the base's, the gradient is by `rules` (edge attribution patching, Syed et al. 2023, arXiv
    2310.10348; with GIM's, arXiv 2505.17630)."""
    sites = edge_sites(target)
    parts = [
        _scores(target, pairs[start : start + _AT_ONCE], sites, rules)
        for start in range(0, len(pairs), _AT_ONCE)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, len(sites), dtype=torch.float64)


def _scores(
    target: TargetModel, pairs: Sequence[ContrastRows], sites: Sequence[Site], rules: BackwardRules
) -> Tensor:
    sources = _source_vectors(target, pairs, sites)
    watched = [_Watched(target, pairs, site) for site in sites]
    padded = pad_rows([pair.base for pair in pairs], side="right", device=target.device)
    ends = torch.tensor([[len(pair.base) - 1] for pair in pairs], device=target.device)
    with torch.enable_grad(), ExitStack() as stack:
        stack.enter_context(backward_rules(target, rules))
        for one in watched:
            stack.enter_context(rewritten(target.place(one.site), one.places, one.seen))
        stack.enter_context(gathered(target.model.get_output_embeddings(), ends))
        logits = target.model(input_ids=padded.ids, use_cache=False).logits[:, 0].float()
        ids = torch.tensor([[pair.swapped, pair.unchanged] for pair in pairs], device=logits.device)
        both = logits.gather(1, ids)
        slopes = torch.autograd.grad((both[:, 0] - both[:, 1]).sum(), [one.leaf for one in watched])
    columns = [
        ((sources[one.site] - one.vectors).double() * slope.double()).sum(dim=-1).cpu()
        for one, slope in zip(watched, slopes, strict=True)
    ]
    return torch.stack(columns, dim=1)


class _Watched:
    """A site of some bases: what flows there, and a leaf for its gradient."""

    def __init__(self, target: TargetModel, pairs: Sequence[ContrastRows], site: Site) -> None:
        self.site = site
        self.places = torch.tensor([pair.base_places[POSITIONS.index(site.position)] for pair in pairs])
        self.vectors = torch.zeros(0)
        self.leaf = torch.zeros(len(pairs), target.width(site), device=target.device, requires_grad=True)

    def seen(self, vectors: Tensor) -> Tensor:
        """Keep what flows, and add the leaf to it, which changes nothing."""
        self.vectors = vectors.detach().float().to(self.leaf.device)
        return vectors + self.leaf.to(vectors)


def _source_vectors(
    target: TargetModel, pairs: Sequence[ContrastRows], sites: Sequence[Site]
) -> dict[Site, Tensor]:
    """Return the source's vector at each site, [n_pairs, width] in float32."""
    padded = pad_rows([pair.source for pair in pairs], side="right", device=target.device)
    places = {site: target.place(site) for site in sites}
    positions = {
        site: torch.tensor([[pair.source_places[POSITIONS.index(site.position)]] for pair in pairs])
        for site in sites
    }
    with torch.no_grad(), captured(places, positions) as found:
        target.model(input_ids=padded.ids, use_cache=False)
    return {site: vectors[:, 0].to(target.device) for site, vectors in found.items()}
