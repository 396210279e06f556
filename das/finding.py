"""What a method finds at a site, whatever it does there: tensors that are saved and loaded to the bit. It
knows no vectors, no prompts and no method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from ravel.common.errors import SuiteError
from ravel.common.facts_table import facts_table

FindingKind = Literal["featurizer", "detector", "edit"]
"""What a method can find: coordinates to be swapped, scores that tell values, changes towards values."""


class Actor(Protocol):
    """What engines put between: something that changes the vectors at a site, a featurizer or an edit."""

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""

    def interchange(self, base: Tensor, source: Tensor) -> Tensor:
        """Return what takes the base's place, with its shape, dtype and device; both [..., d_model]."""


class Finding(nn.Module, ABC):
    """Base of featurizers, and of what is about single values."""

    kind: str
    """Name of the class in saved files."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Length d_model of the vectors at its site."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many coordinates of a vector it is about."""

    def settings(self) -> dict[str, Any]:
        """Return what of it is no tensor, as plain values for its file."""
        return {}


class OfValues(Finding, ABC):
    """Base of what has one part for each of some values of one attribute."""

    def __init__(self, attribute: str, values: Sequence[str]) -> None:
        """Keep what it is about. Raises SuiteError for no value, and for one that stands twice."""
        super().__init__()
        if not values or len(set(values)) != len(values):
            raise SuiteError(
                expected="values of an attribute, each once",
                came=", ".join(values) or "none",
                todo="name each value once",
            )
        self.attribute = attribute
        """The attribute."""
        self.values = tuple(values)
        """The values, in the order of its parts."""

    @property
    def size(self) -> int:
        """One coordinate for each value."""
        return len(self.values)

    def settings(self) -> dict[str, Any]:
        """Return attribute and values."""
        return {"attribute": self.attribute, "values": list(self.values)}

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what it is about."""
        return facts_table(self.kind, {"attribute": self.attribute, "values": ", ".join(self.values)})
