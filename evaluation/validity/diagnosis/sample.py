"""The pairs that a diagnosis looks at, and the logits of their two answers; it knows no patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.base import NotApplicableError
from das.methods.common.contrast import ContrastPair, answer_logits, contrast_of
from das.sites import Site
from ravel.common.seeds import sampled
from ravel.instance import Instance, prompt_ids
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair, Prompt

_BATCH = 32
"""Pairs whose logits over the whole vocabulary are held at once."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The pairs of one diagnosis."""

    instance: Instance
    """Holds these pairs and no others, in one split."""
    split: str
    """That split."""
    attribute: str
    """The target attribute."""
    contrast_pairs: tuple[ContrastPair, ...]
    """The cause pairs, without those of which one answer only continues the other."""
    n_cause: int
    """Number of cause pairs."""
    n_isolate: int
    """Number of isolate pairs."""


@dataclass(frozen=True, slots=True)
class LogitDifference:
    """By how much the model prefers the base's answer, on each contrast pair."""

    difference: Tensor
    """Logit of the base's answer minus that of the source's, where they first differ, [n_pairs] in
    float64."""
    swapped_probability: Tensor
    """Probability of the source answer's token there, [n_pairs] in float64."""


def draw_sample(instance: Instance, attribute: str, split: str, *, limit: int, seed: int) -> Sample:
    """Return at most `limit` cause pairs and at most `limit` isolate pairs of `split`.

    The isolate pairs are shared out evenly among the other attributes. Equal arguments draw equal pairs.
    Raises NotApplicableError if the split has no cause pair of the attribute.
    """
    pairs = instance.pairs(split)

    def some(name: str, most: int) -> list[InterchangePair]:
        own = [pair for pair in pairs if pair.attribute == name]
        return sampled(own, most, seed, "diagnosis", split, name)

    causes = some(attribute, limit)
    if not causes:
        raise NotApplicableError(
            expected=f"pairs in {split} whose base asks for {attribute!r}",
            came="none",
            todo="choose another --split, or an attribute of the instance with --attribute",
        )
    others = [name for name in instance.attributes if name != attribute]
    isolates = [
        pair
        for name, share in zip(others, _shares(limit, len(others)), strict=True)
        for pair in some(name, share)
    ]
    kept = (*causes, *isolates)
    small = Instance(
        manifest=instance.manifest,
        prompts={prompt_id: instance.prompt(prompt_id) for prompt_id in sorted(prompt_ids(kept))},
        pairs={split: kept},
    )
    contrasts = tuple(found for pair in causes if (found := contrast_of(instance, pair)) is not None)
    return Sample(small, split, attribute, contrasts, len(causes), len(isolates))


def _shares(limit: int, parts: int) -> list[int]:
    """Return how many of `limit` pairs each part gets, at least one, the first ones one more."""
    return [max(1, limit // parts + (place < limit % parts)) for place in range(parts)]


def logit_differences(
    pairs: Sequence[ContrastPair],
    engine: Engine,
    site: Site,
    featurizer: Featurizer | None,
    *,
    natural: bool = False,
) -> LogitDifference:
    """Return the logit difference of each pair under an interchange; `featurizer=None` changes nothing.

    With `natural`, the pair's natural run is read in place of its base.
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pairs), _BATCH):
            some = pairs[start : start + _BATCH]
            forced = [pair.natural() if natural else pair.forced for pair in some]
            logits = engine.interchange_logits(forced, site, featurizer)
            parts.append(_read(some, logits))
    if not parts:
        return LogitDifference(torch.zeros(0).double(), torch.zeros(0).double())
    return LogitDifference(torch.cat([d for d, _ in parts]), torch.cat([p for _, p in parts]))


def _read(pairs: Sequence[ContrastPair], logits: Tensor) -> tuple[Tensor, Tensor]:
    asked, unchanged, swapped = (part.double().cpu() for part in answer_logits(pairs, logits))
    return unchanged - swapped, (swapped - asked.logsumexp(dim=1)).exp()


def natural_prompts(instance: Instance, *, limit: int, seed: int) -> list[Prompt]:
    """Return at most `limit` distinct prompts of the training pairs: what natural states are taken from."""
    ids = {prompt for pair in instance.pairs(TRAIN_SPLIT) for prompt in (pair.base, pair.source)}
    prompts = list(dict.fromkeys(instance.prompt(prompt_id).prompt for prompt_id in sorted(ids)))
    return sampled(prompts, limit, seed, "diagnosis", "natural")


def vectors_of(prompts: Sequence[Prompt], engine: Engine, site: Site) -> Tensor:
    """Return the vectors of prompts at a site, [n_prompts, width] in float64 on the CPU."""
    return engine.collect(prompts, [site])[site].double().cpu()
