"""A language model of this machine as a judge; what was steered is not known here."""

from __future__ import annotations

from das.models.base import TargetModel
from evaluation.axbench.judges import ASPECTS, Asked, JudgeError, question_of, rating_in
from evaluation.axbench.texts import Reader, likeliest_answer

_ANSWER_TOKENS = 96


class ModelJudge:
    """A model that is asked what an endpoint is asked, through its chat template if it has one, and answers
    by its likeliest tokens: the same model rates equal texts alike on the same hardware."""

    exact = False

    def __init__(self, target: TargetModel) -> None:
        """`target` is the judge, not what was steered, though it may be the same."""
        self._reader = Reader(target, chat=bool(getattr(target.tokenizer, "chat_template", None)))

    @property
    def name(self) -> str:
        """The model's name and the beginning of its fingerprint."""
        target = self._reader.target
        return f"model:{target.name} {target.fingerprint[:12]}"

    def rate(self, asked: Asked) -> dict[str, float]:
        """As `Judge.rate`; each aspect is a question of its own."""
        return {aspect: rating_in(self._reply(question_of(aspect, asked))) for aspect in ASPECTS}

    def _reply(self, question: str) -> str:
        prompt, most = self._reader.instruction(question), self._reader.target.max_tokens
        if most is not None and len(prompt) + _ANSWER_TOKENS > most:
            raise JudgeError(f"a question of {len(prompt)} tokens, with no room for an answer in {most}")
        return likeliest_answer(self._reader.target, prompt, max_new_tokens=_ANSWER_TOKENS)
