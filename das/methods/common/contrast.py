"""Pairs whose two answers part at a token, how far a model leans to one of them, and what that changes with;
it knows no features and no scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.protocol import Engine, ForcedPair
from das.featurizers.base import Featurizer
from das.gradients.context import backward_rules
from das.gradients.rules import PLAIN, BackwardRules
from das.sites import Site
from ravel.instance import Instance
from ravel.terms.schema import InterchangePair, Prompt


@dataclass(frozen=True, slots=True)
class ContrastPair:
    """A pair with the first token by which its two answers differ."""

    forced: ForcedPair
    """The pair, forced to what both answers begin with and to the source answer's next token."""
    swapped: Prompt
    """The base's template about the source's entity: what a natural run is asked."""
    unchanged_id: int
    """The base's own answer's token there."""
    swapped_id: int
    """The source's answer's token there."""

    def natural(self) -> ForcedPair:
        """Return the natural run of the source's entity under the base's template."""
        return ForcedPair(self.swapped, self.swapped, self.forced.label_ids)


def contrast_of(instance: Instance, pair: InterchangePair) -> ContrastPair | None:
    """Return a pair with the token that tells its answers apart; None where one only continues the other."""
    base, swapped = instance.prompt(pair.base), instance.prompt(pair.swapped)
    both = list(zip(base.label_ids, swapped.label_ids, strict=False))
    place = next((place for place, (old, new) in enumerate(both) if old != new), None)
    if place is None:
        return None
    source = instance.prompt(pair.source).prompt
    return ContrastPair(
        forced=ForcedPair(base.prompt, source, swapped.label_ids[: place + 1]),
        swapped=swapped.prompt,
        unchanged_id=base.label_ids[place],
        swapped_id=swapped.label_ids[place],
    )


def answer_logits(pairs: Sequence[ContrastPair], logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of pairs where both answers first differ, [n_pairs, vocabulary], and among them that
    of the base's answer and that of the source's, [n_pairs] each."""
    rows = torch.arange(len(pairs), device=logits.device)

    def ids(values: list[int]) -> Tensor:
        return torch.tensor(values, device=logits.device)

    asked = logits[rows, ids([len(pair.forced.label_ids) - 1 for pair in pairs])]
    unchanged, swapped = ids([p.unchanged_id for p in pairs]), ids([p.swapped_id for p in pairs])
    return asked, asked[rows, unchanged], asked[rows, swapped]


def answer_difference(
    pairs: Sequence[ContrastPair], engine: Engine, site: Site, featurizer: Featurizer | None
) -> Tensor:
    """Return the logit of the source's answer minus the base's, where both first differ, [n_pairs]."""
    logits = engine.interchange_logits([pair.forced for pair in pairs], site, featurizer)
    _, unchanged, swapped = answer_logits(pairs, logits)
    return swapped - unchanged


class MaskPerPair(Featurizer):
    """A featurizer whose mask is a leaf of its own for each pair of a pass, kept for its gradient. It lives
    as long as one call of an engine and is never saved."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves: list[Tensor] = []
        """The masks that were asked for, in the order of the passes."""


def slopes_of(
    pairs: Sequence[ContrastPair],
    engine: Engine,
    site: Site,
    masked: MaskPerPair,
    rules: BackwardRules = PLAIN,
) -> tuple[Tensor | None, ...]:
    """Return the slope of `answer_difference` in each of its masks, None for one that nothing came of;
    with `rules`, through the model as they say."""
    # Where memory is short a pass runs once more on the way back, and must follow the rules there too.
    with torch.enable_grad(), backward_rules(engine.target, rules):
        total = answer_difference(pairs, engine, site, masked).sum()
        # A pair's difference depends on its own row only, so the sum's gradient is each row's own.
        # A pass that ran out of memory and was done again leaves a leaf that nothing came of.
        return torch.autograd.grad(total, masked.leaves, allow_unused=True)
