"""How much a command says beside its result: the flags -q and -v, for the time it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
_VERBOSE: ContextVar[bool] = ContextVar("verbose", default=False)
_LIBRARY = "TRANSFORMERS_VERBOSITY"


@contextmanager
def speaking(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Let the block say less, or more, than usual."""
    tokens = (_QUIET.set(quiet), _VERBOSE.set(verbose))
    # Read by the library when it is loaded, here and in workers.
    said = os.environ.get(_LIBRARY)
    if verbose:
        os.environ[_LIBRARY] = said or "info"
    try:
        yield
    finally:
        if verbose and said is None:
            del os.environ[_LIBRARY]
        _QUIET.reset(tokens[0])
        _VERBOSE.reset(tokens[1])


def is_quiet() -> bool:
    """Tell whether only the result and warnings are wanted."""
    return _QUIET.get()


def is_verbose() -> bool:
    """Tell whether every step is wanted, as lines, and what libraries say."""
    return _VERBOSE.get()
