"""The model itself is asked; it knows no vector."""

from __future__ import annotations

from collections import Counter

import torch

from das.detectors.question import Question
from das.engine.base.protocol import Engine
from das.methods.common.base import Problem, Workspace
from das.methods.detection._directions import FindsDetector
from ravel.terms.schema import TRAIN_SPLIT


class Prompt(FindsDetector):
    """How likely the model's answer begins as the value does, to the very prompt, which asks for it.

    Prompt of AxBench (Wu et al. 2025, arXiv 2501.17148) asks a judge whether a concept is in a text; here the
    label is what the model says, so that this row shows how much there is to be told at all. Values with the
    same first token can't be told apart by it.
    """

    name = "prompt"
    summary = "Tells a value by how likely the model says it: what there is to be told"

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Question:
        """Return a `Question` with the token by which most answers of a value begin. Raises what `concepts`
        raises."""
        told = self.concepts(problem, workspace).values
        begun: dict[str, Counter[int]] = {value: Counter() for value in told}
        for record in problem.instance.prompts(TRAIN_SPLIT):
            value = record.label.strip()
            if record.prompt.attribute == problem.attribute and value in begun and record.label_ids:
                begun[value][record.label_ids[0]] += 1
        ids = [min(found, key=lambda one: (-found[one], one)) for found in begun.values()]
        return Question(problem.attribute, told, torch.tensor(ids), width=engine.target.width(problem.site))


METHOD = Prompt
