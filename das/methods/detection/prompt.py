"""The model itself is asked; it knows no vector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from das.detectors.question import Question
from das.engine.base.protocol import Engine
from das.methods.common.base import Problem, Workspace
from das.methods.detection._directions import FindsDetector
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT


class Prompt(FindsDetector):
    """How likely the model's answer begins as the value does, to the very prompt, which asks for it.

    Prompt of AxBench (Wu et al. 2025, arXiv 2501.17148) asks a judge whether a concept is in a text; here the
    label is what the model says, so that this row shows how much there is to be told at all. Values with the
    same first token can't be told apart by it.

    Under the track steering it is a sentence in front of the prompt: the commonest training template that
    asks for the attribute, about the prompt's own entity, with the value as its answer. Departure: the
    reference has a language model write what is put in front.
    """

    name = "prompt"
    summary = "Tells a value by how likely the model says it: what there is to be told"

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Question:
        """Return a `Question` with the token by which most answers of a value begin. Raises what `concepts`
        raises."""
        told = self.concepts(problem, workspace).values
        width = engine.target.width(problem.site)
        return Question(problem.attribute, told, first_tokens(problem, told), width=width)


def stating_sentences(instance: Instance, attribute: str, told: Sequence[str]) -> list[str]:
    """Return a sentence for each value of an attribute, with a slot for the entity, as `Preface` puts it in
    front of prompts; none where the prompts have a chat's marks, in front of which there is nothing to be
    said."""
    templates = Counter(
        record.prompt.template
        for record in instance.prompts(TRAIN_SPLIT)
        if record.prompt.attribute == attribute
    )
    in_chat = any(row.get("chat") for row in instance.manifest.templates)
    if in_chat or not templates:
        return []
    template = min(templates, key=lambda one: (-templates[one], one))
    return [f"{template} {value}. " for value in told]


def first_tokens(problem: Problem, told: Sequence[str]) -> Tensor:
    """Return the token by which most training answers of each value begin, [n_values] in int64."""
    begun: dict[str, Counter[int]] = {value: Counter() for value in told}
    for record in problem.instance.prompts(TRAIN_SPLIT):
        value = record.label.strip()
        if record.prompt.attribute == problem.attribute and value in begun and record.label_ids:
            begun[value][record.label_ids[0]] += 1
    ids = [min(found, key=lambda one: (-found[one], one)) for found in begun.values()]
    return torch.tensor(ids)


METHOD = Prompt
