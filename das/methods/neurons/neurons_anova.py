"""Neurons whose values differ most between classes of the target, by the analysis of variance."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.base import MethodConfig, Problem
from das.methods.common.coordinates import TOLERANCE, class_means, one_hot, units_of
from das.methods.common.labelled import LabelledVectors, labelled_vectors
from das.methods.neurons._ranking import Figures, RankedNeurons, ranking


class NeuronsAnovaConfig(MethodConfig):
    """Settings of neurons_anova."""

    vectors: PositiveInt = 20000
    """Most training vectors; a larger population is sampled, always the same."""


class NeuronsAnova(RankedNeurons[NeuronsAnovaConfig]):
    """Swaps the `size` neurons with the largest F statistic (one-way analysis of variance, Fisher 1925).
    Constant neurons score 0; one that is constant within classes, but not between them, infinity."""

    name = "neurons_anova"
    summary = "Neurons ranked by the F statistic of the target's classes"
    config_class = NeuronsAnovaConfig

    def order(self, problem: Problem, engine: Engine) -> tuple[Tensor, Figures]:
        """Return the neurons by their F statistic."""
        scores = f_statistics(labelled_vectors(problem, engine, limit=self.config.vectors))
        return ranking(scores), {
            "median_f": float(np.median(scores)),
            "above_zero": int((scores > 0).sum()),
        }


def f_statistics(labelled: LabelledVectors) -> NDArray[np.float64]:
    """Return the F statistic of each neuron, [d_model]; 0 for constant neurons, never NaN. The sums of
    squares are of differences from means; as differences of sums of squares (scikit-learn's `f_classif`) they
    would be nothing but rounding where a neuron hardly varies within the classes."""
    units, n_classes = units_of(labelled.vectors), len(labelled.classes)
    inputs, labels = units.of(labelled.vectors), torch.from_numpy(labelled.labels)
    means = class_means(inputs, labelled.labels, n_classes)
    counts = one_hot(labelled.labels, n_classes).sum(dim=0)
    n_present, total = int((counts > 0).sum()), len(inputs)
    within = (inputs - means[labels]).square().sum(dim=0) / max(total - n_present, 1)
    between = (counts @ means.square()) / max(n_present - 1, 1)
    scores = torch.where(within > TOLERANCE**2, between / within, torch.inf)
    return torch.where(units.inverse > 0, scores, 0.0).numpy()


METHOD = NeuronsAnova
