"""What changes a vector towards a value without a source: the actor beside the featurizer. It knows vectors,
values and strengths, and prompts where an edit is made of words; no model and no method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from das.finding import OfValues
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt


class Edit(OfValues):
    """A change of vectors for each of some values of one attribute, linear in its strength.

    Strength 0 is exactly the identity, 1 the change as it was found; beyond 1 it goes on in its direction.
    Arithmetic is in float32; what comes out has dtype and device of what went in.
    """

    scales: bool = True
    """Whether it makes sense at other strengths than 1."""

    @abstractmethod
    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return what is added to vectors [..., d_model] in float32 at strength 1, towards the value at this
        place of `values`."""

    def asked(self, prompt: Prompt, place: int, strength: float) -> Prompt:
        """Return what is asked in place of a prompt, towards a value and with a strength: the prompt itself,
        but where the edit is made of words."""
        return prompt

    @final
    def edited(self, vectors: Tensor, place: int, strength: float) -> Tensor:
        """Return vectors [..., d_model] changed towards a value with this strength."""
        if strength == 0:
            return vectors
        wide = vectors.float()
        return (wide + strength * self.change(wide, place)).to(vectors.dtype)


@dataclass(frozen=True)
class Steered:
    """One value and strength of an edit, as engines take what they put between: the source is not looked
    at."""

    edit: Edit
    """The edit."""
    place: int
    """Which of its values."""
    strength: float
    """How far."""

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return self.edit.width

    def interchange(self, base: Tensor, source: Tensor) -> Tensor:
        """Return the base [..., d_model] changed, whatever the source."""
        return self.edit.edited(base, self.place, self.strength)

    def asked(self, prompt: Prompt) -> Prompt:
        """Return what is asked in place of a prompt."""
        return self.edit.asked(prompt, self.place, self.strength)


def checked_columns(tensor: Tensor, values: Sequence[str]) -> Tensor:
    """Return a tensor [d_model, n_values] in float32. Raises SuiteError unless it has a column per value."""
    if tensor.ndim != 2 or tensor.shape[1] != len(values):
        raise SuiteError(
            expected=f"a column of length d_model for each of {len(values)} values",
            came=f"the shape {list(tensor.shape)}",
            todo="give one for each value",
        )
    return tensor.float().contiguous()
