"""Who rates steered answers, and says who it is: a model behind an OpenAI-compatible endpoint, or a rule that
counts words. What was steered is not known here."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from ravel.common.errors import SuiteError

ASPECTS = ("concept", "instruction", "fluency")
"""What is rated, each from 0 to 2."""
LARGEST = 2.0
_RATING = re.compile(r"Rating:\s*[\[\s\"'*]*(?P<number>\d+(?:\.\d+)?)")
_WORD = re.compile(r"\w+")
_SHORT = 3
"""Letters of the longest word that says nothing of what a text is about."""
_QUESTIONS = {
    "concept": "How far is the concept present in the text, whether or not the text is otherwise good?\n"
    "0: not at all. 1: a little, or awkwardly. 2: clearly.\n\nConcept:\n{concept}\n\nText:\n{text}",
    "instruction": "How far is the text about what the instruction asks, whether or not it is good?\n"
    "0: not at all. 1: a little. 2: clearly.\n\nInstruction:\n{instruction}\n\nText:\n{text}",
    "fluency": "How fluent is the text, whatever it is about and whether or not it is complete?\n"
    "0: not readable, or the same again and again. 1: with clear faults. 2: almost without fault.\n\n"
    "Text:\n{text}",
}
_HOW = "Say in a sentence why, then end with a line of this form: Rating: [[0]], [[1]] or [[2]].\n\n"


class JudgeError(Exception):
    """A judge did not answer, or said no rating: what it rates stays unfinished."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be rated."""

    concept: str
    """The concept in words."""
    instruction: str
    """What was asked."""
    text: str
    """What was answered."""


class Judge(Protocol):
    """Rates answers."""

    @property
    def name(self) -> str:
        """Who rates, as results say it."""

    @property
    def exact(self) -> bool:
        """Whether equal texts always get equal ratings by a rule that can be checked by hand."""

    def rate(self, asked: Asked) -> dict[str, float]:
        """Return a rating from 0 to 2 for each of `ASPECTS`. Raises JudgeError where there is none."""


def rating_in(reply: str) -> float:
    """Return the last rating that a reply states. Raises JudgeError for none, or one that is not from 0 to 2;
    AxBench's code takes 0 for both."""
    found = [float(match["number"]) for match in _RATING.finditer(reply)]
    if not found or not 0 <= found[-1] <= LARGEST:
        raise JudgeError(f"no rating from 0 to 2 in {' '.join(reply.split())[-80:]!r}")
    return found[-1]


class EndpointJudge:
    """A model behind an OpenAI-compatible endpoint, at temperature 0. The three questions are in our own
    words; AxBench's scale is theirs."""

    exact = False

    def __init__(
        self, url: str, model: str, *, key_variable: str | None = None, timeout: float = 60.0
    ) -> None:
        """`url` is that of the API, such as http://localhost:8000/v1; a key, if one is needed, stands in an
        environment variable. Raises SuiteError for another address, and a variable that is not set."""
        if not url.startswith(("http://", "https://")):
            raise SuiteError(
                expected="the http address of a judge's API",
                came=repr(url),
                todo="give one such as http://localhost:8000/v1",
            )
        if key_variable is not None and key_variable not in os.environ:
            raise SuiteError(
                expected=f"the judge's key in the environment variable {key_variable}",
                came="no such variable",
                todo="set it, or leave --judge-key out",
            )
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model
        self._key = None if key_variable is None else os.environ[key_variable]
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The model's name."""
        return f"endpoint:{self._model}"

    def rate(self, asked: Asked) -> dict[str, float]:
        """As `Judge.rate`; each aspect is a question of its own."""
        return {aspect: rating_in(self._reply(question_of(aspect, asked))) for aspect in ASPECTS}

    def _reply(self, question: str) -> str:
        body = {"model": self._model, "temperature": 0, "messages": [{"role": "user", "content": question}]}
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode("utf-8"), headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                content: Any = json.loads(answer.read())["choices"][0]["message"]["content"]
        except (OSError, urllib.error.URLError, ValueError, LookupError, TypeError) as error:
            raise JudgeError(" ".join(str(error).split())[:160] or type(error).__name__) from None
        if not isinstance(content, str):
            raise JudgeError(f"a reply that is a {type(content).__name__}")
        return content


def question_of(aspect: str, asked: Asked) -> str:
    """Return what a model is asked about one of `ASPECTS`, in our own words."""
    parts = {"concept": asked.concept, "instruction": asked.instruction, "text": asked.text}
    return _HOW + _QUESTIONS[aspect].format(**parts)


class WordJudge:
    """A rule. A concept or an instruction is rated by the share of its words, of more than three letters if
    it has any, that the text has: 2 from a half on, 1 for any. Fluency is rated by the share of pairs of
    neighbouring words that do not come again: 2 from .8 on, 1 from .5 on; a text of one word has none."""

    exact = True
    name = "words"

    def rate(self, asked: Asked) -> dict[str, float]:
        """As `Judge.rate`."""
        words = _WORD.findall(asked.text.lower())
        pairs = list(pairwise(words))
        varied = len(set(pairs)) / len(pairs) if pairs else 0.0
        return {
            "concept": _shared(asked.concept, words),
            "instruction": _shared(asked.instruction, words),
            "fluency": float(varied >= 0.5) + float(varied >= 0.8),
        }


def _shared(wanted: str, words: list[str]) -> float:
    every = set(_WORD.findall(wanted.lower()))
    known = {word for word in every if len(word) > _SHORT} or every
    if not known:
        raise JudgeError(f"no word in {wanted[:60]!r}")
    share = len(known & set(words)) / len(known)
    return 2.0 if share >= 0.5 else float(share > 0)
