"""The interchange on a real decoder by hooks written out by hand, and facts small enough for a real model; it
uses no engine and no family of the suite.

Right for decoders of the shape `model.layers[i]` with `self_attn`, `self_attn.o_proj` and `mlp`, as Llama,
Qwen and Gemma have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from resume_cases import close
from torch import Tensor, nn

from das.engine import DirectEngine, Engine, ForcedPair, ResumeEngine
from das.featurizers import Subspace, retract
from das.models.base import TargetModel
from das.sites import STREAMS, Site
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance
from ravel.terms.schema import Prompt

__all__ = ["check_sites", "forced_pairs", "logits_by_hand", "small_tables", "three_layers"]

ENTITIES = (
    *("Paris", "Milan", "Tokyo", "Bangkok", "Nairobi", "Lagos"),
    *("Berlin", "Cairo", "Beijing"),
    *("Madrid", "Vienna", "Jakarta"),
)
"""Six to train on, three that validate, three that test; each continent of training has two."""
TEMPLATES = (
    "The city of %s lies in the country of",
    "The football fans of %s cheer for the national team of",
    "Address: 12 Station Road, %s,",
    "He flew to %s, which is a city in",
    "Somebody living in %s is living on the continent of",
    "If you left %s and walked for days, you would still be on the continent of",
    '{"name": "%s", "kind": "city", "continent": "',
    "%s can be found on the continent of",
    "The concert in %s was sold out within",
    "The mayor of %s promised to plant",
    "Winters in %s can be",
)
"""Of Country and Continent two, one and one; and one text of each partition that asks for nothing."""


GRADIENTS_WITHIN = 3e-4
"""Relative to the largest entry: on Gemma either engine is up to 1e-4 from the gradient in float64."""


def small_tables() -> Tables:
    """Return the bundled facts of twelve cities with two attributes' few templates."""
    tables = read_bundled("city")
    return replace(
        tables,
        entities=tuple(facts for facts in tables.entities if facts.entity in ENTITIES),
        templates=tuple(template for template in tables.templates if template.text in TEMPLATES),
    )


def forced_pairs(instance: Instance, split: str, count: int) -> list[ForcedPair]:
    """Return a split's first pairs of different base templates, forced to the source entity's answer."""
    by_template = {pair.base_template: pair for pair in reversed(instance.pairs(split))}
    return [
        ForcedPair(
            instance.prompt(pair.base).prompt,
            instance.prompt(pair.source).prompt,
            instance.prompt(pair.swapped).label_ids[:3],
        )
        for pair in list(by_template.values())[:count]
    ]


