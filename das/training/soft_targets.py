"""Training pairs that want what the model itself says, not one answer; it knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from das.engine.base.protocol import Engine, ForcedPair
from das.engine.base.soft_labels import Divergence, SoftLabel, soft_labels
from das.sites import Site
from das.training.objective import TrainingPair
from ravel.instance import Instance
from ravel.terms.schema import Prompt

_AT_ONCE = 64
"""Prompts of which the logits are held at once."""


def with_soft_labels(
    pairs: Sequence[TrainingPair],
    instance: Instance,
    engine: Engine,
    site: Site,
    *,
    most: int,
    divergence: Divergence,
) -> list[TrainingPair]:
    """Return the pairs, each wanting what the model says, with nothing swapped, to the base's template about
    the source's entity (cause) or about the base's own (isolate). Of each distribution the `most` likeliest
    tokens are kept by name. Every prompt is run once."""
    prompts = {(r.prompt.template, r.prompt.entity): r.prompt for r in instance.prompts()}
    asked = [_unswapped(pair, prompts) for pair in pairs]
    once = list({(pair.base.text, pair.label_ids): pair for pair in asked}.values())
    said: dict[tuple[str, tuple[int, ...]], SoftLabel] = {}
    for start in range(0, len(once), _AT_ONCE):
        some = once[start : start + _AT_ONCE]
        with torch.no_grad():
            logits = engine.interchange_logits(some, site, None)
        for pair, row in zip(some, logits, strict=True):
            soft = soft_labels(row[: len(pair.label_ids)], most, divergence)
            said[pair.base.text, pair.label_ids] = soft
    return [
        replace(pair, forced=replace(pair.forced, soft=said[one.base.text, one.label_ids]))
        for pair, one in zip(pairs, asked, strict=True)
    ]


def _unswapped(pair: TrainingPair, prompts: dict[tuple[str, str], Prompt]) -> ForcedPair:
    """Return what the model is asked to learn what it says of its own accord."""
    base, source = pair.forced.base, pair.forced.source
    prompt = prompts[base.template, source.entity] if pair.kind == "cause" else base
    return ForcedPair(prompt, prompt, pair.forced.label_ids)
