"""Isolate where the target's own value, or that of an attribute bound to it, stays the same, and where it
changes; it runs no model.

Where base and source have the same country, a perfect swap of Country puts in what is there already: what
changes all the same is damage. Where the country changes, its continent may have to follow, for in the world
it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.records.breakdowns import ALL_OTHERS, BREAKDOWN_SCHEMA_VERSION, PARTS, BreakdownRecord, Part
from evaluation.records.scores import Interval, Outcome
from evaluation.scoring.clusters import Counts, IntArray
from evaluation.scoring.interchange.estimates import scores_of_counts
from evaluation.scoring.interchange.strata import Strata, Verdicts, verdicts_of
from evaluation.scoring.intervals import Estimate, mean_of
from evaluation.scoring.summary import SeedOutcomes, SplitContext
from evaluation.scoring.variance import Deviations, Spread
from ravel.checking.dependence import Dependence, bound_attributes
from ravel.checking.values import SameValue
from ravel.terms.schema import InterchangePair


@dataclass(frozen=True, slots=True)
class _Seed:
    """What the model said in one seed's cell."""

    verdicts: Verdicts
    """In the order of the split's pairs."""
    apart: dict[tuple[str, Part], Deviations]
    """What the spread of each cut is made of, whatever is asked; found when it is first needed."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the pairs of a record stand."""

    of: IntArray
    """All isolate pairs that ask for what is wanted."""
    inside: IntArray
    """Those on which the value stays, or changes, as wanted."""
    asked: tuple[str, ...]
    """What those ask for, sorted."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """The pairs of a split on which the value of one attribute stays, or changes."""

    members: IntArray
    """Their positions among the split's pairs."""
    strata: Strata
    """The same pairs, sorted by template."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which pairs a record is about."""

    target: str
    """The target attribute."""
    asked: str
    """What they ask for, or `ALL_OTHERS`."""
    by: str
    """Whose value stays or changes."""
    part: Part
    """Which of the two."""


