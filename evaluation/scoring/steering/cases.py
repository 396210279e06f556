"""The cases of steering: which prompts are steered towards which values; it knows no strength and no model.

They come from the pairs of interchange: a pair's source entity has a value of the steered attribute, and the
base is to be given it, without the source. So cause and isolate are asked of the same prompts.
"""

from __future__ import annotations

from functools import lru_cache

from evaluation.records.outcomes.steerings import SteeredCase
from ravel.instance import Instance, steered_pairs

_KEPT = 8
"""Splits of instances whose cases are kept, for they are asked for again with every cell."""
SEPARATOR = ">"
"""Between a pair's id and the steered attribute in the name of a case."""


@lru_cache(maxsize=_KEPT)
def steered_cases(instance: Instance, split: str) -> tuple[SteeredCase, ...]:
    """Return the cases of a split: for each attribute with concepts, in order, the pairs whose base can be
    given the value of the source's entity (`steered_pairs`). Raises SuiteError for a withheld split."""
    return tuple(
        SteeredCase(
            f"{pair.pair_id}{SEPARATOR}{target}",
            target,
            value,
            pair.attribute,
            pair.base_template,
            pair.base_entity,
        )
        for target in instance.attributes
        for pair, value in steered_pairs(instance, split, target)
    )
