"""Which tokens of a prompt are edited: its first p and its last s, written `f7+l7`, or all; and whether those
that are generated behind it are. It knows no model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ravel.common.errors import SuiteError

ALL = "all"
"""In place of positions: every token of the prompt."""
_GRAMMAR = re.compile(r"(?:f(?P<first>\d{1,6}))?(?P<plus>\+)?(?:l(?P<last>\d{1,6}))?")


@dataclass(frozen=True, slots=True)
class Positions:
    """The first and the last tokens of a prompt."""

    first: int
    """How many at the beginning."""
    last: int
    """How many at the end."""

    @classmethod
    def parse(cls, text: str) -> Positions:
        """Read `f7+l7`, `f3` or `l1`. Raises SuiteError for anything else, and where no token is named."""
        match = _GRAMMAR.fullmatch(text)
        both = match is not None and match["first"] is not None and match["last"] is not None
        if match is None or (match["plus"] is not None) != both:
            raise _no_positions(text)
        positions = cls(int(match["first"] or 0), int(match["last"] or 0))
        if not positions.first and not positions.last:
            raise _no_positions(text)
        return positions

    def counts(self, n_tokens: int) -> tuple[int, int]:
        """Return how many tokens at the beginning and at the end of a prompt of `n_tokens` are edited.

        The rule of Wu et al. (2024, arXiv 2404.03592, section 3.3): where a prompt has fewer than p + s
        tokens, p is cut to half of them rounded down, s to half of them rounded up, so that no token is both.
        pyreft 0.1.0 rounds both down, whatever the length.
        """
        if n_tokens >= self.first + self.last:
            return self.first, self.last
        return min(self.first, n_tokens // 2), min(self.last, -(-n_tokens // 2))

    def chosen(self, n_tokens: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the edited places at the beginning and at the end of a prompt, from 0."""
        first, last = self.counts(n_tokens)
        return tuple(range(first)), tuple(range(n_tokens - last, n_tokens))

    def check(self, n_tokens: int, text: str) -> None:
        """Raise SuiteError for a prompt of `n_tokens` of which nothing would be edited."""
        if sum(self.counts(n_tokens)) == 0:
            raise SuiteError(
                expected=f"prompts of which {self} edits a token",
                came=f"one of {n_tokens} tokens, {text[:60]!r}",
                todo="leave it out, or edit last tokens too, such as f7+l7",
            )

    def __str__(self) -> str:
        parts = (f"f{self.first}" if self.first else "", f"l{self.last}" if self.last else "")
        return "+".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class EditedTokens:
    """Tokens at which an edit acts: of a prompt, and those that are generated behind it."""

    positions: Positions | None
    """The prompt's tokens; None: all."""
    generated: bool = False
    """Whether each generated token is edited as well, when the model reads it."""

    @classmethod
    def parse(cls, text: str, *, generated: bool = False) -> EditedTokens:
        """Read `all`, or positions as `Positions.parse` does."""
        return cls(None if text == ALL else Positions.parse(text), generated)

    def of_prompt(self, n_tokens: int, text: str) -> tuple[int, ...]:
        """Return the edited places of a prompt of `n_tokens`, from 0, each once. Raises SuiteError where
        there is none."""
        if self.positions is None:
            return tuple(range(n_tokens))
        self.positions.check(n_tokens, text)
        first, last = self.positions.chosen(n_tokens)
        return (*first, *last)

    def __str__(self) -> str:
        return f"{self.positions or ALL}{' and generated tokens' if self.generated else ''}"


def _no_positions(text: str) -> SuiteError:
    return SuiteError(
        expected="the first and last tokens of a prompt, such as f7+l7, f3 or l1",
        came=repr(text),
        todo="write f and a number, l and a number, or both with a + between them",
    )
