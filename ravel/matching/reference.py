"""The lenient rule of the published recipe (RAVEL, arXiv 2402.17700), taken literally, for names."""

from __future__ import annotations

from ravel.matching.cleaning import unfinished_dropped

_EXCEPTIONS = ("united states", "united kingdom", "south korea", "north america", "mandarin")


def reference_cleaned(text: str) -> str:
    """Fold case, cut at the first double quote, strip blanks."""
    return text.lower().split('"')[0].strip(' "').replace("\\/", "/")


def reference_prefix(continuation: str, value: str) -> bool:
    """The reference's rule with its exceptions; a blank value is never stated (there it always is)."""
    said, wanted = reference_cleaned(continuation), value.lower().strip(' "')
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


def reference_settled(continuation: str, value: str) -> bool | None:
    """Settle the plain rule; the exceptions, and letters whose lower case depends on the next, stay open."""
    said, wanted = reference_cleaned(unfinished_dropped(continuation)), value.lower().strip(' "')
    if not wanted:
        return False
    if any(name in wanted for name in _EXCEPTIONS) or "\u03a3" in continuation:
        return None
    if said.startswith(wanted):
        return True
    return None if wanted.startswith(said) else False
