"""A logistic regression for each value against all others; it knows no interchange."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from das.methods.common.base import Problem
from das.methods.common.coordinates import units_of
from das.methods.common.probe import fit_l2
from das.methods.detection._directions import ConceptConfig, FindsDirections


class ProbeConfig(ConceptConfig):
    """Settings of probe."""

    vectors: PositiveInt = 4000
    """Most training vectors; a larger population is sampled, always the same."""
    c: PositiveFloat = 0.1
    """Inverse strength of the L2 penalty, `C` of scikit-learn, on weights in standard deviations."""
    iterations: PositiveInt = 300
    """Most iterations of L-BFGS for each value."""


class ConceptProbe(FindsDirections[ProbeConfig]):
    """The weights of a logistic regression of each value against the others, on vectors standardised per
    neuron, in the model's units. AxBench's probe (arXiv 2501.17148) is `unit_probe`."""

    name = "probe"
    summary = "Tells a value by a logistic regression against all others"
    config_class = ProbeConfig

    def readers(self, vectors: Tensor, has: Tensor, problem: Problem) -> Tensor:
        """Return the weights."""
        units = units_of(vectors)
        inputs = units.of(vectors)
        found = []
        for place in range(has.shape[1]):
            labels = has[:, place].numpy().astype(np.int64)
            fitted = fit_l2(inputs, labels, 2, c=self.config.c, iterations=self.config.iterations)
            found.append((fitted.weights[1] - fitted.weights[0]) * units.inverse)
        return torch.stack(found, dim=1).float()


METHOD = ConceptProbe
