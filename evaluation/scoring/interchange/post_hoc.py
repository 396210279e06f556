"""What is worked out from a finished run's outcomes and instance: balanced scores, breakdowns, dependence.

It scores nothing again, loads no model and imports without torch. Where the run's folder holds the records
they are read, else they are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from evaluation.records.breakdowns import BreakdownRecord
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import AverageRecord, Outcome, ScoreRecord, read_averages
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.balanced import BalancedScorer
from evaluation.scoring.interchange.breakdowns import Breakdown
from evaluation.scoring.summary import SeedOutcomes, SplitContext, seed_outcomes_of
from evaluation.scoring.track import Track
from ravel.checking.dependence import (
    Dependence,
    Skew,
    dependences,
    preferred,
    read_dependence,
    read_skews,
    skews,
)
from ravel.checking.values import (
    SameValue,
    bundled_facts,
    partitions_of_instance,
    partitions_of_tables,
    values_of_instance,
    values_of_tables,
)
from ravel.common.io import write_jsonl
from ravel.common.seeds import grouped
from ravel.facts.tables import Tables
from ravel.instance import Instance
from ravel.terms.schema import GENERALISATIONS, Generalisation, split_name


@dataclass(frozen=True, slots=True)
class Derived:
    """What follows from the outcomes on test pairs of a run's chosen points, and from its instance."""

    balanced: tuple[AverageRecord, ...] = ()
    """As `averages.jsonl`, with classes of the expected answer weighing alike."""
    breakdowns: tuple[BreakdownRecord, ...] = ()
    """Isolate where values stay and where they change."""
    dependence: tuple[Dependence, ...] = ()
    """How well one attribute tells another: by the facts if they are known, and by the labels."""
    skew: tuple[Skew, ...] = ()
    """How uneven and how new values are, from the same sources."""


def _files(run: RunFolder) -> list[Path]:
    """Return where each of the four lies in the folder of a run."""
    return [run.path / f"{name}.jsonl" for name in ("balanced", "breakdowns", "dependence", "values")]


def write_derived(run: RunRecords, track: Track[Any]) -> Derived:
    """Compute all of it; write `balanced.jsonl`, `breakdowns.jsonl`, `dependence.jsonl` and `values.jsonl`.

    Nothing is written for a run without an instance in its folder.
    """
    derived = derive(run, track)
    if run.instance is not None:
        found = (derived.balanced, derived.breakdowns, derived.dependence, derived.skew)
        for path, records in zip(_files(run.folder), found, strict=True):
            write_jsonl(path, (record.to_json() for record in records))
    return derived


def read_derived(run: RunRecords, track: Track[Any]) -> Derived:
    """Read what was published with the run's scores; where a file is absent compute all, and write nothing.

    Raises SuiteError for a file that does not fit.
    """
    files = _files(run.folder)
    if not all(path.is_file() for path in files):
        return derive(run, track)
    balanced, breakdowns, dependence, skew = files
    return Derived(
        balanced=tuple(read_averages(balanced)),
        breakdowns=tuple(BreakdownRecord.read(breakdowns)),
        dependence=tuple(read_dependence(dependence)),
        skew=tuple(read_skews(skew)),
    )


def derive(run: RunRecords, track: Track[Any]) -> Derived:
    """Compute all of it from scores, outcomes and instance; all empty for a run without an instance.

    A chosen cell without outcomes of a split is left out there. Of a track that has no such tables, only
    dependence and skew, which are the instance's, are computed. Raises SuiteError if outcomes are not those
    of the instance's pairs.
    """
    instance = run.instance
    if instance is None:
        return Derived()
    tables = bundled_facts(instance)
    dependence, skew = world_of(instance, tables)
    if "balanced" not in track.tables:
        return Derived(dependence=dependence, skew=skew)
    same = SameValue(instance, None if tables is None else values_of_tables(tables))
    balanced: list[AverageRecord] = []
    breakdowns: list[BreakdownRecord] = []
    for generalisation in GENERALISATIONS:
        pairs = instance.pairs(split_name(generalisation, "test"))
        seed_outcomes = _seed_outcomes(run, generalisation)
        if pairs and seed_outcomes:
            entity_type, model, clusters = instance.entity_type, instance.model_name, clusters_of(pairs)
            split = SplitContext(track, entity_type, model, generalisation, "test", clusters)
            scorer = BalancedScorer(pairs, split)
            breakdown = Breakdown(pairs, same, preferred(dependence), split)
            # Method by method, so that outcomes are read once and few are in memory at a time.
            for _, own in groupby(seed_outcomes, key=lambda e: e.method):
                of_method = list(own)
                balanced += scorer.records(of_method)
                breakdowns += [record for e in of_method for record in breakdown.records(e)]
    return Derived(tuple(balanced), tuple(breakdowns), dependence, skew)


def world_of(instance: Instance, tables: Tables | None) -> tuple[tuple[Dependence, ...], tuple[Skew, ...]]:
    """Return dependence and skew of an instance's attributes by the facts, if given, and by its labels.

    Facts are taken of all their entities, labels of the instance's own.
    """
    labels = values_of_instance(instance)
    dependence = dependences(labels, "labels")
    skew = skews(labels, partitions_of_instance(instance), "labels")
    if tables is not None:
        facts = {n: column for n, column in values_of_tables(tables).items() if n in instance.attributes}
        dependence = [*dependences(facts, "facts"), *dependence]
        skew = [*skews(facts, partitions_of_tables(tables), "facts"), *skew]
    return tuple(dependence), tuple(skew)


def _seed_outcomes(run: RunRecords, generalisation: Generalisation) -> list[SeedOutcomes[Outcome]]:
    split = split_name(generalisation, "test")
    own = [record for record in run.chosen() if record.generalisation == generalisation]
    ordered = sorted(own, key=lambda record: (record.method, record.attribute, record.seed))
    chosen = grouped(ordered, lambda record: (record.method, record.attribute))

    def path(record: ScoreRecord) -> Path:
        return run.folder.cell(record.cell).outcomes(split)

    whole = {key: records for key, records in chosen.items() if all(path(r).is_file() for r in records)}
    return seed_outcomes_of(whole, lambda record: record.seed, lambda record: _outcomes(path(record)))


@lru_cache(maxsize=64)
def _outcomes(path: Path) -> tuple[Outcome, ...]:
    # The outcomes of a method are asked for twice, and those of a floor's cell for every attribute.
    return tuple(Outcome.read(path))
