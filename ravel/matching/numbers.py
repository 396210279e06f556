"""The matcher of numbers of degrees: coordinates and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ravel.matching.cleaning import cleaned, is_cut, unchanging
from ravel.matching.matcher import MatchMode
from ravel.matching.reference import reference_cleaned

_GROWING_NUMBER = re.compile(r"(?P<sign>[-+])?\s*(?P<digits>\d*)(?P<rest>.*)", re.DOTALL)
_MORE_OF_A_NUMBER = re.compile(r"[\s°ºdnsew]|\.(?!\D)")

_NUMBER = re.compile(
    r"""(?P<sign>[-+])?\s*(?P<whole>\d+(?:\.\d+)?)
        (?:\s*(?:°|º|degrees?\b|deg\b)\s*(?:(?P<minutes>\d+(?:\.\d+)?)\s*['′])?(?:\s*\d+(?:\.\d+)?\s*[″'′]+)?)?
        (?:\s*(?P<side>north|south|east|west|[nsew])\b)?""",
    re.VERBOSE,
)


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
        wanted = _number(cleaned(value))
        if wanted is None:
            return False
        said = _number(cleaned(continuation))
        if mode == "reference":
            digits = re.search(r"\d+", reference_cleaned(continuation))
            said = float(digits.group()) if digits else None
            wanted = abs(wanted)
        return said is not None and abs(said - wanted) <= self.within

    def distance(self, continuation: str, value: str) -> float | None:
        """Return the degrees between the number that the continuation begins with and the value, or None."""
        said, wanted = _number(cleaned(continuation)), _number(cleaned(value))
        return None if said is None or wanted is None else abs(said - wanted)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        wanted = _number(cleaned(value))
        if wanted is None or is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        match = _GROWING_NUMBER.match(unchanging(continuation))
        if mode == "reference" or match is None:
            return None
        if match["rest"] and not (match["digits"] and _MORE_OF_A_NUMBER.match(match["rest"])):
            return self.matches(continuation, value, mode=mode)
        # More digits and minutes only make it larger; S and W turn its sign, unless it has a minus already.
        nearest = abs(wanted) if match["sign"] != "-" or wanted <= 0 else -wanted
        return None if float(match["digits"] or 0) - nearest <= self.within else False


def _number(text: str) -> float | None:
    """Read the signed number of degrees that the text begins with, or None."""
    match = _NUMBER.match(text.strip())
    if match is None:
        return None
    size = float(match["whole"]) + float(match["minutes"] or 0) / 60
    side = match["side"] or ""
    return -size if match["sign"] == "-" or side.startswith(("s", "w")) else size
