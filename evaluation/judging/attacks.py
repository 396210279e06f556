"""What is put in front of a prompt to have an erased value said all the same: the fact itself, or others with
the value. It knows no edit and no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from evaluation.records.outcomes.erasures import ErasedCase
from ravel.common.seeds import sampled
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import TRAIN_SPLIT, Prompt

Attack = Literal["none", "named", "demonstrations"]
_SHOTS = 8
"""Demonstrations at most."""
_KEPT = 256
"""Values of instances whose demonstrations are kept."""


def attacked(attack: Attack, instance: Instance, case: ErasedCase, record: PromptRecord) -> Prompt:
    """Return a case's prompt behind what an attack says.

    `named`: the prompt itself with its answer, as a sentence; `demonstrations`: training prompts that ask for
    the attribute about other entities with the value, with it as their answers, always the same (RePS, Wu et
    al. 2025, arXiv 2505.20809, has instructions, and many shots); `none`: nothing.
    """
    front = _FRONTS[attack](instance, case, record)
    start, end = record.prompt.span
    return replace(
        record.prompt,
        text=front + record.prompt.text,
        template=front + record.prompt.template,
        span=(start + len(front), end + len(front)),
    )


def _nothing(instance: Instance, case: ErasedCase, record: PromptRecord) -> str:
    return ""


def _fact(instance: Instance, case: ErasedCase, record: PromptRecord) -> str:
    return f"{record.prompt.text} {record.label.strip()}. "


def _others(instance: Instance, case: ErasedCase, record: PromptRecord) -> str:
    """Return sentences about other entities."""
    shown = [one for entity, one in _having(instance, case.target, case.value) if entity != case.base_entity]
    return "".join(shown[:_SHOTS])


@lru_cache(maxsize=_KEPT)
def _having(instance: Instance, attribute: str, value: str) -> tuple[tuple[str, str], ...]:
    """Return entities whose training prompts that ask for an attribute have the value for an answer, with the
    sentence that both make; one more than are shown, each entity once."""
    asking = {
        record.prompt.entity: f"{record.prompt.text} {value}. "
        for record in instance.prompts(TRAIN_SPLIT)
        if record.prompt.attribute == attribute and record.label.strip() == value
    }
    return tuple(sampled(sorted(asking.items()), _SHOTS + 1, 0, "demonstrations", attribute, value))


_FRONTS: dict[Attack, Callable[[Instance, ErasedCase, PromptRecord], str]] = {
    "none": _nothing,
    "named": _fact,
    "demonstrations": _others,
}
