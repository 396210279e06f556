"""What a fine-tuning and an autoencoder end with: counts and measures, as they are written and read."""

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


@dataclass(frozen=True, slots=True)
class TextSaeResult(Record):
    """What an autoencoder was trained on, and how good it is on documents held out."""

    SCHEMA = 1
    model: str
    """The target model's name."""
    model_fingerprint: str
    """Its fingerprint."""
    dtype: str
    """Dtype of its weights."""
    site: str
    """Stream and layer."""
    architecture: str
    """`top_k` or `jump_relu`."""
    latents: int
    """Number of latents."""
    text_sha256: str
    """Hash of all documents and their order."""
    documents: int
    """Documents of the text."""
    text_tokens: int
    """Tokens of the whole text."""
    states: int
    """States that it was trained on."""
    held_out: int
    """States of other documents that it was measured on."""
    beyond: float
    """Share of held-out states that were left out because of their norm."""
    explained_variance: float
    """1 - squared error / squares around the mean, on held-out states."""
    l0: float
    """Mean number of latents that fire on a held-out state."""
    dead: float
    """Share of latents that fire on no held-out state."""
    loss: float | None
    """The model's mean cross entropy on held-out text, in nats per token; None where it was not asked for."""
    loss_reconstructed: float | None
    """The same with the reconstruction in the place of every state but a row's first and those beyond."""
    loss_zero: float | None
    """The same with zeros there."""
    recovered: float | None
    """Share of the loss between zeros and the model that the reconstruction recovers."""
    schema_version: int = 1
    """Version of this file's form."""
