"""Lets an engine answer prompts for those who build instances; it knows no matchers and no values."""

from __future__ import annotations

from collections.abc import Sequence

from das.engine.batch import PromptEncoder
from das.engine.protocol import Engine
from ravel.schema import Completion, Prompt

__all__ = ["EngineAnswerer"]


class EngineAnswerer:
    """An engine as `ravel.knowledge.Answerer`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._encoder = PromptEncoder(engine.target.tokenizer)
        self.name = engine.target.name
        """The model's name as the user gave it."""
        self.fingerprint = engine.target.fingerprint
        """The model's fingerprint."""

    def complete(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Completion]:
        """Continue each prompt greedily, in order."""
        return self._engine.complete(prompts, max_new_tokens)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        text: str = self._engine.target.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each text's character span per token, (0, 0) for special tokens."""
        return [list(encoded.offsets) for encoded in self._encoder.encode(texts)]
