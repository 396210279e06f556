"""Entries side by side: a board holds what answers the same pairs with the same model; it knows no HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.config.task import task_of_instance
from evaluation.records.measured import Measured
from evaluation.report.common.families import family_of
from evaluation.report.page.rows import MEAN
from evaluation.report.site.entries import Entry, EntryRow
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from ravel.common.seeds import grouped
from ravel.terms.schema import GENERALISATIONS, Generalisation

_SIZES = ((0, "none"), (8, "1 to 8"), (32, "9 to 32"), (128, "33 to 128"))
_LARGEST = "over 128"
SIZES = (*(name for _, name in _SIZES), _LARGEST)
"""Classes of sizes, by which rows are filtered."""
_COSTS = ((0, "none"), (1_000, "to 1,000"), (10_000, "to 10,000"), (100_000, "to 100,000"))
_DEAREST, _UNKNOWN = "over 100,000", "not said"
COSTS = (*(name for _, name in _COSTS), _DEAREST, _UNKNOWN)
"""Classes of passes of the model, likewise."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A method of an entry, for one attribute or the mean over all."""

    entry: Entry
    """Where it is from."""
    method: str
    """The method."""
    attribute: str
    """The target attribute, or `MEAN`."""
    family: str
    """The method's family."""
    point: str
    """Chosen sites and sizes."""
    coordinates: int
    """How many coordinates are swapped; the most of what is averaged."""
    passes: int | None
    """Passes of the model that the fits took, mean over seeds; None where the entry does not say."""
    measures: Mapping[Generalisation, Mapping[str, Measured]]
    """The numbers, by what was held out."""
    reference: bool
    """Whether it is a floor or a ceiling rather than a contender."""
    leads: frozenset[Generalisation]
    """Where no contender has a better criterion."""
    above: frozenset[Generalisation]
    """Where the whole interval of the criterion is better than what doing nothing scores."""

    @property
    def size(self) -> str:
        """The class of sizes that `coordinates` falls into."""
        return next((name for most, name in _SIZES if self.coordinates <= most), _LARGEST)

    @property
    def cost(self) -> str:
        """The class of costs that `passes` falls into."""
        if self.passes is None:
            return _UNKNOWN
        return next((name for most, name in _COSTS if self.passes <= most), _DEAREST)

    def value(self, generalisation: Generalisation, measure: str) -> float | None:
        """Return a number, or None where there is none."""
        measured = self.measures.get(generalisation, {}).get(measure)
        return None if measured is None else measured.value


@dataclass(frozen=True, slots=True)
class Board:
    """All results on one task with one model."""

    track: Track[Any]
    """What is asked."""
    entity_type: str
    """What the facts are about."""
    model: str
    """What the model is called."""
    instance_fingerprint: str
    """Version of the task: pairs, labels and all else that decides a score."""
    model_fingerprint: str
    """Fingerprint of the model."""
    entries: tuple[Entry, ...]
    """Who is on it, by name."""
    rows: tuple[BoardRow, ...]
    """The mean over attributes first, best first, references last; then each attribute likewise."""

    @property
    def task(self) -> str:
        """The task's name with its version; of an instance of none, the beginning of its fingerprint."""
        known = task_of_instance(self.instance_fingerprint)
        return known or f"{self.entity_type}-{self.instance_fingerprint[:8]}"

    @property
    def slug(self) -> str:
        """What its files are called."""
        return "-".join(map(plain, (self.track.name, self.task, self.model, self.model_fingerprint[:6])))

    @property
    def generalisations(self) -> list[Generalisation]:
        """What was held out, in order."""
        there = {g for row in self.rows for g in row.measures}
        return [g for g in GENERALISATIONS if g in there]

    @property
    def attributes(self) -> list[str]:
        """The attributes, in order."""
        return sorted({row.attribute for row in self.rows} - {MEAN})

    def of(self, attribute: str = MEAN) -> list[BoardRow]:
        """Return the rows of one attribute, or of the mean over all."""
        return [row for row in self.rows if row.attribute == attribute]

    def leader(self, generalisation: Generalisation) -> BoardRow | None:
        """Return the contender with the best mean criterion; the first of several."""
        return next((row for row in self.of() if generalisation in row.leads), None)


