"""What a control must say: what is fitted on what, what is judged on what, and where its floor lies; it knows
no files and no grid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from das.featurizers.base import Featurizer
from das.methods.common.base import Method
from das.models.base import TargetModel
from das.sites import Site
from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import Outcome
from ravel.instance import Instance
from ravel.terms.schema import GENERALISATIONS, Generalisation

Judge = Callable[[str, Featurizer | None], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class ReferenceInputs:
    """What a floor is worked out from: one split, judged with a featurizer of one size at one site."""

    instance: Instance
    """The instance as it is."""
    judged: Instance
    """The instance whose pairs are judged under the control."""
    split: str
    """The split."""
    site: Site
    """Where the featurizer acts."""
    width: int
    """Length of the vector there."""
    size: int
    """Number of coordinates that the control's featurizer swaps."""
    seed: int
    """Root of the control's random streams."""
    label_tokens: int
    """How many of an answer's first tokens are compared."""
    tolerance: bool
    """Whether an answer that is close counts where the attribute's matcher lets it."""
    judge: Judge
    """Judges the pairs of a split of `judged` under a featurizer, or under none, with the control's model."""


@dataclass(frozen=True, slots=True)
class View:
    """One way in which a control's featurizer is judged."""

    name: str
    """Part of file names, and of rows where a control has several views."""
    floor_is: str
    """What the floor is and how it is worked out, as a clause."""
    measures: tuple[str, ...] = ("cause",)
    """The measures that are held against the floor."""
    required: tuple[Generalisation, ...] = GENERALISATIONS
    """Where the score must be at its floor; elsewhere it is shown beside it, though nothing says that it must
    be there."""
    is_row: bool = True
    """True if the row among the methods shows this view."""
    floor_by_size: bool = False
    """True if the floor depends on the site and on the featurizer's size."""

    def outcomes_of(self, split: str) -> str:
        """Return the name, without its ending, of the file with the outcomes of a split."""
        return f"{split}.{self.name.replace(' ', '_')}"


class Control(ABC):
    """A way to take away what a score should rest on. A module of this folder binds one to `CONTROL`.

    The rule, for all of them: a control is at its floor if the 95 % interval of its score minus the floor,
    both on the same pairs, contains 0 or lies below it (`is_at_floor`).
    """

    name: ClassVar[str]
    """As on the command line and, after `~`, in tables: `mdas~labels_shuffled`."""
    summary: ClassVar[str]
    """One line for `ravel list controls`."""
    track: ClassVar[str] = INTERCHANGE
    """The track whose cases it derives and whose outcomes it judges."""
    views: ClassVar[tuple[View, ...]]
    """How the featurizer is judged; exactly one is the row."""
    refits: ClassVar[bool] = True
    """False if the featurizer of the ordinary row is judged, and nothing is fitted."""
    needs_answers: ClassVar[bool] = False
    """True if it says something only of methods that learn from answers: from pairs or class labels."""

    def fitted_on(self, instance: Instance, method: type[Method], seed: int, label_tokens: int) -> Instance:
        """Return the instance that the method is fitted on."""
        return instance

    def judged_on(self, instance: Instance, view: View, seed: int, label_tokens: int) -> Instance:
        """Return the instance whose pairs are judged."""
        return instance

    def judged_with(self, featurizer: Featurizer) -> Featurizer:
        """Return what is swapped in place of a found featurizer."""
        return featurizer

    def target(self, target: TargetModel, seed: int) -> TargetModel:
        """Return the model that fits and judgements run on."""
        return target

    @abstractmethod
    def floor(self, inputs: ReferenceInputs, view: View) -> Sequence[Sequence[Outcome]]:
        """Return outcomes whose score is the floor, on the pairs of the split; of several lists, the mean."""
