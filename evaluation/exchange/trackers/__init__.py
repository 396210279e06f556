"""Where a run may be logged besides its folder: one declaration per file."""

from evaluation.exchange.trackers.base import Tracker, Writer
from ravel.common.registry import Registry

__all__ = ["TRACKERS", "Tracker", "Writer"]

TRACKERS: Registry[Tracker] = Registry(
    kind="tracker",
    packages=("evaluation.exchange.trackers",),
    attribute="TRACKER",
    name_of=lambda tracker: tracker.name,
)
"""Every tracker, as `ravel run --log` takes it."""
