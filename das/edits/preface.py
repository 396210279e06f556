"""An edit made of words: a sentence in front of the prompt that states the value. It knows no answer and no
model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from das.edits.base import Edit
from ravel.common.errors import SuiteError
from ravel.terms.schema import SLOT, Prompt


@final
class Preface(Edit):
    """Puts a sentence in front of a prompt, with the prompt's entity in its slot; no vector is changed by it.
    It is made where it is needed, and never saved. At strength 0 the prompt stays as it is."""

    kind = "preface"
    scales = False

    def __init__(
        self, attribute: str, values: Sequence[str], statements: Sequence[str], *, width: int
    ) -> None:
        """`statements` are sentences with a slot for the entity, one for each value, as they stand before a
        prompt's first letter. Raises SuiteError unless there is one for each value."""
        super().__init__(attribute, values)
        if len(statements) != len(self.values) or not all(SLOT in one for one in statements):
            raise SuiteError(
                expected=f"a sentence with {SLOT} in it for each of {len(self.values)} values",
                came=f"{len(statements)}, {sum(SLOT in one for one in statements)} of them with it",
                todo="give one for each value",
            )
        self.statements = tuple(statements)
        """The sentences, in the order of values."""
        self._width = width

    @property
    def width(self) -> int:
        """Length d_model of the vectors, none of which is changed."""
        return self._width

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return zeros, [..., d_model]."""
        return torch.zeros_like(vectors)

    def asked(self, prompt: Prompt, place: int, strength: float) -> Prompt:
        """Return the prompt behind the value's sentence."""
        if strength == 0:
            return prompt
        statement = self.statements[place]
        front, (start, end) = statement.replace(SLOT, prompt.entity), prompt.span
        return replace(
            prompt,
            text=front + prompt.text,
            template=front + prompt.template,
            span=(start + len(front), end + len(front)),
        )
