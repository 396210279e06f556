"""Raises."""

from typing import ClassVar

from failing_methods._marks import Failing


class Raising(Failing):
    """Raises an error that nobody expects."""

    name: ClassVar[str] = "raising"
    summary: ClassVar[str] = "for tests: raises"

    def fail(self) -> None:
        """Raise."""
        raise ZeroDivisionError("by nought")


METHOD = Raising
