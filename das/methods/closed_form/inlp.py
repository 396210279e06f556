"""Directions that linear classifiers of the target read, removed one classifier after another."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace
from das.methods.closed_form._directions import ClassifierConfig
from das.methods.common.alignment import check_attribute, check_size, shared_by_sizes
from das.methods.common.base import FromClasses, Problem, Workspace
from das.methods.common.coordinates import Units, fixed_signs, units_of
from das.methods.common.labelled import LabelledVectors, labelled_vectors, validation_vectors
from das.methods.common.probe import correct, fit_l2, majority, row_space


class InlpConfig(ClassifierConfig):
    """Settings of inlp."""

    margin: NonNegativeFloat = 0.0
    """How far above the share of the commonest class an accuracy may lie and still count as nothing left."""


class Inlp(FromClasses[InlpConfig]):
    """Iterative nullspace projection (Ravfogel et al. 2020, arXiv 2004.07667): swaps what it removes.

    A classifier is fitted, its row space projected out of the vectors, another is fitted to what is left,
    and so on, until `size` directions are gone or a classifier does no better on validation vectors than
    the commonest class; that last one's directions are not counted, unless it is the first. Directions
    come in the order of removal, within one classifier by singular value, so the sizes are nested and share
    one run. Departures: multinomial logistic regression on vectors standardised per neuron, whose rows are
    all removed at once; the accuracy is judged on held-out prompts; without any, on the training vectors.
    """

    name = "inlp"
    summary = "Swaps the directions that successive linear classifiers of the target read"
    config_class = InlpConfig

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Subspace` of at most `size` columns."""
        check_attribute(problem)
        check_size(problem, engine)
        removed = torch.zeros(engine.target.width(problem.site), 0)
        for number in range(problem.size):
            shared = self._round(problem, engine, workspace, number, removed)
            right, by_majority, total = shared["judged"].tolist()
            workspace.log(
                {
                    "round": number,
                    "removed": removed.shape[1],
                    "accuracy": right / total,
                    "majority": by_majority / total,
                    "converged": int(shared["converged"]),
                }
            )
            if not int(shared["goes_on"]):
                break
            removed = torch.cat([removed, shared["basis"]], dim=1)
            if removed.shape[1] >= problem.size:
                break
        return Subspace(retract(removed[:, : problem.size]).contiguous())

    def _round(
        self, problem: Problem, engine: Engine, workspace: Workspace, number: int, removed: Tensor
    ) -> dict[str, Tensor]:
        """Return what one classifier reads; a key per round, so that a larger size goes on from a smaller."""

        def make() -> dict[str, Tensor]:
            training = labelled_vectors(problem, engine, limit=self.config.vectors)
            validation = validation_vectors(problem, engine, training.classes, limit=self.config.validation)
            return removal(training, validation, removed, self.config)

        return shared_by_sizes(self, problem, engine, workspace, make, round=number)


def removal(
    training: LabelledVectors, validation: LabelledVectors, removed: Tensor, config: InlpConfig
) -> dict[str, Tensor]:
    """Return what a classifier reads in vectors without the directions `removed` [d_model, k]. `basis`
    [d_model, rank]: orthonormal, and orthogonal to `removed`; `judged`: [right, by majority, all];
    `converged`; `goes_on`: whether the basis is to be removed."""
    units, gone = units_of(training.vectors), removed.double()
    inputs = _without(training.vectors, gone, units)
    probe = fit_l2(inputs, training.labels, len(training.classes), c=config.c, iterations=config.iterations)
    # A part of the weights along removed directions reads nothing.
    weights = probe.weights * units.inverse
    basis = row_space(weights - weights @ gone @ gone.mT)[:, : len(removed) - removed.shape[1]]
    judges = validation if len(validation.labels) else training
    right = correct(probe, _without(judges.vectors, gone, units), judges.labels)
    by_majority, total = majority(training.labels, judges.labels), len(judges.labels)
    above = right > by_majority + config.margin * total
    return {
        "basis": _orthogonal_to(gone, basis).float(),
        "judged": torch.tensor([right, by_majority, total]),
        "converged": torch.tensor([int(probe.converged)]),
        "goes_on": torch.tensor([int(basis.shape[1] > 0 and (above or not removed.shape[1]))]),
    }


def _without(vectors: Tensor, gone: Tensor, units: Units) -> Tensor:
    """Return centred vectors without the directions `gone`, in the units of the untouched ones."""
    centred = vectors.double() - units.mean
    return (centred - centred @ gone @ gone.mT) * units.inverse


def _orthogonal_to(gone: Tensor, basis: Tensor) -> Tensor:
    # Twice is enough: rounding of the first projection is what the second takes away.
    for _ in range(2):
        basis = basis - gone @ (gone.mT @ basis)
    return fixed_signs(retract(basis)) if basis.shape[1] else basis


METHOD = Inlp
