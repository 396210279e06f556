"""A pair made of prompts that have their answers; instances made by hand are made of these."""

from __future__ import annotations

from ravel.instance import PromptRecord
from ravel.instance.rows import source_kind_of
from ravel.terms.schema import InterchangePair

__all__ = ["pair_of"]


def pair_of(
    pair_id: str, base: PromptRecord, source: PromptRecord, swapped: PromptRecord | None = None
) -> InterchangePair:
    """Return the pair of a base and a source; `swapped` has its answer, by default the source itself."""
    wanted, attribute = swapped or source, base.prompt.attribute or ""
    return InterchangePair(
        pair_id=pair_id,
        base=base.prompt_id,
        source=source.prompt_id,
        swapped=wanted.prompt_id,
        attribute=attribute,
        base_entity=base.prompt.entity,
        source_entity=source.prompt.entity,
        base_template=base.prompt.template,
        source_kind=source_kind_of(attribute, source.prompt.attribute),
        if_unchanged=base.label,
        if_swapped=wanted.label,
    )
