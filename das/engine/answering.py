"""Lets an engine answer prompts for those who build instances; it knows no matchers and no values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from das.engine.batch import PromptEncoder
from das.engine.protocol import Engine
from ravel.knowledge import Decided
from ravel.schema import Completion, Prompt

__all__ = ["EngineAnswerer"]


class EngineAnswerer:
    """An engine as `ravel.knowledge.Answerer`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._encoder = PromptEncoder(engine.target.tokenizer)
        self.name = engine.target.name
        """The model's name as the user gave it."""
        self.fingerprint = engine.target.instrument.own_fingerprint
        """The model's fingerprint, also where the engine serves an artefact of an earlier release."""
        self.instrument = engine.target.parts
        """The parts of that fingerprint by name."""
        self._text_grows = _keeps_blanks(engine.target.tokenizer)

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Continue each prompt greedily, in order; to the end, if more tokens can change the text before
        them."""
        stops = decided if self._text_grows else None
        return self._engine.complete(prompts, max_new_tokens, stops)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        text: str = self._engine.target.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each text's character span per token, (0, 0) for special tokens."""
        return [list(encoded.offsets) for encoded in self._encoder.encode(texts)]


def _keeps_blanks(tokenizer: Any) -> bool:
    """Say whether blanks before marks survive encoding and decoding; some tokenizers tidy them away, and so
    change the text of earlier tokens when a mark follows."""
    text = "a , b . c 's d n't e"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    decoded: str = tokenizer.decode(ids, skip_special_tokens=True)
    return " ," in decoded and " ." in decoded and " '" in decoded and " n't" in decoded