class Breakdown:
    """Isolate of any methods on the parts of one split, which are found once."""

    def __init__(
        self,
        pairs: Sequence[InterchangePair],
        same: SameValue,
        dependence: Sequence[Dependence],
        split: SplitContext,
    ) -> None:
        """`pairs` are all of the split; `dependence` says which attributes are bound to each other."""
        self._pairs = pairs
        self._ids = [pair.pair_id for pair in pairs]
        self._asked = np.array([pair.attribute for pair in pairs], dtype=object)
        self._same = same
        self._bound = bound_attributes(dependence)
        self._fixed = {(d.given, d.told): d.left_out for d in dependence if d.bound}
        self._split = split
        self._stays: dict[str, list[bool | None]] = {}
        self._cuts: dict[tuple[str, Part], _Cut] = {}
        self._cells = split.clusters.cells(pairs)
        self._places: dict[_Wanted, _Places] = {}

    def records(self, chosen: SeedOutcomes[Outcome]) -> list[BreakdownRecord]:
        """Return the records of one method and target: isolate where an attribute's value stays the same
        between base and source entity, and where it changes.

        The attribute is the target itself, for all other attributes together and for each that is asked, and
        each attribute bound to the target (`Dependence.bound`), for all others together. Raises SuiteError
        unless the outcomes hold an outcome for each pair.
        """
        read = chosen.read()
        seeds = [_Seed(verdicts_of(found, self._ids), {}) for found in read]
        target = chosen.attribute
        others = sorted({pair.attribute for pair in self._pairs} - {target})
        pairs = [(target, ALL_OTHERS), *((target, name) for name in others)]
        pairs += [(by, ALL_OTHERS) for by in self._bound.get(target, ())]
        wanted = [_Wanted(target, asked, by, part) for by, asked in pairs for part in PARTS]
        return [self._record(chosen, seeds, one) for one in wanted]

    def _record(
        self, chosen: SeedOutcomes[Outcome], seeds: Sequence[_Seed], wanted: _Wanted
    ) -> BreakdownRecord:
        places = self._places_of(wanted)
        counted, inside = places.of, places.inside
        value, ends = self._isolate(seeds, wanted, places) if len(inside) else (None, None)
        return BreakdownRecord(
            schema_version=BREAKDOWN_SCHEMA_VERSION,
            method=chosen.method,
            entity_type=self._split.entity_type,
            model=self._split.model,
            attribute=wanted.target,
            seeds=chosen.seeds,
            generalisation=self._split.generalisation,
            partition=self._split.partition,
            asked=wanted.asked,
            by=wanted.by,
            part=wanted.part,
            isolate=value,
            isolate_interval=ends,
            n=len(inside),
            of=len(counted),
            reason=None if len(inside) else self._why_empty(wanted, counted),
        )

    def _isolate_pairs(self, wanted: _Wanted) -> IntArray:
        if wanted.asked == ALL_OTHERS:
            return np.flatnonzero(self._asked != wanted.target)
        return np.flatnonzero(self._asked == wanted.asked)

    def _places_of(self, wanted: _Wanted) -> _Places:
        if wanted not in self._places:
            counted = self._isolate_pairs(wanted)
            inside = np.intersect1d(counted, self._cut(wanted.by, wanted.part).members)
            self._places[wanted] = _Places(counted, inside, tuple(sorted(set(self._asked[inside]))))
        return self._places[wanted]

    def _isolate(
        self, seeds: Sequence[_Seed], wanted: _Wanted, places: _Places
    ) -> tuple[float | None, Interval | None]:
        weights = {name: 1 / len(places.asked) for name in places.asked}
        parts = []
        for seed in seeds:
            kept = self._kept(seed, wanted.target, places.inside)
            spread = Spread((self._deviations(seed, wanted).weighted(weights),))
            parts.append({"isolate": Estimate(kept, len(places.inside), spread)})
        mean = mean_of(parts)["isolate"]
        return mean.value, mean.interval

    def _kept(self, seed: _Seed, target: str, inside: IntArray) -> float | None:
        """Return isolate of a target on some of the pairs."""
        clusters, cells = self._split.clusters, self._cells[inside]
        kept = cells[seed.verdicts.unchanged[inside]]
        counts = Counts(clusters.counted(cells), clusters.counted(kept))
        return scores_of_counts(counts, target, clusters).isolate

    def _deviations(self, seed: _Seed, wanted: _Wanted) -> Deviations:
        key = (wanted.by, wanted.part)
        if key not in seed.apart:
            cut = self._cut(*key)
            seed.apart[key] = cut.strata.deviations(seed.verdicts.unchanged[cut.members])
        return seed.apart[key]

    def _cut(self, by: str, part: Part) -> _Cut:
        if (by, part) not in self._cuts:
            wanted = part == "same"
            members = [i for i, stays in enumerate(self._staying(by)) if stays is wanted]
            pairs = [self._pairs[i] for i in members]
            strata = Strata(pairs, [""] * len(pairs), self._split.clusters)
            self._cuts[by, part] = _Cut(np.array(members, dtype=np.int64), strata)
        return self._cuts[by, part]

    def _staying(self, by: str) -> list[bool | None]:
        """Return, per pair, whether the value stays; None where it is unknown."""
        if by not in self._stays:
            # The two answers of a pair always differ, so what it asks for changes.
            self._stays[by] = [
                False if pair.attribute == by else self._same(by, pair.base_entity, pair.source_entity)
                for pair in self._pairs
            ]
        return self._stays[by]

    def _why_empty(self, wanted: _Wanted, counted: IntArray) -> str:
        if not len(counted):
            return f"no pair asks for {wanted.asked}"
        other = "changes" if wanted.part == "same" else "stays the same"
        unknown = sum(self._staying(wanted.by)[i] is None for i in counted)
        said = (
            f"{wanted.by} {other} between base and source in {len(counted) - unknown} of {len(counted)} pairs"
        )
        said += f" and is unknown in {unknown}" if unknown else ""
        told = self._fixed.get((wanted.by, wanted.asked))
        if wanted.part == "same" and told is not None:
            said += (
                f": the answers of a pair always differ in {wanted.asked}, which {wanted.by} tells for "
                f"{told:.2f} of entities"
            )
        return said
