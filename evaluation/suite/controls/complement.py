"""Everything but the found part is swapped: if the answer goes as well, the part is not its only carrier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from das.featurizers.base import Featurizer
from das.featurizers.complement import Complement
from das.featurizers.masked import MaskedBasis
from evaluation.records.control_checks import NECESSITY
from evaluation.records.scores import Outcome
from evaluation.suite.controls.base import Control, ReferenceInputs, View


class OthersSwapped(Control):
    """The complement of the ordinary row's featurizer is swapped: source into base, all but the found part.

    A part that alone carries the target keeps it: the target's pairs still give the base's answer, a share
    that is called necessity. High cause with low necessity is a part that suffices without being the carrier:
    the model reads the same from elsewhere too. Necessity is nothing where a swap of the whole vector leaves
    the answer as well, so that is the floor, and unlike other controls a row should be above it.
    """

    name: ClassVar[str] = "complement"
    summary: ClassVar[str] = "Everything but the found part is swapped: the target's answer should stay"
    views: ClassVar[tuple[View, ...]] = (
        View(
            "all but the part",
            "how often the base's answer is kept when the whole vector is swapped",
            measures=(NECESSITY,),
            required=(),
            floor_by_size=True,
        ),
    )
    refits: ClassVar[bool] = False

    def judged_with(self, featurizer: Featurizer) -> Featurizer:
        """Return the complement."""
        return Complement(featurizer)

    def floor(self, inputs: ReferenceInputs, view: View) -> Sequence[Sequence[Outcome]]:
        """Judge with the whole vector swapped."""
        return [inputs.judge(inputs.split, MaskedBasis(torch.ones(inputs.width)))]


CONTROL = OthersSwapped()