def plain(name: str) -> str:
    """Return a name as a part of a file's name: small letters, digits and dashes."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in name.lower())
    return "-".join(part for part in kept.split("-") if part) or "unnamed"


def boards_of(entries: Sequence[Entry]) -> list[Board]:
    """Return the boards of all entries, by track, type and model. What answers other pairs, or another
    model, stands on another board: nothing is ever averaged over versions of a task."""
    boards = [_board(alike) for alike in grouped(entries, lambda entry: entry.board).values()]
    return sorted(boards, key=lambda b: (b.track.name, b.entity_type, b.model, b.instance_fingerprint))


def _board(entries: Sequence[Entry]) -> Board:
    entries = sorted(entries, key=lambda entry: entry.about.name)
    first, track = entries[0], TRACKS.get(entries[0].track)
    attributes = sorted({row.attribute for entry in entries for row in entry.rows})
    return Board(
        track=track,
        entity_type=first.entity_type,
        model=first.model,
        instance_fingerprint=first.about.instance_fingerprint,
        model_fingerprint=first.about.model_fingerprint,
        entries=tuple(entries),
        rows=tuple(row for attribute in attributes for row in _ranked(entries, attribute, track)),
    )


def _ranked(entries: Sequence[Entry], attribute: str, track: Track[Any]) -> list[BoardRow]:
    found = list(_rows(entries, attribute, track))
    contenders = [row for row in found if not row.reference]
    best = {g: _best(contenders, g, track) for g in GENERALISATIONS}
    marked = [_with_marks(row, frozenset(g for g, one in best.items() if row is one), track) for row in found]
    return sorted(marked, key=lambda row: (row.reference, -_merit(row, track), row.method))


def _rows(entries: Sequence[Entry], attribute: str, track: Track[Any]) -> Iterator[BoardRow]:
    """Yield the rows of one attribute; a reference row that several entries have stands there once."""
    seen = set()
    for entry in entries:
        own = [row for row in entry.rows if row.attribute == attribute]
        for method, rows in grouped(own, lambda row: row.method).items():
            if method in track.floors and method in seen:
                continue
            seen.add(method)
            yield _row(entry, method, rows, track)


def _row(entry: Entry, method: str, rows: Sequence[EntryRow], track: Track[Any]) -> BoardRow:
    return BoardRow(
        entry=entry,
        method=method,
        attribute=rows[0].attribute,
        family=family_of(method, track.floors),
        point=rows[0].point,
        coordinates=max(row.coordinates for row in rows),
        passes=rows[0].passes,
        measures={row.generalisation: row.measures for row in rows},
        reference=method in track.floors,
        leads=frozenset(),
        above=frozenset(),
    )


def _best(rows: Sequence[BoardRow], generalisation: Generalisation, track: Track[Any]) -> BoardRow | None:
    scored = [row for row in rows if row.value(generalisation, track.criterion) is not None]
    return max(scored, key=lambda row: _merit_at(row, generalisation, track), default=None)


def _merit_at(row: BoardRow, generalisation: Generalisation, track: Track[Any]) -> float:
    value = row.value(generalisation, track.criterion)
    return float("-inf") if value is None else track.merit(track.criterion, value)


def _merit(row: BoardRow, track: Track[Any]) -> float:
    """Return the merit of the first way of holding out: the order of a board."""
    return next((_merit_at(row, g, track) for g in GENERALISATIONS if g in row.measures), float("-inf"))


def _with_marks(row: BoardRow, leads: frozenset[Generalisation], track: Track[Any]) -> BoardRow:
    above = {g for g, measures in row.measures.items() if _is_above(measures.get(track.criterion), track)}
    return replace(row, leads=leads, above=frozenset(above))


def _is_above(measured: Measured | None, track: Track[Any]) -> bool:
    if measured is None or measured.interval is None or track.nothing_scores is None:
        return False
    nothing = track.merit(track.criterion, track.nothing_scores)
    return min(track.merit(track.criterion, end) for end in measured.interval) > nothing
