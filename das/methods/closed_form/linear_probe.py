"""The directions a linear classifier of the target reads; it knows neither answers nor interchanges."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.base import FromClasses, MethodConfig, Problem, Workspace
from das.methods.common.labelled import LabelledVectors, labelled_vectors, validation_vectors
from das.methods.common.probe import correct, fit_l2, majority, row_space, units_of

__all__ = ["METHOD", "LinearProbe", "LinearProbeConfig"]


class LinearProbeConfig(MethodConfig):
    """Settings of linear_probe."""

    vectors: PositiveInt = 4000
    """Most training vectors; a larger population is sampled, always the same."""
    validation: PositiveInt = 1000
    """Most validation vectors, for the accuracy that is logged; nothing is chosen by them."""
    c: PositiveFloat = 0.1
    """Inverse strength of the L2 penalty, `C` of scikit-learn, on weights in standard deviations."""
    iterations: PositiveInt = 500
    """Most iterations of L-BFGS; the log says whether they were enough."""


class LinearProbe(FromClasses):
    """Swaps what a multinomial logistic regression of the target reads: the row space of its weights.

    Vectors are standardised per neuron for the fit and the weights mapped back to the model's units. The
    common part of the rows, which softmax ignores, is taken out; of the rest the `size` principal
    directions are swapped, by an orthogonal projection. At most one column less than there are classes, so
    the result may be smaller than asked for. What a probe reads need not be what the model uses (Ravichander
    et al. 2021, arXiv 2005.00719): that is what this row measures.
    """

    name: ClassVar[str] = "linear_probe"
    summary: ClassVar[str] = "Swaps the row space of a logistic regression of the target"
    config_class: ClassVar[type[MethodConfig]] = LinearProbeConfig

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Subspace` of at most `size` columns.

        Raises SuiteError for an unknown attribute or a size beyond the model's width, NotApplicableError for
        too few classes.
        """
        config = self.config
        assert isinstance(config, LinearProbeConfig)

        def make() -> dict[str, Tensor]:
            training = labelled_vectors(problem, engine, limit=config.vectors)
            validation = validation_vectors(problem, engine, training.classes, limit=config.validation)
            return probe_directions(training, validation, c=config.c, iterations=config.iterations)

        found = shared_by_sizes(self, problem, engine, workspace, make)
        workspace.log(log_row(found))
        return Subspace(found["basis"][:, : problem.size].contiguous())


def probe_directions(
    training: LabelledVectors, validation: LabelledVectors, *, c: float, iterations: int
) -> dict[str, Tensor]:
    """Return the orthonormal `basis` [d_model, rank] of a probe's row space and counts of its answers.

    The counts (int64) are what `log_row` reads: `train` and `validation` hold [right, by majority, all].
    """
    units = units_of(training.vectors)
    inputs = units.of(training.vectors)
    probe = fit_l2(inputs, training.labels, len(training.classes), c=c, iterations=iterations)
    held_out = units.of(validation.vectors)
    return {
        "basis": row_space(probe.weights * units.inverse).float(),
        "converged": torch.tensor([int(probe.converged)]),
        "train": torch.tensor(
            [
                correct(probe, inputs, training.labels),
                majority(training.labels, training.labels),
                len(inputs),
            ]
        ),
        "validation": torch.tensor(
            [
                correct(probe, held_out, validation.labels),
                majority(training.labels, validation.labels),
                len(held_out),
            ]
        ),
    }


def log_row(found: dict[str, Tensor]) -> dict[str, float | int | str]:
    """Return what there is to log of `probe_directions`: shares of right answers, where there are any."""
    row: dict[str, float | int | str] = {
        "rank": found["basis"].shape[1],
        "converged": int(found["converged"]),
    }
    for split in ("train", "validation"):
        right, by_majority, total = found[split].tolist()
        if total:
            row |= {f"{split}_accuracy": right / total, f"{split}_majority": by_majority / total}
    return row


METHOD = LinearProbe
