"""Progress as bars, in a notebook as its own, elsewhere as text on standard error; it knows no commands."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ravel.common.progress import Event, Progress


@contextmanager
def shown_bars(progress: Progress | None = None) -> Iterator[Progress]:
    """Yield what shows events as bars until the block ends, or `progress` itself if there is one."""
    if progress is not None:
        yield progress
        return
    bars = _Bars()
    try:
        yield bars
    finally:
        bars.close()


class _Bars:
    """A bar per stage; the parts of other stages share one bar."""

    def __init__(self) -> None:
        self._tqdm = _tqdm()
        self._bars: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        from ravel.common.progress import Counted, Note

        if isinstance(event, Counted):
            self._count(event.stage, event.done, event.total, key="" if event.part else event.stage)
        else:
            text = event.text if isinstance(event, Note) else f"{event.what} in {event.seconds:.1f} s"
            self._tqdm.write(text, file=sys.stderr)

    def _count(self, stage: str, done: int, total: int, *, key: str) -> None:
        if key not in self._bars:
            self._bars[key] = self._tqdm(total=total, desc=stage, leave=False, file=sys.stderr)
        bar = self._bars[key]
        if bar.desc.removesuffix(": ") != stage or bar.total != total:
            bar.reset(total=total)
            bar.set_description(stage, refresh=False)
        bar.update(done - bar.n)
        if done == total:
            bar.refresh()

    def close(self) -> None:
        """Remove the bars."""
        for bar in self._bars.values():
            bar.close()


def _tqdm() -> Any:
    with warnings.catch_warnings():
        # Where a notebook lacks ipywidgets, bars of text do; the warning says only that.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
