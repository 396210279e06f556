"""Neurons that a linear classifier of the target leans on most."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.base import MethodConfig, Problem
from das.methods.common.coordinates import one_hot, units_of
from das.methods.common.labelled import LabelledVectors, labelled_vectors, validation_vectors
from das.methods.common.probe import Probe, correct, fit_l1, fit_l2, majority
from das.methods.neurons._ranking import Figures, RankedNeurons, ranking


class NeuronsProbeConfig(MethodConfig):
    """Settings of neurons_probe."""

    vectors: PositiveInt = 4000
    """Most training vectors; a larger population is sampled, always the same."""
    validation: PositiveInt = 1000
    """Most validation vectors, for the accuracy that is logged; nothing is chosen by them."""
    penalty: Literal["l1", "l2"] = "l1"
    """What keeps the weights small; only l1 leaves neurons out altogether."""
    c: PositiveFloat = 0.01
    """Inverse strength of the penalty, `C` of scikit-learn, on weights in standard deviations."""
    iterations: PositiveInt = 500
    """Most iterations; the log says whether they were enough."""


class NeuronsProbe(RankedNeurons[NeuronsProbeConfig]):
    """Swaps the `size` neurons with the largest weights in a multinomial logistic regression of the target.

    Vectors are standardised per neuron; a neuron's score is the Euclidean norm of its weights over the
    classes. Among neurons with no weight under the L1 penalty those come first that would get one first if
    the penalty fell: with the largest gradient of the loss.
    """

    name = "neurons_probe"
    summary = "Neurons ranked by their weights in a logistic regression of the target"
    config_class = NeuronsProbeConfig

    def order(self, problem: Problem, engine: Engine) -> tuple[Tensor, Figures]:
        """Return the neurons by their weights."""
        training = labelled_vectors(problem, engine, limit=self.config.vectors)
        validation = validation_vectors(problem, engine, training.classes, limit=self.config.validation)
        return probe_order(training, validation, self.config)


def probe_order(
    training: LabelledVectors, validation: LabelledVectors, config: NeuronsProbeConfig
) -> tuple[Tensor, Figures]:
    """Return the neurons by descending weight, [d_model], and figures of the classifier."""
    units, n_classes = units_of(training.vectors), len(training.classes)
    inputs = units.of(training.vectors)
    fit = {"l1": fit_l1, "l2": fit_l2}[config.penalty]
    probe = fit(inputs, training.labels, n_classes, c=config.c, iterations=config.iterations)
    weights: NDArray[np.float64] = probe.weights.norm(dim=0).numpy()
    figures: Figures = {
        "with_weight": int((weights > 0).sum()),
        "converged": int(probe.converged),
        "train_accuracy": correct(probe, inputs, training.labels) / len(inputs),
        "train_majority": majority(training.labels, training.labels) / len(inputs),
    }
    if total := len(validation.labels):
        held_out = units.of(validation.vectors)
        figures["validation_accuracy"] = correct(probe, held_out, validation.labels) / total
        figures["validation_majority"] = majority(training.labels, validation.labels) / total
    return ranking(weights, _slopes(probe, inputs, training.labels, n_classes)), figures


def _slopes(probe: Probe, inputs: Tensor, labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Return the largest slope of the mean loss in a weight of each neuron, [d_model]."""
    errors = probe.logits(inputs).softmax(dim=1) - one_hot(labels, n_classes)
    slopes: NDArray[np.float64] = (inputs.mT @ errors / len(inputs)).abs().amax(dim=1).numpy()
    return slopes


METHOD = NeuronsProbe
