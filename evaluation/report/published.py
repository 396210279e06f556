"""Published figures laid beside those of a run; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.config.preset import MEAN_OVER_ATTRIBUTES, SCORES, Preset, Published, Score
from evaluation.records.scores import AverageRecord, ScoreRecord
from evaluation.scoring.metrics import mean

__all__ = ["PublishedRow", "beside_published", "published_markdown"]


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A published figure with ours beside it."""

    published: Published
    """What was published."""
    score: Score
    """Which of its scores."""
    ours: float | None
    """Mean over seeds at the nearest point that was scored; None if this run has no such row."""
    size: int | None
    """Size of that point."""
    site: str | None
    """Site of that point."""
    partition: str | None
    """`test` where it is the chosen point, `val` where it was only validated."""

    @property
    def value(self) -> float:
        """The published figure."""
        found = getattr(self.published, self.score)
        assert isinstance(found, float)
        return found

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
    return [
        _row(published, score, scores, averages)
        for published in preset.published
        for score in SCORES
        if getattr(published, score) is not None
    ]


def _row(
    published: Published, score: Score, scores: Sequence[ScoreRecord], averages: Sequence[AverageRecord]
) -> PublishedRow:
    if published.attribute == MEAN_OVER_ATTRIBUTES:
        return _mean_row(published, score, averages)
    own = [
        record
        for record in scores
        if (record.method, record.attribute, record.generalisation, record.source_kind)
        == (published.method, published.attribute, published.generalisation, "all")
        and (published.site is None or record.site == published.site)
    ]
    at = [r for r in own if r.partition == "val" or r.chosen]
    if not at:
        return PublishedRow(published, score, None, None, None, None)
    best = min(at, key=lambda r: (_distance(r, published), r.partition != "test", -(r.disentangle or 0.0)))
    group = [r for r in at if (r.site, r.size, r.partition) == (best.site, best.size, best.partition)]
    known = [value for record in group if (value := getattr(record, score)) is not None]
    return PublishedRow(published, score, mean(known), best.size, best.site, best.partition)


def _distance(record: ScoreRecord, published: Published) -> int:
    return 0 if published.size is None else abs(record.size - published.size)


def _mean_row(published: Published, score: Score, averages: Sequence[AverageRecord]) -> PublishedRow:
    for record in averages:
        if (record.scope, record.partition, record.source_kind) == ("macro", "test", "all") and (
            (record.method, record.generalisation) == (published.method, published.generalisation)
        ):
            return PublishedRow(published, score, getattr(record, score), None, None, "test")
    return PublishedRow(published, score, None, None, None, None)


def published_markdown(preset: Preset, rows: Sequence[PublishedRow]) -> str:
    """Return the published figures beside ours as Markdown, with source, tolerances and notes."""
    header = ("method", "attribute", "split", "point", "score", "published", "ours", "at", "on", "within")
    body = [
        (
            row.published.method,
            row.published.attribute,
            row.published.generalisation,
            ", ".join(filter(None, (row.published.site, _size_text(row)))) or "-",
            row.score,
            f"{row.value:.3f} ± {row.published.tolerance:g}",
            "-" if row.ours is None else f"{row.ours:.3f}",
            "-" if row.size is None else f"size {row.size}",
            row.partition or "-",
            {True: "yes", False: "no", None: "-"}[row.reproduced],
        )
        for row in rows
    ]
    lines = [" | ".join(cells) for cells in (header, ("---",) * len(header), *body)]
    table = "\n".join(f"| {line} |" for line in lines)
    notes = "\n".join(f"- {note}" for note in preset.notes)
    return f"Published figures beside ours. Source: {preset.source}.\n\n{table}\n\n{notes}\n"


def _size_text(row: PublishedRow) -> str:
    return "" if row.published.size is None else f"size {row.published.size}"
