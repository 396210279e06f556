"""Turns an instance's pairs into training pairs for one target attribute; it knows no model and no method."""

from __future__ import annotations

from das.engine.base.protocol import ForcedPair
from das.training.objective import PairKind, TrainingPair
from ravel.common.seeds import sampled
from ravel.instance import Instance
from ravel.terms.schema import InterchangePair


def cause_pairs(
    instance: Instance, attribute: str, split: str, *, limit: int, seed: int, label_tokens: int
) -> list[TrainingPair]:
    """Return at most `limit` pairs of `split` whose base asks for `attribute`, forced to the source's answer,
    in the instance's order; more are sampled by (`seed`, split, attribute)."""
    asking = [pair for pair in instance.pairs(split) if pair.attribute == attribute]
    kept = sampled(asking, limit, seed, "cause", split, attribute)
    return [training_pair(instance, pair, "cause", label_tokens) for pair in kept]


def isolate_pairs(
    instance: Instance, attribute: str, split: str, *, limit_each: int, seed: int, label_tokens: int
) -> list[TrainingPair]:
    """Return at most `limit_each` pairs of every attribute but `attribute`, forced to the base's own answer;
    each attribute has a stream of its own."""
    by_attribute: dict[str, list[InterchangePair]] = {
        other: [] for other in instance.attributes if other != attribute
    }
    for pair in instance.pairs(split):
        if pair.attribute in by_attribute:
            by_attribute[pair.attribute].append(pair)
    kept = [
        pair
        for other, of_other in by_attribute.items()
        for pair in sampled(of_other, limit_each, seed, "isolate", split, other)
    ]
    return [training_pair(instance, pair, "isolate", label_tokens) for pair in kept]


def training_pair(
    instance: Instance, pair: InterchangePair, kind: PairKind, label_tokens: int
) -> TrainingPair:
    """Return a pair forced to at most `label_tokens` of the answer that its kind wants."""
    answering = instance.prompt(pair.swapped if kind == "cause" else pair.base)
    forced = ForcedPair(
        base=instance.prompt(pair.base).prompt,
        source=instance.prompt(pair.source).prompt,
        label_ids=answering.label_ids[:label_tokens],
    )
    return TrainingPair(forced=forced, kind=kind, attribute=pair.attribute)
