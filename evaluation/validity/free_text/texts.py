"""What a model says freely, as sets of words: to prompts by itself, and to bases after an interchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from das.engine.base.protocol import Engine, PromptPair
from das.engine.engines.answering import EngineAnswerer
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.records.corpora import words_of
from evaluation.scoring.population.paired import WordSet
from ravel.common.config import Config
from ravel.common.seeds import numpy_stream
from ravel.terms.schema import Prompt


class TextConfig(Config):
    """How long texts are, and how they are drawn."""

    tokens: PositiveInt = 24
    """New tokens of a text at most."""
    samples: PositiveInt = 8
    """Texts drawn for each prompt, of which the models of its words are made."""
    temperature: PositiveFloat = 1.0
    """Of the draws."""
    seed: int = 0
    """Root of every random stream."""


@dataclass(frozen=True, slots=True)
class NaturalText:
    """What a model says to a prompt by itself."""

    likeliest: WordSet
    """The words of the greedy continuation."""
    drawn: tuple[WordSet, ...]
    """Those of each continuation by chance."""


class NaturalTexts:
    """What a model says by itself, asked once per prompt and kept."""

    def __init__(self, engine: Engine, config: TextConfig) -> None:
        self._answerer = EngineAnswerer(engine)
        self._config = config
        self._known: dict[str, NaturalText] = {}

    def of(self, prompts: Sequence[Prompt]) -> list[NaturalText]:
        """Return the texts of each prompt. Raises SuiteError for an engine that can't draw."""
        unknown = {prompt.text: prompt for prompt in prompts if prompt.text not in self._known}
        new, at_once = list(unknown.values()), self._answerer.per_call
        for start in range(0, len(new), at_once):
            self._ask(new[start : start + at_once])
        return [self._known[prompt.text] for prompt in prompts]

    def _ask(self, prompts: Sequence[Prompt]) -> None:
        config = self._config
        shape = (config.samples, config.tokens)
        streams = [numpy_stream(config.seed, "free text", prompt.text) for prompt in prompts]
        chances = np.stack([stream.random(shape) for stream in streams])
        drawn = self._answerer.sample(prompts, chances, config.temperature)
        likeliest = self._answerer.complete(prompts, config.tokens)
        for prompt, greedy, samples in zip(prompts, likeliest, drawn, strict=True):
            self._known[prompt.text] = NaturalText(
                word_set(greedy.text), tuple(word_set(sample.text) for sample in samples)
            )


def swapped_texts(
    engine: Engine, pairs: Sequence[PromptPair], site: Site, featurizer: Featurizer | None, tokens: int
) -> list[WordSet]:
    """Return the words of what is said greedily to each base after the interchange; None changes nothing."""
    placed = None if featurizer is None else featurizer.to(engine.target.device)
    said = engine.complete_swapped(pairs, site, placed, tokens)
    return [word_set(one.text) for one in said]


def word_set(text: str) -> WordSet:
    """Return the words of a text in small letters, each once."""
    return frozenset(words_of(text))
