"""The source is another entity's than the one whose answer is expected: only chance can bring that answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from evaluation.records.scores import Outcome
from evaluation.suite.controls._chance import CHANCE, by_chance
from evaluation.suite.controls._derived import replaced_sources
from evaluation.suite.controls.base import Control, ReferenceInputs, View
from ravel.instance import Instance


class OtherSource(Control):
    """The featurizer of the ordinary row, given vectors of another random entity; the answers are kept."""

    name: ClassVar[str] = "other_source"
    summary: ClassVar[str] = "The source's vector is another random entity's, the expected answer is kept"
    views: ClassVar[tuple[View, ...]] = (View("other sources", CHANCE),)
    refits: ClassVar[bool] = False

    def judged_on(self, instance: Instance, view: View, seed: int, label_tokens: int) -> Instance:
        """Return the instance with other sources."""
        return replaced_sources(instance, seed)

    def floor(self, inputs: ReferenceInputs, view: View) -> Sequence[Sequence[Outcome]]:
        """Return what chance brings."""
        return [by_chance(inputs)]


CONTROL = OtherSource()
