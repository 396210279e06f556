"""Ctrl-C at the right moment: a write in hand is finished first; it knows nothing of what is written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the block has ended; then they act as they would have. In other
    threads than the main one, where no signal arrives, nothing is held back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    earlier = {number: signal.getsignal(number) for number in _STOPPING}
    # A handler that was not set from Python can't be put back, so it is left alone.
    ours = [number for number, handler in earlier.items() if handler is not None]
    for number in ours:
        signal.signal(number, lambda came, frame: held.append(came))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, earlier[number])
        for came in dict.fromkeys(held):
            signal.raise_signal(came)


def stop_on_term() -> None:
    """Let SIGTERM, by which schedulers end a job, act as Ctrl-C does; in the main thread only."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
