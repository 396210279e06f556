"""What is written down of steering: for a prompt and a value, what the model says at each strength; typed,
torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.records.scores import JudgedCase


@dataclass(frozen=True, slots=True)
class SteeredCase:
    """One case: a prompt under which the entity is to be given a value that it has not."""

    case: str
    """The pair that the value is from, and the steered attribute."""
    target: str
    """The attribute that is steered."""
    value: str
    """The value towards which."""
    attribute: str
    """What the prompt asks for: the steered attribute, or another."""
    base_template: str
    """Its template; a cluster within its attribute."""
    base_entity: str
    """Its entity; a cluster over the whole split."""


@dataclass(frozen=True, slots=True)
class Steering(SteeredCase, JudgedCase):
    """One outcome: the fields of its case, and what was said at each strength that was tried."""

    WORD, ID = "case", "case"
    VERDICT = ("strengths", "said_value", "said_unchanged", "extra_nats", "chosen")

    strengths: tuple[float, ...]
    """The strengths that were tried, ascending: all of them on validation cases, else the chosen one. Empty
    where what was found steers no such value."""
    said_value: tuple[bool, ...]
    """Whether the answer was that of an entity with the value, at each strength."""
    said_unchanged: tuple[bool, ...]
    """Whether the answer was what the model says by itself, at each strength."""
    extra_nats: tuple[float, ...]
    """How many nats per token the answer costs the model that is left alone beyond its own answer."""
    chosen: int
    """Which strength validation cases chose for the value; -1 where there is none."""

    def fault(self) -> str | None:
        """Return what is wrong with the numbers of answers, if anything."""
        tried = len(self.strengths)
        if {len(self.said_value), len(self.said_unchanged), len(self.extra_nats)} != {tried}:
            return "answers at other strengths than were tried"
        if not (0 <= self.chosen < tried or (self.chosen == -1 and tried == 0)):
            return f"the strength number {self.chosen} of {tried}"
        if any(a and b for a, b in zip(self.said_value, self.said_unchanged, strict=True)):
            return "two answers at once"
        return None
