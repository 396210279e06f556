"""A weight for each word: what a text alone gives away, whatever the model makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from das.detectors.base import Detector
from das.engine.base.protocol import Engine
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import SLOT, Prompt


@final
class Words(Detector):
    """Scores `counts @ weights`, where a prompt's counts are those of its words that are known.

    Reads the text and no vector; the words of the entity's name count only if `names`.
    """

    kind = "words"

    weights: Tensor
    """One row per word, [n_words, n_values] in float32."""

    def __init__(
        self, attribute: str, values: Sequence[str], words: Sequence[str], weights: Tensor, *, names: bool
    ) -> None:
        """Keep the weights in float32. Raises SuiteError unless each word has one for each value."""
        super().__init__(attribute, values)
        if tuple(weights.shape) != (len(words), len(self.values)):
            raise SuiteError(
                expected=f"weights of shape [{len(words)}, {len(self.values)}], for each word and value",
                came=f"the shape {list(weights.shape)}",
                todo="give a row for each word",
            )
        self.register_buffer("weights", weights.float().contiguous())
        self.words = tuple(words)
        """The known words."""
        self.names = names
        """Whether the words of the entity's name count."""

    @property
    def width(self) -> int:
        """Number of known words: what takes the place of a vector's length."""
        return len(self.words)

    def scores(self, prompts: Sequence[Prompt], engine: Engine, site: Site) -> Tensor:
        """Return the scores of the prompts' words, [n_prompts, n_values]; the model isn't asked."""
        with torch.inference_mode():
            return (counted_words(prompts, self.words, names=self.names) @ self.weights).clone()

    def settings(self) -> dict[str, Any]:
        """Return attribute, values, words, and whether those of names count."""
        return {**super().settings(), "words": list(self.words), "names": self.names}


def words_of(prompt: Prompt, *, names: bool) -> list[str]:
    """Return a prompt's words in lower case; without `names` those of the entity are left out."""
    text = prompt.text if names else prompt.template.replace(SLOT, " ")
    return re.findall(r"\w+", text.lower())


def counted_words(prompts: Sequence[Prompt], words: Sequence[str], *, names: bool) -> Tensor:
    """Return how often each known word stands in each prompt, [n_prompts, n_words] in float32."""
    place = {word: column for column, word in enumerate(words)}
    counts = torch.zeros(len(prompts), len(words))
    for row, prompt in enumerate(prompts):
        for word in words_of(prompt, names=names):
            if word in place:
                counts[row, place[word]] += 1
    return counts
