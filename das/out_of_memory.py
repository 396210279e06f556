"""Running out of memory: told from other errors on any device, and said in words. It runs no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ravel.common.errors import SuiteError

_PHRASES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "defaultcpuallocator",
)
"""How devices say it where they have no error class for it."""
_WORDS = 160
"""Characters of an error's first line that are quoted at most."""


class MemoryShortageError(SuiteError):
    """Memory did not suffice. It says nothing about the model, so nobody may take it for a wrong answer."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice; each device says it in its own way."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError, MemoryShortageError)):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def in_words(error: BaseException, where: str = "") -> str:
    """Return the error as a clause that says out of memory, in whatever words it came; `where` follows."""
    said = (str(error).strip().splitlines() or [""])[0][:_WORDS]
    return f"out of memory{where}" + (f" ({said})" if said else "")


@contextmanager
def memory_guard(expected: str, todo: str) -> Iterator[None]:
    """Turn running out of memory on any device into a MemoryShortageError that names the flag to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        came = in_words(error)
    else:
        return
    # Here rather than above: until the error is gone it holds what did not fit.
    raise MemoryShortageError(expected=expected, came=came, todo=todo)
