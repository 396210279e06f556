"""The matcher of time zones, by name or by offset from UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ravel.matching.cleaning import begins_settled, begins_with, cleaned, is_cut, unchanging
from ravel.matching.matcher import MatchMode
from ravel.matching.reference import reference_prefix

_OFFSET = re.compile(
    r"(?:(?:utc|gmt)(?:/(?:utc|gmt))?)?\s*(?P<sign>[-+±])?\s*(?P<hours>\d{1,2})(?:(?::?(?P<minutes>[0-5]\d))|(?P<part>\.\d+))?(?![\d/])"
)


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
        said = _offset_minutes(cleaned(continuation))
        allowed = 60 if mode == "reference" else 0
        if said is not None and offset is not None and abs(said - offset) <= allowed:
            return True
        if mode == "reference":
            return reference_prefix(continuation, value)
        name = cleaned(value).replace("_", " ")
        return bool(name) and begins_with(cleaned(continuation).replace("_", " "), name)

    def settled(self, continuation: str, value: str, *, mode: MatchMode = "strict") -> bool | None:
        """Return the verdict if no longer continuation can change it, else None."""
        if is_cut(continuation, mode):
            return self.matches(continuation, value, mode=mode)
        if mode == "reference":
            return None
        said, name = unchanging(continuation), cleaned(value).replace("_", " ")
        stated = begins_settled(said.replace("_", " "), name) if name else False
        # What begins like an offset may become one.
        is_open = not said or said[0] in "ug+-±" or said[0].isdigit()
        return None if stated is False and is_open else stated


def _offset_minutes(text: str) -> int | None:
    """Read the offset in minutes that the text begins with, or None; an unsigned one must be zero."""
    match = _OFFSET.match(text)
    if match is None:
        return 0 if re.match(r"(?:utc|gmt)(?![\w/]|\s*[-+±])", text) else None
    minutes = int(match["minutes"] or 0) + round(60 * float(match["part"] or 0))
    size = 60 * int(match["hours"]) + minutes
    if size and match["sign"] not in ("+", "-"):
        return None
    return -size if match["sign"] == "-" else size


@lru_cache(maxsize=4096)
def _zone_offset(name: str, at: date) -> int | None:
    """Return the zone's offset in minutes at noon of the date, or None for a name that is no zone."""
    try:
        zone = ZoneInfo(name.strip().replace(" ", "_"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    offset = datetime.combine(at, time(12), tzinfo=zone).utcoffset()
    return None if offset is None else offset // timedelta(minutes=1)
