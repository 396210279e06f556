"""Answers shuffled before the fit: what is left is what the size and the form of the objective bring by
themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import random_columns
from das.methods.common.base import Method
from evaluation.records.scores import Outcome
from evaluation.suite.controls._chance import CHANCE, by_chance
from evaluation.suite.controls._derived import permuted_values, shuffled_answers
from evaluation.suite.controls.base import Control, ReferenceInputs, View
from ravel.common.seeds import derive_seed
from ravel.instance import Instance

_DRAWS = 3
"""Random subspaces whose mean is the floor: one alone may be lucky, which no resample of pairs shows."""


class LabelsShuffled(Control):
    """The method is fitted with shuffled answers, and judged with answers shuffled likewise and with the true
    ones.

    For pairs, the swapped answers are shuffled pair by pair. A method that learns from class labels is given
    the labels of other entities, for a class belongs to an entity (the control task of Hewitt and Liang 2019,
    arXiv 1909.03368).

    Against shuffled answers there is nothing to be found, and cause must be at chance. Against the true ones
    it need not be where a random subspace is, though the answers tell nothing: a cause pair still says that
    the answer to its question should change, and cross entropy then finds what moves that answer. How much is
    found in this way is worth knowing, so it is the row.
    """

    name: ClassVar[str] = "labels_shuffled"
    summary: ClassVar[str] = "Fitted with shuffled answers, judged with shuffled and with true ones"
    views: ClassVar[tuple[View, ...]] = (
        View("shuffled answers", CHANCE, is_row=False),
        View(
            "true answers",
            f"what random subspaces of the same size score, a mean of {_DRAWS}",
            required=(),
            floor_by_size=True,
        ),
    )
    needs_answers: ClassVar[bool] = True

    def fitted_on(self, instance: Instance, method: type[Method], seed: int, label_tokens: int) -> Instance:
        """Return the instance with shuffled answers or, for class labels, with permuted ones."""
        if method.needs_labels:
            return permuted_values(instance, seed, label_tokens, keep_own=False)
        return shuffled_answers(instance, seed, label_tokens)

    def judged_on(self, instance: Instance, view: View, seed: int, label_tokens: int) -> Instance:
        """Return the instance as it is, or with shuffled answers."""
        return instance if view.is_row else shuffled_answers(instance, seed, label_tokens)

    def floor(self, inputs: ReferenceInputs, view: View) -> Sequence[Sequence[Outcome]]:
        """Judge random subspaces, or return what chance brings."""
        if not view.is_row:
            return [by_chance(inputs)]
        return [inputs.judge(inputs.split, _random(inputs, draw)) for draw in range(_DRAWS)]


def _random(inputs: ReferenceInputs, draw: int) -> Featurizer | None:
    # A dictionary may have more features than the vector has coordinates; a mask may be empty.
    size = min(inputs.size, inputs.width)
    if size == 0:
        return None
    seed = derive_seed(inputs.seed, "floor", str(inputs.site), str(size), str(draw))
    return Subspace(retract(random_columns(inputs.width, size, seed)).contiguous())


CONTROL = LabelsShuffled()
