"""The cases of erasure: which value is taken from which prompt's vector; it knows no strength, no model."""

from __future__ import annotations

from functools import lru_cache

from evaluation.records.outcomes.erasures import ErasedCase
from evaluation.scoring.steering.cases import SEPARATOR
from ravel.common.seeds import python_stream
from ravel.instance import Instance, concepts_of, entity_values
from ravel.terms.schema import TRAIN_SPLIT

_KEPT = 8
"""Splits of instances whose cases are kept, for they are asked for again with every cell."""


@lru_cache(maxsize=_KEPT)
def erased_cases(instance: Instance, split: str) -> tuple[ErasedCase, ...]:
    """Return the cases of a split, by attribute with concepts, then prompt: each base of its pairs, and each
    base with the source's entity, once.

    A prompt whose entity has a concept loses that. One that asks for the attribute and whose entity has none
    of them, or another, is to be left alone under the erasure of a concept that is drawn, always the same: an
    entity that has a concept counts under its own in one half of its prompts, drawn too. Raises SuiteError
    for a withheld split.
    """
    pairs = instance.pairs(split)
    ids = sorted({i for pair in pairs for i in (pair.base, pair.swapped)})
    found = []
    for target in instance.attributes if pairs else ():
        told = concepts_of(instance, target).values
        known = entity_values(instance, target, (TRAIN_SPLIT, split)) if told else {}
        for prompt_id in ids if told else ():
            record = instance.prompt(prompt_id)
            prompt = record.prompt
            asks = prompt.attribute == target
            own = record.label.strip() if asks else known.get(prompt.entity)
            stream = python_stream(0, "erased", target, prompt_id)
            others = [value for value in told if value != own]
            if own in told and (not asks or not others or stream.random() < 0.5):
                value, has = own, True
            elif asks and others:
                value, has = stream.choice(others), False
            else:
                continue
            identity = (f"{prompt_id}{SEPARATOR}{target}", target, str(value), has)
            found.append(ErasedCase(*identity, prompt.attribute or "", prompt.template, prompt.entity))
    return tuple(found)
