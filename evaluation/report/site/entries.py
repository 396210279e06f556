"""What one run or submission brings to a site, as plain values; it knows no page and reads records only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evaluation.records.measured import Measured
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import is_control
from evaluation.report.page.rows import MEAN, detail_of, points_of
from evaluation.scoring.site_search import site_merits
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError
from ravel.terms.schema import Generalisation

Checked = Literal["model", "outcomes", "here"]
"""How far numbers were borne out: the model gave them again; they follow from the outcomes that were sent;
they are of a run that lies here."""


@dataclass(frozen=True, slots=True)
class About:
    """What stands beside an entry's numbers."""

    name: str
    """What it is called; no two entries of a site have one name."""
    authors: tuple[str, ...]
    """Who made it."""
    description: str
    """What was done, for people."""
    tuned_by: Literal["suite", "author"]
    """Who chose sites, sizes and settings: the suite on validation pairs, as in a run that lies here, or
    whoever sent it, of which nothing can be known."""
    checked: Checked
    """How far its numbers were borne out."""
    model_fingerprint: str
    """Fingerprint of the model."""
    instance_fingerprint: str
    """Fingerprint of the instance."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """The numbers of a method on the test pairs of one way of holding out."""

    method: str
    """The method."""
    attribute: str
    """The target attribute, or `MEAN`."""
    generalisation: Generalisation
    """What was held out."""
    measures: Mapping[str, Measured]
    """By name, as the track has them."""
    point: str
    """Chosen sites and sizes."""
    coordinates: int
    """How many coordinates are swapped; the most of what is averaged."""
    passes: int | None = None
    """Passes of the model that the fits took; None where the entry does not say."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run or a submission."""

    about: About
    """What stands beside the numbers."""
    track: str
    """What was asked."""
    entity_type: str
    """As in the instance."""
    model: str
    """What the model is called."""
    rows: tuple[EntryRow, ...]
    """All numbers."""
    layers: tuple[tuple[str, float], ...]
    """What a swap of the whole vector has of what it bounds, of interchange cause, on validation cases, mean
    over attributes, by site."""

    @property
    def board(self) -> tuple[str, str, str]:
        """What entries must share to stand beside each other: track, instance and model."""
        return self.track, self.about.instance_fingerprint, self.about.model_fingerprint


def entry_of(records: RunRecords, about: About) -> Entry:
    """Return a run's entry. Raises SuiteError for records without test pairs."""
    chosen = records.chosen()
    if not chosen or not records.averages:
        raise SuiteError(
            expected=f"scores and averages on test pairs in {about.name}",
            came="none",
            todo="go on with the run until it has ended",
        )
    rows = [
        EntryRow(
            method=average.method,
            attribute=MEAN if average.scope == "macro" else average.attributes[0],
            generalisation=average.generalisation,
            measures=average.measures,
            point=detail_of(average, chosen),
            coordinates=max((point.size for point in points_of(average, chosen)), default=0),
            passes=records.passes(points_of(average, chosen)),
        )
        for average in records.averages
        if average.partition == "test" and average.source_kind == "all" and not is_control(average.method)
    ]
    track = TRACKS.get(records.track)
    first = chosen[0]
    return Entry(about, track.name, first.entity_type, first.model, tuple(rows), _layers(records, track))


def _layers(records: RunRecords, track: Track[Any]) -> tuple[tuple[str, float], ...]:
    """Return the profile of a run that swapped the whole vector at several sites; else nothing."""
    by_site = next(iter(site_merits(records.scores, "full_vector", track).values()), {})
    return tuple(by_site.items()) if len(by_site) > 1 else ()
