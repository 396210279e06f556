"""Matchers of names: one name, any of a list, other names of the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ravel.common.errors import SuiteError
from ravel.matching.cleaning import (
    begins_settled,
    begins_with,
    cleaned,
    ends_word,
    is_cut,
    unchanging,
    without_leading,
)
from ravel.matching.matcher import Matcher, MatchMode, any_settled, settled_verdict
from ravel.matching.reference import reference_cleaned, reference_prefix, reference_settled

_SHORTEST_PREFIX = 2


@dataclass(frozen=True, slots=True)
class Prefix:
    """The continuation begins with the value.

    Strict mode: after cleaning (case folded, opening quotes and brackets dropped, cut at the first double
    quote or line end, one leading word of `skip` dropped on either side) the continuation must begin with
    the whole value, and the value must end a word there: `Niger` is not stated by `Nigeria` nor `Guinea` by
    `Guinea-Bissau`. A continuation that stops short of the value counts only if `min_length` is set, the
    continuation up to its first full stop or semicolon has at least that many characters, and it stops
    where a word of the value ends.

    Reference mode: after the reference's own cleaning either text may be a prefix of the other. Taken
    literally, as the reference does: one letter counts, and so does an empty continuation.
    """

    min_length: int | None = None
    """Shortest part of a value that counts, in characters, at least 2; None asks for the whole value."""
    skip: tuple[str, ...] = ("the", "a", "an")
    """Words that may stand before the value, in the continuation or in the value, and are not compared."""
    whole_words: bool = True
    """False lets a part stop inside a word, where the limit on new tokens may cut it."""

    def __post_init__(self) -> None:
        if self.min_length is not None and self.min_length < _SHORTEST_PREFIX:
            raise SuiteError(
                expected=f"a min_length of {_SHORTEST_PREFIX} characters or more",
                came=str(self.min_length),
                todo="raise it, or leave it out to ask for the whole value",
            )

    @property
    def tolerance(self) -> bool:
        """False: only the value itself counts."""
        return False

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether the continuation begins with the value, under the rules of the class."""
        if mode == "reference":
            return reference_prefix(continuation, value)
        said = without_leading(cleaned(continuation), self.skip)
        wanted = self._wanted(value)
        if not wanted:
            return False
        return begins_with(said, wanted) or self._is_long_enough_part(said, wanted)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        if is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        if mode == "reference":
            return reference_settled(continuation, value)
        said, wanted = unchanging(continuation), self._wanted(value)
        if not wanted:
            return False
        if " " not in said and any(word.startswith(said) for word in self.skip):
            return None
        said = without_leading(said, self.skip)
        begins = begins_settled(said, wanted)
        return begins if begins is not False else self._part_settled(said, wanted)

    def _wanted(self, value: str) -> str:
        return without_leading(cleaned(value), self.skip).rstrip(" /")

    def _part_settled(self, said: str, wanted: str) -> bool | None:
        """Return whether a text that does not begin with the value gives a long enough part, if settled."""
        if self.min_length is None:
            return False
        if re.search(r"[;|]|\.\s", said):
            return self._is_long_enough_part(said, wanted)
        return None if wanted.startswith(said.rstrip(" ,:/.")) else False

    def _is_long_enough_part(self, said: str, wanted: str) -> bool:
        part = re.split(r"[;|]|\.(?:\s|$)", said)[0].rstrip(" ,:/")
        if self.min_length is None or not self.min_length <= len(part) < len(wanted):
            return False
        return wanted.startswith(part) and (not self.whole_words or ends_word(wanted, len(part)))


class _OfInner:
    """A matcher that leaves single names to an inner one, and is as tolerant."""

    __slots__ = ()
    inner: Matcher

    @property
    def tolerance(self) -> bool:
        return self.inner.tolerance


@dataclass(frozen=True, slots=True)
class AnyOf(_OfInner):
    """The value is a comma-separated list and stating one of its parts, or all, is enough. In reference mode
    a part may stand anywhere in the continuation (the reference does so for languages only)."""

    inner: Matcher = field(default_factory=Prefix)
    """Decides for one part."""

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether the continuation states one part of the list."""
        if self.inner.matches(continuation, value, mode=mode):
            return True
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if mode == "reference":
            said = reference_cleaned(continuation)
            return len(parts) > 1 and any(part.lower() in said for part in parts)
        return any(self.inner.matches(continuation, part, mode=mode) for part in parts)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        if is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if mode == "reference" and len(parts) > 1:
            # A part may still come anywhere before the first double quote.
            return None
        names = [value] if mode == "reference" else [value, *parts]
        return any_settled(settled_verdict(self.inner, continuation, name, mode=mode) for name in names)


@dataclass(frozen=True, slots=True)
class Aliases(_OfInner):
    """Some values have other names, which count as well: in strict mode. The other names that the reference
    knows are part of its own rule."""

    names: tuple[tuple[str, tuple[str, ...]], ...]
    """(value, its other names); a value is found whatever its case."""
    inner: Matcher = field(default_factory=Prefix)
    """Decides for one name."""

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether the continuation states the value by one of its names."""
        if self.inner.matches(continuation, value, mode=mode):
            return True
        if mode == "reference":
            return False
        return any(self.inner.matches(continuation, name, mode=mode) for name in self._other_names(value))

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        names = [value] if mode == "reference" else [value, *self._other_names(value)]
        return any_settled(settled_verdict(self.inner, continuation, name, mode=mode) for name in names)

    def _other_names(self, value: str) -> Iterator[str]:
        parts = {part.strip().casefold() for part in [value, *value.split(",")]}
        for known, others in self.names:
            if known.casefold() in parts:
                yield from others