def three_layers(target: TargetModel) -> list[Site]:
    """Return an early, the middle and a late layer in all four streams; another head in each layer."""
    layers = (1, target.n_layers // 2, target.n_layers - 2)
    return [
        Site(layer, stream, head=n % target.n_heads if stream == "head_output" else None)
        for n, layer in enumerate(layers)
        for stream in STREAMS
    ]


def check_sites(target: TargetModel, pairs: Sequence[ForcedPair], sites: Sequence[Site]) -> None:
    """Assert at each site that both engines give the logits of the hooks, and each other's gradient."""
    direct, resume = DirectEngine(target), ResumeEngine(target)
    untouched = logits_by_hand(target, pairs, None)
    for site in sites:
        wanted = logits_by_hand(target, pairs, site)
        logits, gradient = _logits_and_gradient(direct, pairs, site)
        found, of_resume = _logits_and_gradient(resume, pairs, site)
        # Some swaps move logits by less than rounding of another order of sums is allowed: no engine may be
        # as far off as one that leaves the swap out.
        moved = (wanted - untouched).abs().max()
        for given in (logits, found):
            close(given, wanted)
            assert (given - wanted).abs().max() < moved / 5
        assert gradient.abs().max() > 0
        close(of_resume, gradient, GRADIENTS_WITHIN)


def _weight(target: TargetModel, site: Site) -> Tensor:
    """Return a weight of which half as many columns are made as vectors have numbers."""
    width = target.width(site)
    return torch.randn(width, width // 2, generator=torch.Generator().manual_seed(3))


def _logits_and_gradient(engine: Engine, pairs: Sequence[ForcedPair], site: Site) -> tuple[Tensor, Tensor]:
    """Return logits, and the gradient of the labels' likelihood by the weight behind the subspace."""
    weight = _weight(engine.target, site).requires_grad_()
    logits = engine.interchange_logits(pairs, site, Subspace(retract(weight)))
    ids = torch.tensor([(*pair.label_ids, 0, 0)[: logits.shape[1]] for pair in pairs])
    logits.log_softmax(-1).gather(-1, ids[:, :, None]).sum().backward()
    assert weight.grad is not None
    return logits.detach(), weight.grad


def logits_by_hand(target: TargetModel, pairs: Sequence[ForcedPair], site: Site | None) -> Tensor:
    """Return logits [pairs, longest label, vocabulary] at each label's tokens, zeros behind shorter ones.

    Each pair is run alone and in full; without a site nothing is swapped.
    """
    longest = max(len(pair.label_ids) for pair in pairs)
    found = []
    for pair in pairs:
        (source, token), (base, place) = (_tokens(target, p) for p in (pair.source, pair.base))
        ids = torch.cat([base, torch.tensor(pair.label_ids)])
        if site is None:
            logits = _logits(target, ids)
        else:
            logits = _swapped(target, ids, site, place, _vector(target, source, site, token))
        answers = logits[len(base) - 1 : -1]
        found.append(nn.functional.pad(answers, (0, 0, 0, longest - len(answers))))
    return torch.stack(found)


def _tokens(target: TargetModel, prompt: Prompt) -> tuple[Tensor, int]:
    """Return a prompt's ids and the place of the token that holds its entity's last letter."""
    table = target.tokenizer(prompt.text, return_offsets_mapping=True)
    last = prompt.span[1] - 1
    (place,) = (i for i, (start, end) in enumerate(table["offset_mapping"]) if start <= last < end)
    return torch.tensor(table["input_ids"]), place


def _logits(target: TargetModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = target.model(input_ids=ids[None], use_cache=False).logits[0]
    return logits


def _vector(target: TargetModel, ids: Tensor, site: Site, token: int) -> Tensor:
    """Return the vector at a token of a site."""
    seen: list[Tensor] = []

    def note(hidden: Tensor) -> Tensor:
        seen.append(_part(target, site, hidden)[0, token].clone())
        return hidden

    with _seen_by(note, target, site):
        _logits(target, ids)
    return seen[0]


def _swapped(target: TargetModel, ids: Tensor, site: Site, token: int, brought: Tensor) -> Tensor:
    """Return logits with the subspace's part of the vector at a token taken from another vector."""
    basis = retract(_weight(target, site))

    def swap(hidden: Tensor) -> Tensor:
        hidden = hidden.clone()
        part = _part(target, site, hidden)
        part[0, token] += (brought - part[0, token]) @ basis @ basis.T
        return hidden

    with _seen_by(swap, target, site):
        return _logits(target, ids)


@contextmanager
def _seen_by(act: Callable[[Tensor], Tensor], target: TargetModel, site: Site) -> Iterator[None]:
    """Within, the vectors of a site's module are what `act` makes of them; heads stand before their
    projection."""

    def after(module: nn.Module, inputs: Any, output: Any) -> Any:
        return (act(output[0]), *output[1:]) if isinstance(output, tuple) else act(output)

    def before(module: nn.Module, inputs: Any) -> Any:
        return (act(inputs[0]), *inputs[1:])

    module = _module(target, site)
    is_head = site.stream == "head_output"
    handle = module.register_forward_pre_hook(before) if is_head else module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def _part(target: TargetModel, site: Site, hidden: Tensor) -> Tensor:
    """Return a view of what of a module's vectors is the site's: all of it, or one head's slice."""
    if site.head is None:
        return hidden
    width = hidden.shape[-1] // target.n_heads
    return hidden[..., site.head * width : (site.head + 1) * width]


def _module(target: TargetModel, site: Site) -> nn.Module:
    block = target.model.model.layers[site.layer]
    return {
        "block_output": block,
        "attention_output": block.self_attn,
        "mlp_output": block.mlp,
        "head_output": block.self_attn.o_proj,
    }[site.stream]
