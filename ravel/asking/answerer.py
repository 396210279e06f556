"""A model as a build sees it: whatever continues texts, and when it may stop; no values and no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Progress
from ravel.terms.schema import Completion, Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Decided = Callable[[int, tuple[int, ...]], bool]
"""Called with a prompt's place and all of its new token ids so far; True if nothing is asked that more tokens
could change. It must not depend on when or how often it is called."""

# Prompts per call of an answerer that does not know better: long enough for it to group by length, short
# enough to report progress and to lose little where answers are kept and the build is killed.
_CHUNK = 1024


class Answerer(Protocol):
    """Continues texts greedily, with a tokenizer: all that a build asks of a target model."""

    @property
    def name(self) -> str:
        """The target model as its user named it."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal models, whatever their folder."""

    @property
    def instrument(self) -> Mapping[str, str]:
        """What that fingerprint is made of, by name; empty where nobody can say."""

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Continue each prompt greedily, in the order of `prompts`.

        A completion may stop where `decided` says so; an answerer may also ignore it.
        """

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of generated tokens."""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each token's [start, end) in characters; special tokens have (0, 0)."""


@runtime_checkable
class ResumingAnswerer(Protocol):
    """An answerer that can go on from the tokens it gave; any other is asked from the start again."""

    def go_on(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        """Continue each prompt behind the new token ids that it has already, which are part of the completion
        and of `max_new_tokens`; otherwise as `Answerer.complete`."""


@runtime_checkable
class SamplingAnswerer(Protocol):
    """An answerer that can also continue texts by chance."""

    def sample(
        self,
        prompts: Sequence[Prompt],
        chances: NDArray[np.float64],
        temperature: float,
        decided: Decided | None = None,
    ) -> list[list[Completion]]:
        """Continue each prompt once for each of its rows of chances in [0, 1), [n_prompts, n_samples,
        max_new_tokens]: each new token is drawn by the next of them, from softmax(logits / temperature)."""


def sampling(answerer: Answerer) -> SamplingAnswerer:
    """Return the answerer as one that samples. Raises SuiteError if it can't."""
    if isinstance(answerer, SamplingAnswerer):
        return answerer
    raise SuiteError(
        expected="a model that can be sampled from, for `samples` were asked for",
        came=f"{answerer.name}, which only says what is likeliest",
        todo="use --engine resume or direct, or leave samples out",
    )


@runtime_checkable
class DecodingAnswerer(Protocol):
    """An answerer that may continue texts by another rule than the likeliest token."""

    @property
    def decoding(self) -> Mapping[str, Any]:
        """That rule and how it was chosen, as JSON; empty for greedy answers."""

    @property
    def greedy(self) -> Answerer:
        """The same model, continuing texts greedily."""


def decoding_of(answerer: Answerer) -> Mapping[str, Any]:
    """Return the rule by which an answerer continues texts; empty for greedy answers."""
    return answerer.decoding if isinstance(answerer, DecodingAnswerer) else {}


def greedy_of(answerer: Answerer) -> Answerer:
    """Return an answerer of the same model that continues texts greedily."""
    return answerer.greedy if isinstance(answerer, DecodingAnswerer) else answerer


@runtime_checkable
class PacedAnswerer(Protocol):
    """An answerer that knows how many prompts it answers in some seconds."""

    @property
    def per_call(self) -> int:
        """Prompts of one call at most; it depends on the model alone, for answers may depend on who is asked
        together."""


def per_call(answerer: Answerer) -> int:
    """Return how many prompts an answerer is asked at a time."""
    return min(_CHUNK, answerer.per_call) if isinstance(answerer, PacedAnswerer) else _CHUNK


class SentRule(Protocol):
    """A stop rule as plain values, for an answerer in another process."""

    def beside(self, answerer: Answerer) -> Decided:
        """Return the rule for one who answers by this answerer."""


@runtime_checkable
class _Sendable(Protocol):
    """A stop rule that can be sent."""

    def sent(self, first: int, end: int) -> SentRule | None:
        """Return the rule for the places from `first` up to `end`, which count from 0 there; None if it can't
        be sent."""


def sent_rule(decided: Decided, first: int, end: int) -> SentRule | None:
    """Return the part of a stop rule that is about some places, in a form that can be sent; None where it has
    none."""
    return decided.sent(first, end) if isinstance(decided, _Sendable) else None


class StopNotes:
    """Asks a stop rule and notes where it last said so."""

    def __init__(self, decided: Decided) -> None:
        self._decided = decided
        self.stopped: dict[int, int] = {}
        """By place, after how many tokens."""

    def __call__(self, place: int, token_ids: tuple[int, ...]) -> bool:
        if not self._decided(place, token_ids):
            return False
        self.stopped[place] = len(token_ids)
        return True

    def ended(self, place: int, answer: Completion) -> bool:
        """Return whether this answer ended where the rule let it."""
        return self.stopped.get(place) == len(answer.token_ids)

    def sent(self, first: int, end: int) -> SentRule | None:
        """Return the rule that is asked; what it says elsewhere is not noted here."""
        return sent_rule(self._decided, first, end)


def complete(
    answerer: Answerer,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    decided: Decided | None,
    begun: Sequence[tuple[int, ...]] | None = None,
) -> list[Completion]:
    """Continue each prompt, from what is `begun` where the answerer can; `decided` is handed on only if there
    is one, for older answerers take none."""
    if begun is not None and isinstance(answerer, ResumingAnswerer):
        return answerer.go_on(prompts, begun, max_new_tokens, decided)
    if decided is None:
        return answerer.complete(prompts, max_new_tokens)
    return answerer.complete(prompts, max_new_tokens, decided)


def complete_in_chunks(
    prompts: Iterator[Prompt],
    total: int,
    answerer: Answerer,
    *,
    max_new_tokens: int,
    progress: Progress,
    stage: str,
    decided: Decided | None = None,
    begun: Sequence[tuple[int, ...]] | None = None,
) -> Iterator[Completion]:
    """Yield the completion of each prompt in order, reporting progress; equal completions are one object.

    `decided` counts places over all chunks; it is called before the completion is yielded. `begun` are the
    token ids from which each goes on.
    """
    seen: dict[Completion, Completion] = {}
    progress(Counted(stage, 0, total))
    done = 0
    size = per_call(answerer)
    while chunk := list(islice(prompts, size)):
        shifted = None if decided is None else _Shifted(decided, done)
        starts = None if begun is None else begun[done : done + len(chunk)]
        for answer in complete(answerer, chunk, max_new_tokens, shifted, starts):
            yield seen.setdefault(answer, answer)
        done += len(chunk)
        progress(Counted(stage, done, total))


@dataclass(frozen=True, slots=True)
class _Shifted:
    """A stop rule of places that count from another one."""

    decided: Decided
    """The rule."""
    origin: int
    """Its place that is called 0."""

    def __call__(self, place: int, token_ids: tuple[int, ...]) -> bool:
        return self.decided(self.origin + place, token_ids)

    def sent(self, first: int, end: int) -> SentRule | None:
        return sent_rule(self.decided, self.origin + first, self.origin + end)
