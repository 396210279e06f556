"""What a matcher is: a frozen rule that says, in two modes, whether a continuation states a value.

strict      the cleaned continuation must begin with the value and end a word there
reference   the lenient rule of the published recipe (RAVEL, arXiv 2402.17700, and its public adaptations):
            either text may be a prefix of the other, with a handful of exceptions for particular values
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, runtime_checkable

MatchMode = Literal["strict", "reference"]


@runtime_checkable
class Matcher(Protocol):
    """A rule that says whether a continuation states a value; frozen, comparable, hashable."""

    @property
    def tolerance(self) -> bool:
        """True if several distinct answers can count as right by being close to the value."""

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether `continuation`, the text after the prompt, states `value`; a blank one never is."""


@runtime_checkable
class Measuring(Protocol):
    """A matcher that can say how far off a continuation is."""

    def distance(self, continuation: str, value: str) -> float | None:
        """Return how far what the continuation states, in strict mode, is from the value; None if one of them
        can't be measured."""


@runtime_checkable
class Settling(Protocol):
    """A matcher that knows when a continuation that still grows can get one verdict only. A matcher may do
    without: then its verdict is open until the continuation has ended."""

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return what `matches` says to every text that begins with `continuation`, this one included, or
        None if they may differ or if it can't tell."""


def settled_verdict(
    matcher: Matcher, continuation: str, value: str, *, mode: MatchMode = "strict"
) -> bool | None:
    """Return the verdict on a continuation however it goes on, or None while it is open; see `Settling`."""
    if not isinstance(matcher, Settling):
        return None
    return matcher.settled(continuation, value, mode=mode)


def any_settled(verdicts: Iterable[bool | None]) -> bool | None:
    """Return True if one is, None if one is open, else False."""
    distinct = set(verdicts)
    return True if True in distinct else None if None in distinct else False
