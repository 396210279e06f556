"""When what a model says counts as a value: a matcher per kind of value; no entities, no prompts."""

from ravel.matching.matcher import Matcher, MatchMode, Measuring, Settling, settled_verdict
from ravel.matching.names import Aliases, AnyOf, Prefix
from ravel.matching.numbers import NumberWithin
from ravel.matching.time_zones import UtcOffset

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
