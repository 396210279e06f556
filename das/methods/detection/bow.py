"""A control: values told by the words of the text, whatever the model makes of them."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt

from das.detectors.words import Words, counted_words, words_of
from das.engine.base.protocol import Engine
from das.methods.common.base import MethodConfig, Problem, Workspace
from das.methods.common.concepts import concept_prompts, has_tensor
from das.methods.common.probe import fit_l2
from das.methods.detection._directions import FindsDetector


class BowConfig(MethodConfig):
    """Settings of bow."""

    names: bool = False
    """Whether the words of the entity's name count. Without them only the template is left, which all values
    share; with them names of the training entities are known by heart."""
    c: PositiveFloat = 100.0
    """Inverse strength of the L2 penalty, as in AxBench."""
    vectors: PositiveInt = 4000
    """Most training prompts; a larger population is sampled, always the same."""
    iterations: PositiveInt = 300
    """Most iterations of L-BFGS for each value."""


class Bow(FindsDetector[BowConfig]):
    """A bag of words with a logistic regression for each value (BoW of AxBench, Wu et al. 2025, arXiv
    2501.17148). Under one template all prompts have the same words but for the name, so that nothing but
    names can tell values apart: a control that must be at chance, or templates and values are entangled."""

    name = "bow"
    summary = "Tells a value by the words around the name, and reads no vector: a control"
    config_class = BowConfig

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Words:
        """Return `Words`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        known = concept_prompts(problem.instance, problem.attribute, self.config.vectors)
        prompts = [record.prompt for record in known.records]
        names = self.config.names
        words = sorted({word for prompt in prompts for word in words_of(prompt, names=names)})
        counts, has = counted_words(prompts, words, names=names), has_tensor(known, told)
        weights = torch.zeros(len(words), len(told))
        for place in range(len(told)):
            labels = has[:, place].numpy().astype(np.int64)
            fitted = fit_l2(counts, labels, 2, c=self.config.c, iterations=self.config.iterations)
            weights[:, place] = (fitted.weights[1] - fitted.weights[0]).float()
        return Words(problem.attribute, told, words, weights, names=names)


METHOD = Bow
