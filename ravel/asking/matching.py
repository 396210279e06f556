"""When a continuation states a value: a frozen matcher per kind of value, which knows no entities or prompts.

Every matcher answers in two modes:
  strict      the cleaned continuation must begin with the value and end a word there
  reference   the lenient rule of the published recipe (RAVEL, arXiv 2402.17700, and its public adaptations):
              either text may be a prefix of the other, with a handful of exceptions for particular values
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, Protocol, runtime_checkable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ravel.common.errors import SuiteError

__all__ = [
    "Aliases",
    "AnyOf",
    "MatchMode",
    "Matcher",
    "Measuring",
    "NumberWithin",
    "Prefix",
    "Settling",
    "UtcOffset",
    "settled_verdict",
]

MatchMode = Literal["strict", "reference"]

_OPENING = " \t\r\n\f\v\xa0\"'`“”‘’([{*/"
_JOINERS = "-_/\u2010\u2011"
_SHORTEST_PREFIX = 2
# Besides the letters, the ASCII signs with which a combining mark makes one character.
_ACCENTED = frozenset("<=>" + string.ascii_letters)


@runtime_checkable
class Matcher(Protocol):
    """A rule that says whether a continuation states a value; frozen, comparable, hashable."""

    @property
    def tolerance(self) -> bool:
        """True if several distinct answers can count as right by being close to the value."""
        ...

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether `continuation`, the text after the prompt, states `value`; a blank one never is."""
        ...


@runtime_checkable
class Measuring(Protocol):
    """A matcher that can say how far off a continuation is."""

    def distance(self, continuation: str, value: str) -> float | None:
        """Return how far what the continuation states, in strict mode, is from the value; None if one of them
        can't be measured."""
        ...


@runtime_checkable
class Settling(Protocol):
    """A matcher that knows when a continuation that still grows can get one verdict only.

    A matcher may do without: then its verdict is open until the continuation has ended.
    """

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return what `matches` says to every text that begins with `continuation`, this one included, or
        None if they may differ or if it can't tell."""
        ...


def settled_verdict(
    matcher: Matcher, continuation: str, value: str, *, mode: MatchMode = "strict"
) -> bool | None:
    """Return the verdict on a continuation however it goes on, or None while it is open; see `Settling`."""
    if not isinstance(matcher, Settling):
        return None
    return matcher.settled(continuation, value, mode=mode)


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
            return _reference_prefix(continuation, value)
        said = _without_leading(_clean(continuation), self.skip)
        wanted = _without_leading(_clean(value), self.skip).rstrip(" /")
        if not wanted:
            return False
        return _begins_with(said, wanted) or self._is_long_enough_part(said, wanted)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        if _is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        if mode == "reference":
            return _reference_settled(continuation, value)
        wanted = _without_leading(_clean(value), self.skip).rstrip(" /")
        said = _unchanging(continuation)
        if not wanted:
            return False
        if " " not in said and any(word.startswith(said) for word in self.skip):
            return None
        said = _without_leading(said, self.skip)
        begins = _begins_settled(said, wanted)
        return begins if begins is not False else self._part_settled(said, wanted)

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
        return wanted.startswith(part) and (not self.whole_words or _ends_word(wanted, len(part)))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The value is a comma-separated list and stating any one of its parts is enough.

    Strict mode: the inner matcher decides for each part, and for the list as a whole. Reference mode:
    additionally any part may stand anywhere in the continuation (the reference does so for languages only).
    """

    inner: Matcher = field(default_factory=Prefix)
    """Decides for one part."""

    @property
    def tolerance(self) -> bool:
        """As the inner matcher."""
        return self.inner.tolerance

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether the continuation states one part of the list."""
        if self.inner.matches(continuation, value, mode=mode):
            return True
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if mode == "reference":
            said = _reference_clean(continuation)
            return len(parts) > 1 and any(part.lower() in said for part in parts)
        return any(self.inner.matches(continuation, part, mode=mode) for part in parts)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        if _is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if mode == "reference" and len(parts) > 1:
            # A part may still come anywhere before the first double quote.
            return None
        names = [value] if mode == "reference" else [value, *parts]
        return _any_settled(settled_verdict(self.inner, continuation, name, mode=mode) for name in names)


@dataclass(frozen=True, slots=True)
class Aliases:
    """Some values have other names, which count as well.

    Strict mode: the inner matcher decides for the value and for each of its other names. Reference mode:
    the inner matcher decides for the value alone, as the other names that the reference knows are part of
    its own rule.
    """

    names: tuple[tuple[str, tuple[str, ...]], ...]
    """(value, its other names); a value is found whatever its case."""
    inner: Matcher = field(default_factory=Prefix)
    """Decides for one name."""

    @property
    def tolerance(self) -> bool:
        """As the inner matcher."""
        return self.inner.tolerance

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
        return _any_settled(settled_verdict(self.inner, continuation, name, mode=mode) for name in names)

    def _other_names(self, value: str) -> Iterator[str]:
        parts = {part.strip().casefold() for part in [value, *value.split(",")]}
        for known, others in self.names:
            if known.casefold() in parts:
                yield from others


