"""Lets an engine answer prompts for those who build instances; it knows no matchers and no values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from das.engine.base.batch import PromptEncoder
from das.engine.base.protocol import Engine, SamplingEngine
from das.engine.engines.base_engine import batches_of
from ravel.asking.answerer import Decided
from ravel.common.errors import SuiteError
from ravel.terms.schema import Completion, Prompt

_MOST_PER_CALL = 1024
_LEAST_PER_CALL = 32
"""Fewer leave nothing that many rows begin with."""
_PARAMETERS_PER_CALL = 512 * 135_000_000
"""Prompts times parameters: one core answers so many in about 10 seconds."""


class EngineAnswerer:
    """An engine as `ravel.asking.answerer.Answerer`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        """The engine that answers."""
        self._encoder = PromptEncoder(engine.target.tokenizer)
        self.name = engine.target.name
        """The model's name as the user gave it."""
        self.fingerprint = engine.target.instrument.own_fingerprint
        """The model's fingerprint, also where the engine serves an artefact of an earlier release."""
        self.instrument = engine.target.parts
        """The parts of that fingerprint by name."""
        self._text_grows = _keeps_blanks(engine.target.tokenizer)

    @property
    def numerics(self) -> Mapping[str, Any]:
        """What the rounding of its answers depends on besides the model."""
        settings = {name: value for name, value in batches_of(self.engine).items() if name != "lowered_to"}
        return {"device": str(self.engine.target.device), **settings}

    @property
    def per_call(self) -> int:
        """Prompts of one call at most, so that on a CPU it takes no more than some seconds."""
        target = self.engine.target
        if target.device.type != "cpu":
            return _MOST_PER_CALL
        parameters: int = sum(weights.numel() for weights in target.model.parameters())
        return max(_LEAST_PER_CALL, min(_MOST_PER_CALL, _PARAMETERS_PER_CALL // max(1, parameters)))

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Continue each prompt greedily; to the end, if more tokens can change the text before them."""
        stops = decided if self._text_grows else None
        return self.engine.complete(prompts, max_new_tokens, stops)

    def go_on(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        """Continue each prompt behind the new tokens that it has already; otherwise as `complete`."""
        stops = decided if self._text_grows else None
        return self.engine.complete(prompts, max_new_tokens, stops, begun)

    def sample(
        self,
        prompts: Sequence[Prompt],
        chances: NDArray[np.float64],
        temperature: float,
        decided: Decided | None = None,
    ) -> list[list[Completion]]:
        """Continue each prompt by chance, as often as it has rows of chances. Raises SuiteError for an engine
        that can't."""
        if not isinstance(self.engine, SamplingEngine):
            raise SuiteError(
                expected="an engine that samples",
                came=f"the engine {self.engine.name}, which only says what is likeliest",
                todo="use --engine resume or direct, or leave samples out",
            )
        stops = decided if self._text_grows else None
        return self.engine.sample(prompts, torch.from_numpy(chances), temperature, stops)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        text: str = self.engine.target.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each text's character span per token, (0, 0) for special tokens."""
        return [list(encoded.offsets) for encoded in self._encoder.encode(texts)]

    def in_chat(self, texts: Sequence[str]) -> list[str]:
        """Return each text as the chat template renders it: a user's only message, and the answer's
        beginning. Raises SuiteError if there is no chat template, or it takes no such message."""
        tokenizer = self.engine.target.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise SuiteError(
                expected="a tokenizer with a chat template, for `chat` was asked for",
                came=f"{self.name}, whose tokenizer has none",
                todo="leave out --chat and `chat: true`, or name a model that was trained on conversations",
            )
        try:
            return [_rendered(tokenizer, text) for text in texts]
        # A chat template is a program of its makers, which raises what it likes.
        except Exception as error:
            raise SuiteError(
                expected=f"a chat template of {self.name} that takes one message of a user",
                came=f"{type(error).__name__}: {error}",
                todo="leave out --chat and `chat: true`, and write what stands around a question into the "
                "templates",
            ) from error

    def own_start(self, text: str) -> str:
        """Return the special tokens that the text begins with itself and the tokenizer would put in front as
        well, such as `<bos>`; empty if there are none."""
        (encoded,) = self._encoder.encode([text])
        return self._written(encoded.ids[: encoded.own_start])

    def put_before(self, text: str) -> str:
        """Return the special tokens that the tokenizer puts before this text; empty if there are none."""
        (encoded,) = self._encoder.encode([text])
        added = next((i for i, (start, end) in enumerate(encoded.offsets) if end > start), 0)
        special = set(self.engine.target.tokenizer.all_special_ids)
        return self._written([token for token in encoded.ids[:added] if token in special])

    def _written(self, ids: Sequence[int]) -> str:
        return "".join(self.engine.target.tokenizer.convert_ids_to_tokens(list(ids)))


def _rendered(tokenizer: Any, text: str) -> str:
    message = {"role": "user", "content": text}
    rendered: str = tokenizer.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return rendered


def _keeps_blanks(tokenizer: Any) -> bool:
    """Say whether blanks before marks survive encoding and decoding; some tokenizers tidy them away, and so
    change the text of earlier tokens when a mark follows."""
    text = "a , b . c 's d n't e"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    decoded: str = tokenizer.decode(ids, skip_special_tokens=True)
    return " ," in decoded and " ." in decoded and " '" in decoded and " n't" in decoded
