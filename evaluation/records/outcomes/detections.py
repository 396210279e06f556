"""What is written down of detection: for a prompt, how far beyond its threshold the score of each value is;
typed, torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.records.scores import JudgedCase


@dataclass(frozen=True, slots=True)
class DetectedCase:
    """One case: a prompt that asks for an attribute, of whose entity values are told."""

    prompt_id: str
    """The prompt, as in the instance."""
    attribute: str
    """What it asks for."""
    base_template: str
    """Its template; a cluster within its attribute."""
    base_entity: str
    """Its entity; a cluster over the whole split."""
    value: str
    """What the model answers: the value that the entity has."""
    others: dict[str, str]
    """The entity's values of the other attributes, as far as the split and the training pairs tell them."""
    told: tuple[str, ...]
    """The values of the attribute that are told, sorted."""


@dataclass(frozen=True, slots=True)
class Detection(DetectedCase, JudgedCase):
    """One outcome: the fields of its case, and the scores."""

    WORD, ID, VERDICT = "prompt", "prompt_id", ("margins",)

    margins: tuple[float, ...]
    """The score of each value less the threshold chosen on validation prompts: above 0 the value is said to
    be there. Empty where what was found tells no values of this attribute."""

    def fault(self) -> str | None:
        """Return what is wrong with the number of margins, if anything."""
        if len(self.margins) in (0, len(self.told)):
            return None
        return f"{len(self.margins)} margins for {len(self.told)} values"
