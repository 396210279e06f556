"""Published figures laid beside those of a run; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.config.preset import MEAN_OVER_ATTRIBUTES, SCORES, Preset, Published, Score
from evaluation.records.scores import AverageRecord, ScoreRecord
from evaluation.scoring.mean import mean

_HEADER = ("method", "attribute", "split", "point", "score", "published", "ours", "at", "on", "within")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A published figure with ours beside it, if this run has such a row."""

    published: Published
    """What was published."""
    score: Score
    """Which of its scores."""
    value: float
    """The published figure."""
    ours: float | None = None
    """Mean over seeds at the nearest point that was scored."""
    size: int | None = None
    """Size of that point."""
    site: str | None = None
    """Site of that point."""
    partition: str | None = None
    """`test` where it is the chosen point, `val` where it was only validated."""

    @property
    def reproduced(self) -> bool | None:
        """Whether ours lies within the tolerance; None without ours."""
        return None if self.ours is None else abs(self.ours - self.value) <= self.published.tolerance


def beside_published(
    preset: Preset, scores: Sequence[ScoreRecord], averages: Sequence[AverageRecord] = ()
) -> list[PublishedRow]:
    """Return a row per published figure, with ours at the nearest point.

    Test records are taken where the point was chosen, else validation records. Of several sizes the nearest
    to the published one counts, for a method may find fewer coordinates than asked; where the size or the
    site is not stated, the chosen point comes first. A figure for `mean over attributes` is laid beside the
    macro average of the test pairs.
    """
    rows = []
    for published in preset.published:
        for score in SCORES:
            value: float | None = getattr(published, score)
            if value is None:
                continue
            if published.attribute == MEAN_OVER_ATTRIBUTES:
                rows.append(_mean_row(published, score, value, averages))
            else:
                rows.append(_row(published, score, value, scores))
    return rows


def _row(published: Published, score: Score, value: float, scores: Sequence[ScoreRecord]) -> PublishedRow:
    candidates = [r for r in scores if (r.partition == "val" or r.chosen) and _fits(r, published)]
    if not candidates:
        return PublishedRow(published, score, value)
    nearest = min(candidates, key=lambda r: _preference(r, published))
    point = (nearest.size, nearest.site, nearest.partition)
    seeds = [r.value(score) for r in candidates if (r.size, r.site, r.partition) == point]
    ours = mean([found for found in seeds if found is not None])
    return PublishedRow(published, score, value, ours, *point)


def _preference(record: ScoreRecord, published: Published) -> tuple[int, bool, float]:
    worse = -(record.value("disentangle") or 0.0)
    return _distance(record, published), record.partition != "test", worse


def _fits(record: ScoreRecord, published: Published) -> bool:
    """Tell whether a record is of the published method, attribute and generalisation, and site if stated."""
    stated = (published.method, published.attribute, published.generalisation, "all")
    ours = (record.method, record.attribute, record.generalisation, record.source_kind)
    return ours == stated and published.site in (None, record.site)


def _distance(record: ScoreRecord, published: Published) -> int:
    return 0 if published.size is None else abs(record.size - published.size)


def _mean_row(
    published: Published, score: Score, value: float, averages: Sequence[AverageRecord]
) -> PublishedRow:
    wanted = ("macro", "test", "all", published.method, published.generalisation)
    for r in averages:
        if (r.scope, r.partition, r.source_kind, r.method, r.generalisation) == wanted:
            return PublishedRow(published, score, value, r.value(score), partition="test")
    return PublishedRow(published, score, value)


def published_markdown(preset: Preset, rows: Sequence[PublishedRow]) -> str:
    """Return the published figures beside ours as Markdown, with source, tolerances and notes."""
    lines = [_HEADER, ("---",) * len(_HEADER), *map(_cells, rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    notes = "\n".join(f"- {note}" for note in preset.notes)
    return f"Published figures beside ours. Source: {preset.source}.\n\n{table}\n\n{notes}\n"


def _cells(row: PublishedRow) -> tuple[str, ...]:
    published = row.published
    return (
        published.method,
        published.attribute,
        published.generalisation,
        ", ".join(filter(None, (published.site, _size(published.size)))) or "-",
        row.score,
        f"{row.value:.3f} ± {published.tolerance:g}",
        "-" if row.ours is None else f"{row.ours:.3f}",
        _size(row.size) or "-",
        row.partition or "-",
        {True: "yes", False: "no", None: "-"}[row.reproduced],
    )


def _size(size: int | None) -> str:
    return "" if size is None else f"size {size}"
