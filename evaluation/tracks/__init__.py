"""Tracks: what can be asked of a featurizer, one file each; what any track must declare is in
`evaluation/scoring/track.py`."""

import re
from dataclasses import fields
from typing import Any

from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import AverageRecord, ComparisonRecord, ScoreRecord
from evaluation.scoring.track import Track
from ravel.common.registry import Registry

__all__ = ["TRACKS", "is_track", "track_of"]

_MEASURE = re.compile(r"(?!n_)[a-z][a-z0-9_]*(?<!_interval)(?<!_p)(?<!_p_adjusted)")
_TAKEN = {
    *(field.name for kind in (ScoreRecord, AverageRecord, ComparisonRecord) for field in fields(kind)),
    *("floor", "kind", "below", "best", "no_op", "detail"),
}
"""Keys of records, and of rows of the page, beside which a measure has its own."""


def is_track(thing: object) -> bool:
    """Tell whether something is a track whose declarations hold together: the names of its measures can be
    keys, its criterion and its ceilings are among them, its baseline is among its references."""
    if not isinstance(thing, Track):
        return False
    try:
        named = {thing.criterion, *(r.ceiling_of for r in thing.references if r.ceiling_of is not None)}
        fit = all(_MEASURE.fullmatch(name) and name not in _TAKEN for name in thing.names)
        return fit and named <= set(thing.names) and thing.baseline in thing.floors
    except AttributeError:
        return False


TRACKS: Registry[Track[Any]] = Registry(
    kind="track",
    packages=("evaluation.tracks",),
    attribute="TRACK",
    name_of=lambda track: track.name,
    group="ravel.tracks",
    accepts=is_track,
)
"""Every track, as `ravel list tracks` shows them."""


def track_of(config: SuiteConfig) -> Track[Any]:
    """Return the track of a suite. Raises SuiteError for an unknown one, and for settings it does not
    have."""
    track = TRACKS.get(config.track.name)
    track.settings(config.judging())
    return track
