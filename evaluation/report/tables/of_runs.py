"""The tables of finished runs: one by its name, or all that a run has records for; it scores nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType

from evaluation.records.control_checks import NECESSITY
from evaluation.records.failures import Failure, failure_notes
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import ScoreRecord
from evaluation.report.common.shown_models import shown_run
from evaluation.report.tables.build import (
    ModelScores,
    attribute_table,
    balanced_table,
    kind_table,
    main_table,
    model_table,
    type_table,
)
from evaluation.report.tables.controls import control_table, necessity_table, twin_notes
from evaluation.report.tables.dependence import dependence_table
from evaluation.report.tables.means import averages_without_outcomes, has_seeds, seed_table
from evaluation.report.tables.model import Row, Table
from evaluation.report.tables.site_search import site_table
from evaluation.scoring.interchange.post_hoc import Derived, read_derived
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.seeds import grouped
from ravel.terms.schema import Partition


@dataclass(frozen=True, slots=True)
class _Run:
    """What a table is made of."""

    records: RunRecords
    """What the run has written down."""
    derived: Callable[[], Derived]
    """What follows from its outcomes; only some tables ask for it."""
    partition: Partition = "test"
    """Which pairs count."""


def table_of_runs(
    run_paths: Sequence[Path],
    name: str = "main",
    partition: Partition = "test",
    model_labels: Sequence[str] = (),
) -> Table:
    """Return the table of this name of a run; `types` takes several runs, with an entity type each, `models`
    several with a model each.

    Names are those of `TABLES`, `types` and `models`; `model_labels` are what the runs' models are called, in
    the order of the runs, the rest by their own names. Raises SuiteError for an unknown name, a folder that
    is no finished run, several runs where one is expected, a partition the table is not made of, and damaged
    records.
    """
    if name not in (*TABLES, *_OF_SEVERAL):
        raise unknown_name("table", name, [*TABLES, *_OF_SEVERAL])
    if not run_paths or (name not in _OF_SEVERAL and len(run_paths) > 1):
        raise SuiteError(
            expected=f"one run for the table {name}",
            came=f"{len(run_paths)}: {', '.join(map(str, run_paths))}" if run_paths else "none",
            todo="give one, or compare runs of several entity types with --table types, of several models "
            "with --table models",
        )
    runs = [shown_run(*pair) for pair in zip_longest(run_paths, model_labels[: len(run_paths)])]
    _check_one_metric(runs)
    if name in _OF_SEVERAL:
        made = _OF_SEVERAL[name](runs, partition)
    else:
        (run,) = runs
        track = TRACKS.get(run.track)
        if name not in track.tables:
            raise SuiteError(
                expected=f"a table of the track {track.name}: {', '.join(track.tables)}",
                came=name,
                todo="choose one of these",
            )
        _check_partition(name, partition)
        made = _with_passes(TABLES[name](_Run(run, partial(read_derived, run, track), partition)), run)
    return _with_failures(made, [failure for run in runs for failure in run.failures])


def _check_one_metric(runs: Sequence[RunRecords]) -> None:
    metrics = sorted({record.metric for run in runs for record in run.scores})
    if len(metrics) > 1:
        raise SuiteError(
            expected="runs that are summed up by one metric version",
            came=", ".join(metrics),
            todo="bring them under one with `ravel rescore RUN --metric VERSION`",
        )


def tables_of_run(records: RunRecords, derived: Derived) -> list[Table]:
    """Return the tables of a run's test records that its track has: main, per attribute and, where there are
    records for them, per source kind, class-balanced, by dependence, of controls, of necessity and of seeds.
    Each says which cells failed."""
    tables = TRACKS.get(records.track).tables
    has = {
        "kinds": any(r.source_kind != "all" for r in records.chosen(source_kind=None)),
        "balanced": bool(derived.balanced),
        "dependence": bool(derived.breakdowns),
        "controls": bool(records.control_checks),
        "necessity": any(check.measure == NECESSITY for check in records.control_checks),
        "seeds": has_seeds(records.scores),
        # About the search, not about the methods: only where it is asked for.
        "sites": False,
    }
    run = _Run(records, lambda: derived)
    return [
        _with_failures(_with_passes(made(run), records), records.failures)
        for name, made in TABLES.items()
        if name in tables and has.get(name, True)
    ]


def _with_model(table: Table, model: str) -> Table:
    """Return a table of one run whose rows all say which model it was; checks of controls don't."""
    rows = (replace(row, place=replace(row.place, model=row.place.model or model)) for row in table.rows)
    return replace(table, rows=tuple(rows))


