"""Texts as strict matching compares them, whole or still growing, and where a word of one ends."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import lru_cache

from ravel.matching.matcher import MatchMode

_OPENING = " \t\r\n\f\v\xa0\"'`“”‘’([{*/"
_ENDINGS = re.compile(r"[\"“”\r\n]")
_JOINERS = "-_/\u2010\u2011"
# Besides the letters, the ASCII signs with which a combining mark makes one character.
_ACCENTED = frozenset("<=>" + string.ascii_letters)


@lru_cache(maxsize=8192)
def cleaned(text: str) -> str:
    """Fold case and form, drop opening marks, cut at the first double quote or line end, join blanks."""
    text = _ENDINGS.split(_opened(text), maxsplit=1)[0].replace("’", "'").replace("\u2212", "-")
    return " ".join(text.casefold().split())


def is_cut(text: str, mode: MatchMode) -> bool:
    """Say whether the text goes on behind the mark at which cleaning cuts it."""
    if mode == "reference":
        return '"' in text
    return _ENDINGS.search(_opened(text)) is not None


def _opened(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace("\\/", "/").lstrip(_OPENING)


def unchanging(text: str) -> str:
    """Clean the part of a growing text that stays as it is; a blank at its end is kept, as one."""
    kept = unfinished_dropped(text)
    fixed = cleaned(kept)
    return fixed + " " if fixed and kept[-1].isspace() else fixed


def unfinished_dropped(text: str) -> str:
    """Drop what more text could change: half a character, half an escape, a letter that may get an accent."""
    kept = text.rstrip("\ufffd\\")
    if not kept or kept[-1].isspace() or (kept[-1].isascii() and kept[-1] not in _ACCENTED):
        return kept
    end = len(kept)
    while end and unicodedata.category(kept[end - 1]).startswith("M"):
        end -= 1
    return kept[: max(end - 1, 0)]


def begins_settled(said: str, wanted: str) -> bool | None:
    """Return whether all that begins with `said` begins with the words `wanted`, or None if some do."""
    if not said.startswith(wanted):
        return None if wanted.startswith(said) else False
    rest = said[len(wanted) :]
    if not rest or rest in _JOINERS:
        return None
    return ends_word(said, len(wanted))


def without_leading(text: str, words: tuple[str, ...]) -> str:
    """Drop the first word if it is one of `words` and another follows."""
    first, blank, rest = text.partition(" ")
    return rest.lstrip(_OPENING) if blank and first in words else text


def begins_with(text: str, value: str) -> bool:
    """Say whether the text begins with the value and a word ends there."""
    return text.startswith(value) and ends_word(text, len(value))


def ends_word(text: str, at: int) -> bool:
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
