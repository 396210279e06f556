"""What a user may set of a build; it runs nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)
from typing_extensions import Self

from ravel.common.config import Config
from ravel.matching import MatchMode
from ravel.terms.schema import (
    SourceKind,
)

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SourceShares(Config):
    """Relative weights of the source kinds; a kind that has no prompts leaves its share to the others."""

    same_attribute: Share = 1.0
    """Sources that ask for what the base asks for."""
    other_attribute: Share = 1.0
    """Sources that ask for another attribute."""
    attribute_free: Share = 1.0
    """Sources that ask for nothing."""

    @model_validator(mode="after")
    def _some_kind(self) -> Self:
        if not any(self.by_kind().values()):
            raise ValueError("at least one share must be above 0")
        return self

    def by_kind(self) -> dict[SourceKind, float]:
        """Return the weights by source kind."""
        return {
            "same_attribute": self.same_attribute,
            "other_attribute": self.other_attribute,
            "attribute_free": self.attribute_free,
        }


class BuildConfig(Config):
    """Settings of a build. With the tables and the model they determine the instance to the byte."""

    written_if_set = ("chat", "samples", "sample_temperature", "decoding")
    seed: int = 0
    """Root of every random stream."""
    attributes: tuple[str, ...] | None = None
    """Attributes to ask for; None for all."""
    max_entities: PositiveInt | None = None
    """Candidate entities per partition, spread evenly over the data; None for all. Bounds the cost."""
    shortlist: PositiveInt | None = None
    """Candidate entities that go on to be asked everything, all partitions together: the best by one question
    per attribute; None for all. Bounds the cost where the model knows some entities only."""
    max_new_tokens: PositiveInt = 8
    """Length of a completion in tokens."""
    match: MatchMode = "strict"
    """How answers are compared with values; they are only ranked by it, labels are what the model says."""
    selection: Literal["reference", "staged", "threshold"] = "reference"
    """Keep the best by rank; the best of those that do not drop out while they are asked, which takes fewer
    questions (`ravel.asking.staged_selection`); or all above an accuracy."""
    keep_entities: PositiveInt = 400
    """`reference` and `staged`: entities kept, all partitions together."""
    keep_templates: PositiveInt = 12
    """`reference` and `staged`: templates kept per attribute at most, all partitions together."""
    keep_templates_overall: PositiveInt = 200
    """`reference` and `staged`: templates outside this rank over all attributes go, unless always kept."""
    keep_templates_always: NonNegativeInt = 4
    """`reference` and `staged`: templates of each attribute that stay whatever their rank over all."""
    accuracy_threshold: Annotated[float, Field(gt=0, le=1)] = 0.75
    """`threshold`: least accuracy of a kept entity over the kept templates, and conversely."""
    decoding: Literal["greedy", "sharp"] = "greedy"
    """How the model continues a question: by the likeliest token, or by one that stands out in the prompt, as
    far as that makes more answers about validation entities right."""
    samples: NonNegativeInt = 0
    """Answers drawn by chance to each question, whose right ones rank what is kept in place of the likeliest
    answer; 0: none. Not with `staged`, which asks less than everything."""
    sample_temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Logits are divided by it before samples are drawn."""
    source_shares: SourceShares = SourceShares()
    """Relative weights of the source kinds."""
    label_smoothing: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """A label that n entities share is drawn with weight n / (label_smoothing + n)."""
    label_tokens: PositiveInt = 3
    """Both labels of a pair differ within this many tokens, the number that training and scoring force."""
    train_pairs: PositiveInt = 2000
    """Training pairs per attribute."""
    evaluation_pairs: PositiveInt = 256
    """Pairs per attribute in each of the six held-out splits."""
    chat: bool = False
    """Ask everything through the model's chat template; otherwise only templates that say `chat: true`."""
    allow_ignorance: bool = False
    """Build even where so few kept answers are right that labels are guesses."""
    flip_sample: NonNegativeInt = 32
    """Kept prompts that are asked again one at a time, to count labels that depend on the batch."""

    @model_validator(mode="after")
    def _samples_of_everything(self) -> Self:
        if self.samples and self.selection == "staged":
            raise ValueError("samples are drawn where everything is asked, which staged does not")
        if self.samples and self.decoding == "sharp":
            raise ValueError("samples are drawn from plain probabilities, which sharp decoding changes")
        return self
