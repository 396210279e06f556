"""A model of the same shape that has learned nothing: what is found in it was put there by the method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from das.models.base import TargetModel
from das.models.untrained import untrained
from evaluation.records.scores import Outcome
from evaluation.suite.controls.base import Control, ReferenceInputs, View


class UntrainedModel(Control):
    """Fitted and judged on a model of the same architecture with random weights, with the instance's answers.

    Such a model says neither answer of a pair, so that cause and isolate both lie near 0. A method that
    scores cause here has made the model say it. A map that is not linear can do so (Sutter et al. 2025, arXiv
    2507.08802), so methods that fit one are always under this control.
    """

    name: ClassVar[str] = "untrained_model"
    summary: ClassVar[str] = "Fitted and judged on a model of the same architecture with random weights"
    views: ClassVar[tuple[View, ...]] = (
        View(
            "untrained model",
            "how often that model, whose weights are random, says the answers when nothing is swapped; "
            "chance or less",
            measures=("cause", "isolate"),
        ),
    )

    def target(self, target: TargetModel, seed: int) -> TargetModel:
        """Return the untrained model."""
        return untrained(target, seed)

    def floor(self, inputs: ReferenceInputs, view: View) -> Sequence[Sequence[Outcome]]:
        """Judge without an interchange."""
        return [inputs.judge(inputs.split, None)]


CONTROL = UntrainedModel()