def _with_passes(table: Table, records: RunRecords) -> Table:
    """Return the table with what the fits of its rows cost, where a row is a method's points."""
    if table.name not in _OF_POINTS:
        return table
    points = grouped(records.chosen(source_kind="all"), lambda record: record.method)
    blocks = {record.attribute for own in points.values() for record in own}
    return replace(table, rows=tuple(_row_with_passes(row, points, blocks, records) for row in table.rows))


def _row_with_passes(
    row: Row, points: Mapping[str, Sequence[ScoreRecord]], blocks: Collection[str], records: RunRecords
) -> Row:
    own = [r for r in points.get(row.label, ()) if row.block not in blocks or r.attribute == row.block]
    return replace(row, place=replace(row.place, passes=records.passes(own)))


def _with_failures(table: Table, failures: Sequence[Failure]) -> Table:
    return replace(table, notes=(*table.notes, *failure_notes(failures)))


def _main(run: _Run) -> Table:
    known = run.records
    table = main_table(
        known.scores,
        known.averages,
        partition=run.partition,
        comparisons=known.comparisons,
        refusals=known.refusals,
    )
    # Controls are judged on test pairs alone.
    twins = twin_notes(known.control_checks) if run.partition == "test" else []
    return replace(table, notes=(*table.notes, *twins))


def _attributes(run: _Run) -> Table:
    known = run.records
    return attribute_table(known.scores, known.averages, partition=run.partition, refusals=known.refusals)


def _kinds(run: _Run) -> Table:
    known = run.records
    return kind_table(known.scores, known.averages, partition=run.partition, refusals=known.refusals)


def _balanced(run: _Run) -> Table:
    known = run.records
    return balanced_table(known.scores, known.averages, run.derived().balanced, refusals=known.refusals)


def _dependence(run: _Run) -> Table:
    return dependence_table(run.records.scores, run.derived().breakdowns)


def _controls(run: _Run) -> Table:
    known = run.records
    return _with_model(control_table(known.control_checks), known.scores[0].model if known.scores else "")


def _necessity(run: _Run) -> Table:
    known = run.records
    table = necessity_table(known.control_checks, known.averages or (), TRACKS.get(known.track))
    return _with_model(table, known.scores[0].model if known.scores else "")


def _seeds(run: _Run) -> Table:
    known = run.records
    track = TRACKS.get(known.track)
    averages = known.averages or averages_without_outcomes(known.chosen(), track.criterion)
    return seed_table(known.scores, averages, track)


def _sites(run: _Run) -> Table:
    known = run.records
    table = site_table(known.scores, TRACKS.get(known.track))
    return _with_model(table, known.scores[0].model if known.scores else "")


def _check_partition(name: str, partition: Partition) -> None:
    if name in _TEST_ONLY and partition != "test":
        raise SuiteError(
            expected=f"--partition test for the table {name}",
            came=partition,
            todo="leave --partition out: it is made of the test pairs of chosen points",
        )


def _type_table(runs: Sequence[RunRecords], partition: Partition) -> Table:
    types = [sorted({record.entity_type for record in run.scores}) for run in runs]
    double = sorted({name for own in types for name in own if sum(name in other for other in types) > 1})
    if double:
        raise SuiteError(
            expected="one run per entity type",
            came=f"several runs of {', '.join(double)}",
            todo="leave all but one of them out",
        )
    known = [run.averages for run in runs if run.averages is not None]
    return type_table(
        [record for run in runs for record in run.scores],
        [record for averages in known for record in averages] if len(known) == len(runs) else None,
        partition=partition,
        refusals={name: run.refusals for own, run in zip(types, runs, strict=True) for name in own},
    )


def _model_table(runs: Sequence[RunRecords], partition: Partition) -> Table:
    parts = [
        ModelScores(run.scores, run.averages, tuple(run.comparisons), tuple(run.refusals)) for run in runs
    ]
    return model_table(parts, partition=partition)


_OF_SEVERAL: Mapping[str, Callable[[Sequence[RunRecords], Partition], Table]] = MappingProxyType(
    {"types": _type_table, "models": _model_table}
)
_OF_POINTS = ("main", "attributes")
"""Tables of which each row is a method's chosen points."""
_TEST_ONLY = ("balanced", "dependence", "controls", "necessity", "seeds")
TABLES: Mapping[str, Callable[[_Run], Table]] = MappingProxyType(
    {
        "main": _main,
        "attributes": _attributes,
        "kinds": _kinds,
        "balanced": _balanced,
        "dependence": _dependence,
        "controls": _controls,
        "necessity": _necessity,
        "seeds": _seeds,
        "sites": _sites,
    }
)
"""The tables of a single run, by name, in the order in which they are published; all but that of sites
are."""
