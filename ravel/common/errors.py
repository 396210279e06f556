"""The one error class for mistakes of the user's making; it knows nothing of what the mistake was about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

Name = TypeVar("Name", bound=str)

_CLAUSE = 2000
"""Characters of a clause at most."""


class SuiteError(Exception):
    """A mistake that the user can mend: what was expected, what came, what to do. The command line prints it
    as one paragraph and exits with 2; nothing has been half-written by then."""

    def __init__(self, *, expected: str, came: str, todo: str) -> None:
        self.expected = _clause(expected)
        """What would have been right, as a clause without a full stop."""
        self.came = _clause(came)
        """What was found instead, as a clause without a full stop."""
        self.todo = _clause(todo)
        """What the user can do now, as a clause without a full stop."""
        super().__init__(f"Expected {self.expected}; got {self.came}. To mend it: {self.todo}.")


def _clause(text: str) -> str:
    """Return a clause that can be printed: no longer than a screen, and without halves of surrogate pairs.
    Clauses quote what stood in a file, and that may be anything."""
    if len(text) > _CLAUSE:
        text = f"{text[: _CLAUSE // 2]} [...] {text[-_CLAUSE // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class StorageError(SuiteError):
    """A place can't be written to: a full disk, a folder without permission. Nothing else can be kept there
    either, so work that records the failures of its parts ends with it."""


def near_misses(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names close to `name`, best first, compared without regard to case."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.6)
    return [by_folded[folded] for folded in close]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SuiteError:
    """Build the error for a name that is not known, with near misses and the list of known names."""
    names = sorted(known)
    close = near_misses(name, names)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return SuiteError(
        expected=f"a known {kind}",
        came=f"{name!r}",
        todo=f"{hint}known: {', '.join(names) if names else 'none'}",
    )


def one_of(kind: str, name: str, known: Iterable[Name]) -> Name:
    """Return the known name that equals `name`. Raises SuiteError with near misses if there is none."""
    names = list(known)
    for candidate in names:
        if candidate == name:
            return candidate
    raise unknown_name(kind, name, names)
