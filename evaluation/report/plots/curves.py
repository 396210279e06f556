"""From validation records to curves over sizes and over layers; it draws nothing.

Only validation records serve: test pairs are judged for the chosen point alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from das.sites import Site
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.track import Track
from evaluation.scoring.transport import WORTH
from ravel.common.seeds import grouped
from ravel.terms.schema import Generalisation

_NOTHING = 0.05


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One size of a method, averaged over seeds and attributes."""

    sizes: tuple[int, int]
    """Smallest and largest number of swapped coordinates behind it."""
    cause: float
    """Mean cause."""
    isolate: float
    """Mean isolate."""

    def label(self) -> str:
        """The sizes as text."""
        low, high = self.sizes
        return str(low) if low == high else f"{low}–{high}"


@dataclass(frozen=True, slots=True)
class SizeCurve:
    """A method over its sizes at the sites that were chosen."""

    points: tuple[CurvePoint, ...]
    """By size."""
    chosen: CurvePoint | None
    """What was chosen on validation, averaged; each attribute may have chosen another size."""


def validation_records(scores: Iterable[ScoreRecord]) -> list[ScoreRecord]:
    """Return the validation records of all source kinds that have every measure."""
    return [
        r
        for r in scores
        if (r.partition, r.source_kind) == ("val", "all")
        and all(measured.value is not None for measured in r.measures.values())
    ]


def size_curve(scores: Sequence[ScoreRecord], method: str, generalisation: Generalisation) -> SizeCurve:
    """Return a method's curve over sizes, every attribute at its chosen site, averaged over seeds, then
    attributes.

    Sizes are matched in their order, for a method may find fewer coordinates than asked for; where attributes
    have different numbers of sizes, only sizes that all of them have count. `scores` are those of
    `validation_records`.
    """
    own = [r for r in scores if (r.method, r.generalisation) == (method, generalisation)]
    sites = {r.attribute: r.site for r in own if r.chosen}
    rows = {
        key: _by_size([r for r in own if (r.attribute, r.seed) == key and r.site == sites[key[0]]])
        for key in sorted({(r.attribute, r.seed) for r in own if r.attribute in sites})
    }
    points = [_mean_point(group) for group in _matched([row for row in rows.values() if row])]
    chosen = [r for r in own if r.chosen]
    return SizeCurve(tuple(points), _mean_point(chosen) if chosen else None)


def layer_curve(
    scores: Sequence[ScoreRecord],
    method: str,
    generalisation: Generalisation,
    place: str,
    track: Track[Any],
    measure: str | None = None,
) -> dict[int, float]:
    """Return a measure of a method, by default the criterion, by layer at one stream and position, averaged
    over attributes.

    Each attribute has the size with the best mean over seeds and generalisations at that layer. `scores`
    are those of `validation_records`.
    """
    by = track.criterion if measure is None else measure
    own = [r for r in scores if r.method == method and place_of(r.site) == place]
    values: dict[int, list[float]] = {}
    for layer, attribute in sorted({(Site.parse(r.site).layer, r.attribute) for r in own}):
        here = [r for r in own if r.attribute == attribute and Site.parse(r.site).layer == layer]
        value = _of_best_size(here, generalisation, track, by)
        if value is not None:
            values.setdefault(layer, []).append(value)
    return {layer: fmean(found) for layer, found in values.items()}


def worth_fitting(ceilings: Sequence[Mapping[int, float]]) -> list[int]:
    """Return the layers at which a method can bring much: those where the mean of these curves of the ceiling
    has at least four fifths of its highest value, none if that is next to nothing."""
    layers = sorted({layer for curve in ceilings for layer in curve})
    means = {layer: fmean(curve[layer] for curve in ceilings if layer in curve) for layer in layers}
    highest = max(means.values(), default=0.0)
    return [layer for layer in layers if highest > _NOTHING and means[layer] >= WORTH * highest]


def place_of(site: str) -> str:
    """Return stream and position of a site, without its layer."""
    parsed = Site.parse(site)
    return f"{parsed.stream}@{parsed.position}"


def _of_best_size(
    records: Sequence[ScoreRecord], generalisation: Generalisation, track: Track[Any], measure: str
) -> float | None:
    def mean_of(own: Sequence[ScoreRecord]) -> float:
        return fmean(r.value(measure) or 0.0 for r in own)

    points = grouped(records, lambda record: (record.site, record.size))
    best = max(points.values(), key=lambda own: track.merit(measure, mean_of(own)))
    own = [r for r in best if r.generalisation == generalisation]
    return mean_of(own) if own else None


def _by_size(records: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Return one record per size: the chosen one, or the best of several settings."""
    best: dict[int, ScoreRecord] = {}
    for record in sorted(records, key=lambda r: (r.chosen, r.value("disentangle") or 0.0, r.cell)):
        best[record.size] = record
    return [best[size] for size in sorted(best)]


def _matched(rows: Sequence[Sequence[ScoreRecord]]) -> list[list[ScoreRecord]]:
    if len({len(row) for row in rows}) <= 1:
        return [list(group) for group in zip(*rows, strict=True)]
    shared = set.intersection(*({r.size for r in row} for row in rows))
    return [[r for row in rows for r in row if r.size == size] for size in sorted(shared)]


def _mean_point(records: Sequence[ScoreRecord]) -> CurvePoint:
    attributes = sorted({r.attribute for r in records})
    groups = [[r for r in records if r.attribute == a] for a in attributes]
    sizes = [r.size for r in records]
    return CurvePoint(
        (min(sizes), max(sizes)),
        fmean(fmean(r.value("cause") or 0.0 for r in group) for group in groups),
        fmean(fmean(r.value("isolate") or 0.0 for r in group) for group in groups),
    )
