"""The facts are permuted among the entities, for fit and judgement alike: the model does not know these
facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from das.methods.common.base import Method
from evaluation.records.scores import Outcome
from evaluation.suite.controls._chance import CHANCE, by_chance
from evaluation.suite.controls._derived import permuted_values
from evaluation.suite.controls.base import Control, ReferenceInputs, View
from ravel.instance import Instance


class ValuesPermuted(Control):
    """Each entity has another one's values, in training and evaluation pairs alike.

    A swap should bring what the model does not know: whoever scores cause here has learned names by heart, or
    writes answers rather than finding where they are kept. With new entities there is nothing to know by
    heart, and cause must be at chance; with those of the training pairs the score tells how much was. What
    the base says by itself stays the model's own answer, so that isolate means what it always does and no_op
    still scores cause 0 and isolate 1.
    """

    name: ClassVar[str] = "values_permuted"
    summary: ClassVar[str] = "Fitted and judged with the values of each attribute permuted among entities"
    views: ClassVar[tuple[View, ...]] = (
        View("permuted values", CHANCE, required=("entity", "entity_context")),
    )
    needs_answers: ClassVar[bool] = True

    def fitted_on(self, instance: Instance, method: type[Method], seed: int, label_tokens: int) -> Instance:
        """Return the instance with permuted values; for class labels, with those of the bases too."""
        return permuted_values(instance, seed, label_tokens, keep_own=not method.needs_labels)

    def judged_on(self, instance: Instance, view: View, seed: int, label_tokens: int) -> Instance:
        """Return the instance with permuted values, whose bases keep their own answers."""
        return permuted_values(instance, seed, label_tokens, keep_own=True)

    def floor(self, inputs: ReferenceInputs, view: View) -> Sequence[Sequence[Outcome]]:
        """Return what chance brings."""
        return [by_chance(inputs)]


CONTROL = ValuesPermuted()
