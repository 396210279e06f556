"""Pairs, sites and swaps that the tests of the resume engine share, and how two answers are compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from das.engine import Engine, ForcedPair
from das.engine.base.protocol import AnswerPair, FeaturizedPairs
from das.featurizers import Subspace, retract
from das.models import TargetModel
from das.sites import STREAMS, Position, Site, Stream

PromptMaker = Callable[..., Any]
RELATIVE = 1e-4
"""Largest difference of two engines in float32, relative to the largest number."""


def make_pairs(make_prompt: PromptMaker) -> list[ForcedPair]:
    """Every prompt with every other: entities first, last and in the middle, labels of 1 to 3 tokens."""
    prompts = [
        make_prompt("%s", "X"),
        make_prompt("%s is a city in", "Rome"),
        make_prompt("The well known city of %s", "Ulm"),
        make_prompt("Oslo, yes Oslo: %s has the currency", "Oslo"),
    ]
    lengths = itertools.cycle([3, 1, 2, 1, 1])
    return [
        ForcedPair(base, source, tuple(range(5, 5 + n)))
        for (base, source), n in zip(itertools.product(prompts, prompts), lengths, strict=False)
    ]


def choices_of(pairs: Sequence[ForcedPair]) -> list[AnswerPair]:
    """A choice between each pair's label and another one, of 1 to 3 tokens."""
    lengths = itertools.cycle([1, 2, 3, 1])
    return [
        AnswerPair(pair.base, pair.source, (pair.label_ids, tuple(range(20, 20 + n))))
        for pair, n in zip(pairs, lengths, strict=False)
    ]


def site_at(stream: Stream, layer: int, position: Position = "entity_last") -> Site:
    """A site of a stream; one of the heads."""
    return Site(layer, stream, position, head=1 if stream == "head_output" else None)


SOME_SITES = [
    Site(0, position="prompt_last"),
    Site(1),
    *(site_at(stream, 2) for stream in STREAMS if stream != "block_output"),
]
"""One of each stream."""


def free_weight(target: TargetModel, site: Site, seed: int = 3) -> Tensor:
    """A weight of which three columns are made, [width, 3]; it takes a gradient."""
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(target.width(site), 3, generator=stream).requires_grad_()


def swap_at(target: TargetModel, site: Site, seed: int = 3) -> Subspace:
    """The subspace of `free_weight`, without a gradient."""
    return Subspace(retract(free_weight(target, site, seed).detach()))


def logits_and_gradient(engine: Engine, pairs: Sequence[ForcedPair], site: Site) -> tuple[Tensor, Tensor]:
    """Logits under a subspace, and the gradient of a loss by its weight."""
    weight = free_weight(engine.target, site)
    logits = engine.interchange_logits(pairs, site, Subspace(retract(weight)))
    ids = torch.tensor([(*pair.label_ids, 0, 0)[: logits.shape[1]] for pair in pairs])
    logits.log_softmax(-1).gather(-1, ids[:, :, None]).sum().backward()
    assert weight.grad is not None
    return logits.detach(), weight.grad


def labels_and_gradients(
    engine: Engine, groups: Sequence[Sequence[ForcedPair]], site: Site, seeds: Sequence[int]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Cross entropies, what was right, and each group's own gradient, of groups that run together."""
    weights = [free_weight(engine.target, site, seed) for seed in seeds]
    found = engine.forced_labels(
        [FeaturizedPairs(g, Subspace(retract(w))) for g, w in zip(groups, weights, strict=True)], site
    )
    torch.stack([labels.cross_entropy.sum() for labels in found]).sum().backward()
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    assert len(gradients) == len(weights)
    return [f.cross_entropy.detach() for f in found], [f.correct for f in found], gradients


def said_with(engine: Engine, pairs: Sequence[ForcedPair], site: Site) -> list[tuple[bool, bool]]:
    """Verdicts on `choices_of` the pairs."""
    return engine.predicts(choices_of(pairs), site, swap_at(engine.target, site))


def close(actual: Tensor, expected: Tensor, relative: float = RELATIVE) -> None:
    """Compare relative to the largest number: single entries near zero have no accuracy of their own."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max().item() <= relative * expected.abs().max().item()


def far(actual: Tensor, expected: Tensor, relative: float = 1e-3) -> bool:
    """Whether two results are not the same but for rounding."""
    return (actual - expected).abs().max().item() > relative * expected.abs().max().item()


@contextmanager
def watched(module: nn.Module) -> Iterator[list[tuple[int, int]]]:
    """Within, the rows and tokens of every call of a block or of one of its parts."""
    seen: list[tuple[int, int]] = []

    def note(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        hidden = inputs[0] if inputs else named["hidden_states"]
        seen.append((hidden.shape[0], hidden.shape[1]))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()
