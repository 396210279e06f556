"""What is written down of erasure: for a prompt and a value, whether the model still says what it said, at
each strength; typed, torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.records.scores import JudgedCase


@dataclass(frozen=True, slots=True)
class ErasedCase:
    """One case: a prompt under which a value is taken from the entity's vector."""

    case: str
    """The prompt and the attribute."""
    target: str
    """The attribute whose value is erased."""
    value: str
    """The value that is erased."""
    has: bool
    """Whether the entity has it."""
    attribute: str
    """What the prompt asks for: that attribute, or another."""
    base_template: str
    """Its template; a cluster within its attribute."""
    base_entity: str
    """Its entity; a cluster over the whole split."""


@dataclass(frozen=True, slots=True)
class Erasure(ErasedCase, JudgedCase):
    """One outcome: the fields of its case, and what was said at each strength that was tried."""

    WORD, ID = "case", "case"
    VERDICT = ("strengths", "said_unchanged", "chosen")

    strengths: tuple[float, ...]
    """The strengths that were tried, ascending: all of them on validation cases, else the chosen one. Empty
    where what was found erases no such value."""
    said_unchanged: tuple[bool, ...]
    """Whether the answer was what the model says by itself, at each strength."""
    chosen: int
    """Which strength validation cases chose for the value; -1 where there is none."""

    def fault(self) -> str | None:
        """Return what is wrong with the numbers of answers, if anything."""
        tried = len(self.strengths)
        if len(self.said_unchanged) != tried:
            return "answers at other strengths than were tried"
        if not (0 <= self.chosen < tried or (self.chosen == -1 and tried == 0)):
            return f"the strength number {self.chosen} of {tried}"
        return None
