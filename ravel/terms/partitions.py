"""Which partitions of entities and templates meet in which split, and how places are shared among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ravel.terms.schema import PARTITIONS, TRAIN_SPLIT, Partition, split_name


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Where the prompts of a split come from; bases and sources alike."""

    name: str
    """As in the instance: `entity_val`."""
    templates: Partition
    """Partition of every template in the split, attribute-free texts included."""
    entities: Partition
    """Partition of every entity in the split."""


def _plans() -> tuple[SplitPlan, ...]:
    held_out = [partition for partition in PARTITIONS if partition != "train"]
    return (
        SplitPlan(TRAIN_SPLIT, "train", "train"),
        *(SplitPlan(split_name("context", p), p, "train") for p in held_out),
        *(SplitPlan(split_name("entity", p), "train", p) for p in held_out),
        *(SplitPlan(split_name("entity_context", p), p, p) for p in held_out),
    )


SPLIT_PLANS: tuple[SplitPlan, ...] = _plans()
"""Every split: training, then held-out templates, held-out entities, and both held out at once."""

_MEETING = frozenset((plan.templates, plan.entities) for plan in SPLIT_PLANS)


def asked_together(templates: Partition, entities: Partition) -> bool:
    """Return whether some split fills templates of the one partition with entities of the other."""
    return (templates, entities) in _MEETING


def share_out(total: int, sizes: Mapping[Partition, int]) -> dict[Partition, int]:
    """Share `total` places among partitions in proportion to their sizes (Webster's divisor method), none
    beyond its size; each that has members gets at least one, even if that takes more places."""
    total = min(total, sum(sizes.values()))
    shares: dict[Partition, int] = {name: min(size, 1) for name, size in sizes.items()}
    while sum(shares.values()) < total:
        # One place at a time to the partition that is furthest below its proportion; ties go to the earlier
        # one.
        open_ones = [name for name in sizes if shares[name] < sizes[name]]
        neediest = min(open_ones, key=lambda name: (shares[name] + 0.5) / sizes[name])
        shares[neediest] += 1
    return shares
