"""Which tokens of a prompt are edited: its first p and its last s, written `f7+l7`; it knows no model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ravel.common.errors import SuiteError

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

    def __str__(self) -> str:
        parts = (f"f{self.first}" if self.first else "", f"l{self.last}" if self.last else "")
        return "+".join(part for part in parts if part)


def _no_positions(text: str) -> SuiteError:
    return SuiteError(
        expected="the first and last tokens of a prompt, such as f7+l7, f3 or l1",
        came=repr(text),
        todo="write f and a number, l and a number, or both with a + between them",
    )
