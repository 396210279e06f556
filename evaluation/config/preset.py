"""Reads the named suites of `presets/` and lays published figures beside ours; it runs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from das.sites import Site
from evaluation.records.scores import AverageRecord, ScoreRecord
from evaluation.suite.grid import MethodSpec, SuiteConfig
from ravel.common.config import Config
from ravel.common.errors import unknown_name
from ravel.facts.schema import Generalisation
from ravel.instance.build import BuildConfig

__all__ = [
    "MEAN_OVER_ATTRIBUTES",
    "ModelShape",
    "Preset",
    "Published",
    "PublishedRow",
    "beside_published",
    "preset_named",
    "preset_names",
    "published_markdown",
]

_PACKAGE = "evaluation.config.presets"
_SUFFIX = ".yaml"
MEAN_OVER_ATTRIBUTES = "mean over attributes"
"""What `attribute` says where a publication gives the mean over all attributes of the type."""

Score = Literal["cause", "isolate", "disentangle"]
_SCORES: tuple[Score, ...] = get_args(Score)


class ModelShape(Config):
    """How large a model is: enough to plan for it without its weights."""

    layers: PositiveInt
    """Number of blocks."""
    width: PositiveInt
    """Width of the residual stream."""
    heads: NonNegativeInt
    """Attention heads of a block; 0 for a model without."""
    kv_heads: PositiveInt | None = None
    """Heads of keys and values, where they are fewer; None: as many."""
    head_width: PositiveInt
    """Length of a head's output."""
    vocabulary: PositiveInt
    """Number of tokens."""
    parameters: PositiveInt
    """Number of weights, rounded."""

    def size_at(self, site: Site) -> int:
        """Return the length of the vector at a site."""
        return self.width if site.head is None else self.head_width


class Published(Config):
    """One published figure."""

    method: str
    """Our name of the method."""
    attribute: str
    """The target attribute, or in words what was averaged over."""
    generalisation: Generalisation
    """What is held out."""
    size: PositiveInt | None = None
    """Number of coordinates, where stated."""
    site: str | None = None
    """Where, if figures of several sites were published."""
    cause: float | None = None
    """Published cause, from 0 to 1."""
    isolate: float | None = None
    """Published isolate, from 0 to 1."""
    disentangle: float | None = None
    """Published disentangle, from 0 to 1."""
    tolerance: NonNegativeFloat
    """How far ours may lie from it and still count as a reproduction; our judgement, for data differ."""


class Preset(Config):
    """A suite with the instance it runs on and the figures it is meant to reproduce."""

    summary: str
    """One line for `ravel list presets`."""
    entity_type: str
    """The entity type of the instance."""
    further_entity_types: tuple[str, ...] = ()
    """Other types of the same publication, each a run of its own."""
    data: str
    """Where the facts come from, as `ravel build --data` takes it."""
    build: dict[str, Any] = Field(default_factory=dict)
    """Settings of the build that differ from the defaults."""
    suite: dict[str, Any]
    """Settings of the suite, without `instance`."""
    shape: ModelShape
    """The model's size."""
    source: str
    """Where the published figures stand."""
    notes: tuple[str, ...] = ()
    """What is unknown or different, as sentences."""
    published: tuple[Published, ...]
    """The figures; empty for suites of our own."""

    def build_config(self) -> BuildConfig:
        """Return the settings of the build. Raises SuiteError if they don't fit."""
        return BuildConfig.from_mapping(self.build, origin="the preset's build")

    def suite_config(self, instance: str, overrides: Mapping[str, Any] | None = None) -> SuiteConfig:
        """Return the suite on an instance, with settings that differ from the preset's. Raises SuiteError if
        its settings don't fit."""
        settings = {**self.suite, **(overrides or {}), "instance": instance}
        return SuiteConfig.from_mapping(settings, origin="the preset's suite")

    def methods(self) -> tuple[MethodSpec, ...]:
        """Return the suite's methods."""
        return self.suite_config("").methods


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    files = resources.files(_PACKAGE).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def preset_named(name: str) -> Preset:
    """Return a preset. Raises SuiteError with near misses for an unknown name."""
    if name not in preset_names():
        raise unknown_name("preset", name, preset_names())
    file = resources.files(_PACKAGE) / f"{name}{_SUFFIX}"
    return Preset.from_yaml(file.read_text(encoding="utf-8"), origin=f"the preset {name!r}")


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
        for score in _SCORES
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
    mean = _mean(getattr(record, score) for record in group)
    return PublishedRow(published, score, mean, best.size, best.site, best.partition)


def _distance(record: ScoreRecord, published: Published) -> int:
    return 0 if published.size is None else abs(record.size - published.size)


def _mean_row(published: Published, score: Score, averages: Sequence[AverageRecord]) -> PublishedRow:
    for record in averages:
        if (record.scope, record.partition, record.source_kind) == ("macro", "test", "all") and (
            (record.method, record.generalisation) == (published.method, published.generalisation)
        ):
            return PublishedRow(published, score, getattr(record, score), None, None, "test")
    return PublishedRow(published, score, None, None, None, None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


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