@dataclass(frozen=True, slots=True)
class NumberWithin:
    """The value is a number of degrees, and a number close to it counts.

    Strict mode: the continuation must begin with a number. A minus or a following S, W, south or west
    (after a degree sign, minutes, or the word degrees) makes it negative; minutes are added. Reference
    mode: the first run of digits anywhere before the first double quote is compared, and both signs are
    ignored.
    """

    within: float = 2
    """Largest difference that counts, inclusive."""

    @property
    def tolerance(self) -> bool:
        """True: neighbouring numbers count as well."""
        return True

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether the continuation gives a number close to the value; other values are never met."""
        wanted = _number(_clean(value))
        if wanted is None:
            return False
        said = _number(_clean(continuation))
        if mode == "reference":
            digits = re.search(r"\d+", _reference_clean(continuation))
            said = float(digits.group()) if digits else None
            wanted = abs(wanted)
        return said is not None and abs(said - wanted) <= self.within

    def distance(self, continuation: str, value: str) -> float | None:
        """Return the degrees between the number that the continuation begins with and the value, or None."""
        said, wanted = _number(_clean(continuation)), _number(_clean(value))
        return None if said is None or wanted is None else abs(said - wanted)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        wanted = _number(_clean(value))
        if wanted is None or _is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        found = _GROWING_NUMBER.match(_unchanging(continuation))
        if mode == "reference" or found is None:
            return None
        if found["rest"] and not (found["digits"] and _MORE_OF_A_NUMBER.match(found["rest"])):
            return self.matches(continuation, value, mode=mode)
        # More digits and minutes only make it larger; S and W turn its sign, unless it has a minus already.
        nearest = abs(wanted) if found["sign"] != "-" or wanted <= 0 else -wanted
        return None if float(found["digits"] or 0) - nearest <= self.within else False


@dataclass(frozen=True, slots=True)
class UtcOffset:
    """The value is an IANA time zone, and its name or its offset from UTC at one fixed date counts.

    Strict mode: the continuation begins with the zone's name (a blank may stand for an underscore) or with
    the offset: `UTC+5:30`, `GMT-3`, `+08:00`; a sign is needed unless the offset is zero. Reference mode:
    the lenient prefix rule for the name, and an hour of difference either way for the offset. The reference
    takes the offset on the day of the run; here the date is part of the rule, so the verdict never changes.
    """

    at: date
    """The date at which the zone's offset is taken, at noon there."""

    @property
    def tolerance(self) -> bool:
        """True: all zones with one offset are equally right."""
        return True

    def matches(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool:
        """Return whether the continuation names the zone or its offset."""
        offset = _zone_offset(value, self.at)
        said = _offset_minutes(_clean(continuation))
        allowed = 60 if mode == "reference" else 0
        if said is not None and offset is not None and abs(said - offset) <= allowed:
            return True
        if mode == "reference":
            return _reference_prefix(continuation, value)
        name = _clean(value).replace("_", " ")
        return bool(name) and _begins_with(_clean(continuation).replace("_", " "), name)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        if _is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        if mode == "reference":
            return None
        said, name = _unchanging(continuation), _clean(value).replace("_", " ")
        stated = _begins_settled(said.replace("_", " "), name) if name else False
        # What begins like an offset may become one.
        is_open = not said or said[0] in "ug+-±" or said[0].isdigit()
        return None if stated is False and is_open else stated


@lru_cache(maxsize=8192)
def _clean(text: str) -> str:
    """Fold case and form, drop opening marks, cut at the first double quote or line end, join blanks."""
    text = unicodedata.normalize("NFC", text).replace("\\/", "/").lstrip(_OPENING)
    text = re.split(r"[\"“”\r\n]", text, maxsplit=1)[0].replace("’", "'").replace("\u2212", "-")
    return " ".join(text.casefold().split())


def _is_cut(text: str, mode: MatchMode) -> bool:
    """Say whether the text goes on behind the mark at which cleaning cuts it."""
    if mode == "reference":
        return '"' in text
    opened = unicodedata.normalize("NFC", text).replace("\\/", "/").lstrip(_OPENING)
    return re.search(r"[\"“”\r\n]", opened) is not None


def _unchanging(text: str) -> str:
    """Clean the part of a growing text that stays as it is; a blank at its end is kept, as one."""
    kept = _fixed(text)
    cleaned = _clean(kept)
    return cleaned + " " if cleaned and kept[-1].isspace() else cleaned


def _fixed(text: str) -> str:
    """Drop what more text could change: half a character, half an escape, a letter that may get an accent."""
    kept = text.rstrip("\ufffd\\")
    if not kept or kept[-1].isspace() or (kept[-1].isascii() and kept[-1] not in _ACCENTED):
        return kept
    end = len(kept)
    while end and unicodedata.category(kept[end - 1]).startswith("M"):
        end -= 1
    return kept[: max(end - 1, 0)]


def _begins_settled(said: str, wanted: str) -> bool | None:
    """Return whether all that begins with `said` begins with the words `wanted`, or None if some do."""
    if not said.startswith(wanted):
        return None if wanted.startswith(said) else False
    rest = said[len(wanted) :]
    if not rest or rest in _JOINERS:
        return None
    return _ends_word(said, len(wanted))


def _any_settled(verdicts: Iterable[bool | None]) -> bool | None:
    """Return True if one is, None if one is open, else False."""
    found = set(verdicts)
    return True if True in found else None if None in found else False


def _without_leading(text: str, words: tuple[str, ...]) -> str:
    first, blank, rest = text.partition(" ")
    return rest.lstrip(_OPENING) if blank and first in words else text


def _begins_with(text: str, value: str) -> bool:
    return text.startswith(value) and _ends_word(text, len(value))


def _ends_word(text: str, at: int) -> bool:
    """Say whether a word ends before `at`: neither a word character nor a joining sign and one follow."""
    rest = text[at : at + 2]
    if not rest:
        return True
    if rest[0] in _JOINERS:
        return len(rest) == 1 or not _in_word(rest[1])
    return not _in_word(rest[0])


def _in_word(character: str) -> bool:
    # Combining marks belong to the letter before them; str.isalnum does not count them.
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _reference_clean(text: str) -> str:
    return text.lower().split('"')[0].strip(' "').replace("\\/", "/")


def _reference_prefix(continuation: str, value: str) -> bool:
    """The reference's rule with its exceptions; a blank value is never stated (there it always is)."""
    said, wanted = _reference_clean(continuation), value.lower().strip(' "')
    if not wanted:
        return False
    if wanted.startswith(("united states", "united kingdom")):
        said = said.removeprefix("the ")
        return said.startswith(wanted) or (wanted == "united kingdom" and said.startswith("england"))
    if wanted == "south korea":
        return said.startswith(("korea", "south korea"))
    if wanted == "north america":
        return wanted in said or said == "na" or said.startswith("america")
    if "mandarin" in wanted:
        return said in wanted or said == "chinese"
    return said.startswith(wanted) or wanted.startswith(said)


def _reference_settled(continuation: str, value: str) -> bool | None:
    """Settle the plain rule; the exceptions, and letters whose lower case depends on the next, stay open."""
    said, wanted = _reference_clean(_fixed(continuation)), value.lower().strip(' "')
    if not wanted:
        return False
    if any(name in wanted for name in _REFERENCE_EXCEPTIONS) or "\u03a3" in continuation:
        return None
    if said.startswith(wanted):
        return True
    return None if wanted.startswith(said) else False


_REFERENCE_EXCEPTIONS = ("united states", "united kingdom", "south korea", "north america", "mandarin")

_GROWING_NUMBER = re.compile(r"(?P<sign>[-+])?\s*(?P<digits>\d*)(?P<rest>.*)", re.DOTALL)
_MORE_OF_A_NUMBER = re.compile(r"[\s°ºdnsew]|\.(?!\D)")

_NUMBER = re.compile(
    r"""(?P<sign>[-+])?\s*(?P<whole>\d+(?:\.\d+)?)
        (?:\s*(?:°|º|degrees?\b|deg\b)\s*(?:(?P<minutes>\d+(?:\.\d+)?)\s*['′])?(?:\s*\d+(?:\.\d+)?\s*[″'′]+)?)?
        (?:\s*(?P<side>north|south|east|west|[nsew])\b)?""",
    re.VERBOSE,
)


def _number(text: str) -> float | None:
    """Read the signed number of degrees that the text begins with, or None."""
    found = _NUMBER.match(text.strip())
    if found is None:
        return None
    size = float(found["whole"]) + float(found["minutes"] or 0) / 60
    side = found["side"] or ""
    return -size if found["sign"] == "-" or side.startswith(("s", "w")) else size


_OFFSET = re.compile(
    r"(?:(?:utc|gmt)(?:/(?:utc|gmt))?)?\s*(?P<sign>[-+±])?\s*(?P<hours>\d{1,2})(?:(?::?(?P<minutes>[0-5]\d))|(?P<part>\.\d+))?(?![\d/])"
)


def _offset_minutes(text: str) -> int | None:
    """Read the offset in minutes that the text begins with, or None; an unsigned one must be zero."""
    found = _OFFSET.match(text)
    if found is None:
        return 0 if re.match(r"(?:utc|gmt)(?![\w/]|\s*[-+±])", text) else None
    minutes = int(found["minutes"] or 0) + round(60 * float(found["part"] or 0))
    size = 60 * int(found["hours"]) + minutes
    if size and found["sign"] not in ("+", "-"):
        return None
    return -size if found["sign"] == "-" else size


@lru_cache(maxsize=4096)
def _zone_offset(name: str, at: date) -> int | None:
    """Return the zone's offset in minutes at noon of the date, or None for a name that is no zone."""
    try:
        zone = ZoneInfo(name.strip().replace(" ", "_"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    offset = datetime.combine(at, time(12), tzinfo=zone).utcoffset()
    return None if offset is None else offset // timedelta(minutes=1)
