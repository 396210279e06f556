"""The directions a linear classifier of the target reads; it knows neither answers nor interchanges."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.closed_form._directions import ClassDirections, ClassifierConfig
from das.methods.common.base import Problem
from das.methods.common.coordinates import units_of
from das.methods.common.labelled import LabelledVectors, labelled_vectors, validation_vectors
from das.methods.common.probe import correct, fit_l2, majority, row_space


class LinearProbe(ClassDirections[ClassifierConfig]):
    """Swaps what a multinomial logistic regression of the target reads: the row space of its weights.

    Vectors are standardised per neuron for the fit and the weights mapped back to the model's units. The
    common part of the rows, which softmax ignores, is taken out; of the rest the `size` principal
    directions are swapped, by an orthogonal projection. At most one column less than there are classes, so
    the result may be smaller than asked for. What a probe reads need not be what the model uses (Ravichander
    et al. 2021, arXiv 2005.00719): that is what this row measures.
    """

    name = "linear_probe"
    summary = "Swaps the row space of a logistic regression of the target"
    config_class = ClassifierConfig

    def directions(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        """Return what `probe_directions` finds in vectors with classes; no validation vector chooses it."""
        config = self.config
        training = labelled_vectors(problem, engine, limit=config.vectors)
        validation = validation_vectors(problem, engine, training.classes, limit=config.validation)
        return probe_directions(training, validation, c=config.c, iterations=config.iterations)

    def figures(self, shared: dict[str, Tensor]) -> dict[str, float | int | str]:
        """Return what there is to log: shares of right answers too, where there are any."""
        row = {**super().figures(shared), "converged": int(shared["converged"])}
        for split in ("train", "validation"):
            right, by_majority, total = shared[split].tolist()
            if total:
                row |= {f"{split}_accuracy": right / total, f"{split}_majority": by_majority / total}
        return row


def probe_directions(
    training: LabelledVectors, validation: LabelledVectors, *, c: float, iterations: int
) -> dict[str, Tensor]:
    """Return the orthonormal `basis` [d_model, rank] of a probe's row space and counts of its answers.
    `train` and `validation` hold [right, by majority, all] in int64."""
    units = units_of(training.vectors)
    inputs = units.of(training.vectors)
    probe = fit_l2(inputs, training.labels, len(training.classes), c=c, iterations=iterations)

    def counts(vectors: Tensor, labels: NDArray[np.int64]) -> Tensor:
        return torch.tensor(
            [correct(probe, vectors, labels), majority(training.labels, labels), len(vectors)]
        )

    return {
        "basis": row_space(probe.weights * units.inverse).float(),
        "converged": torch.tensor([int(probe.converged)]),
        "train": counts(inputs, training.labels),
        "validation": counts(units.of(validation.vectors), validation.labels),
    }


METHOD = LinearProbe
