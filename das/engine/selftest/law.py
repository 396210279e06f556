"""One law of a target model with what was measured of it, and the error for a broken one; no model is run."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from das.sites import Stream
from ravel.common.errors import SuiteError

_HOW_TO = "docs/how-to/add-a-model-family.md"
FAILURES = (TypeError, ValueError, RuntimeError, AttributeError, LookupError)
"""How a stranger's model fails where a part is not what it is taken for."""


@dataclass(frozen=True, slots=True)
class Law:
    """One law with what was measured."""

    name: str
    """What holds, in words."""
    where: str
    """Stream and layer, such as `block_output.3`, or `` for the whole model."""
    measured: float
    """Largest difference found, relative to the largest number."""
    bound: float
    """What `measured` may be at most, or has to exceed."""
    exceeds: bool = False
    """True if `measured` has to be above `bound` instead."""
    streams: tuple[Stream, ...] = ("block_output",)
    """What can't be offered where the law is broken; without `block_output` there is nothing to offer."""
    failure: str = ""
    """How the trial itself failed, if it did."""

    @property
    def holds(self) -> bool:
        """Whether the measured difference is within the bound; one that is no number is not."""
        return self.measured > self.bound if self.exceeds else self.measured <= self.bound

    @property
    def relation(self) -> str:
        """How the measured difference has to lie to the bound, in words."""
        return "more than" if self.exceeds else "at most"

    def in_words(self) -> str:
        """Return what was to hold, and what was measured."""
        if self.failure:
            return f"that {self.name} can't be tried at {self.where}: {self.failure}"
        return (
            f"it does not hold at {self.where} that {self.name} "
            f"(relative difference {self.measured:.3g}, {self.relation} {self.bound:g} expected)"
        )


class BrokenLawError(SuiteError):
    """A law that does not hold in a target."""

    def __init__(self, law: Law, target: str, todo: str) -> None:
        """`target` is the model in words; `law` must be a broken one."""
        self.law = law
        """Which, with the measured difference and its bound."""
        super().__init__(
            expected=f"a target in which {law.name} (relative difference {law.relation} {law.bound:g})",
            came=law.failure or f"{law.measured:.3g} at {law.where} of {target}",
            todo=todo,
        )


def how_to_declare(otherwise: str) -> str:
    """Return what to do about a model whose parts a program did not find."""
    return f"{otherwise}, or declare where its parts are in one file ({_HOW_TO})"


def first_line(error: Exception) -> str:
    """Return the beginning of what an error says, or its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest number expected; infinite for other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max())
    return float((found - expected).abs().max()) / (scale or 1.0)
