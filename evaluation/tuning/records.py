"""What a fine-tuning ends with: counts, shares and exact matches, as they are written and read."""

from __future__ import annotations

from dataclasses import dataclass

from ravel.common.typed import Record


@dataclass(frozen=True, slots=True)
class ReftResult(Record):
    """How a fine-tuned model answers held-out prompts, beside the model as it was."""

    SCHEMA = 1
    kind: str
    """A form of ReFT, or lora."""
    model: str
    """The target model's name."""
    n_train: int
    """Questions that were trained on."""
    n_test: int
    """Held-out questions."""
    steps: int
    """Optimiser steps."""
    final_loss: float
    """Loss of the last step, in nats per answer token."""
    n_parameters: int
    """Numbers that were learned."""
    n_model_parameters: int
    """Numbers of the model, none of which was changed."""
    exact_match: float
    """Share of held-out prompts whose continuation is the answer, and nothing else."""
    exact_match_before: float
    """The same of the model without what was learned."""
    questions_sha256: str
    """Hash of all questions, their order and their splits."""
    exported: str
    """The folder for other tools, inside the result's."""
    schema_version: int = 1
    """Version of this file's form."""

    @property
    def trainable_share(self) -> float:
        """Numbers that were learned, over those of the model."""
        return self.n_parameters / self.n_model_parameters


@dataclass(frozen=True, slots=True)
class ReftAnswer(Record):
    """What the fine-tuned model goes on with after a held-out prompt."""

    prompt: str
    """What it read."""
    answer: str
    """What is right."""
    given: str
    """What it said."""
    right: bool
    """Whether the two are the same, but for blanks around them."""
