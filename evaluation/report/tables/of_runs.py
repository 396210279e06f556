"""One table of one finished run, or of several with an entity type each, read from their folders; it writes
nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evaluation.records.run_records import RunRecords
from evaluation.report.tables import (
    Table,
    attribute_table,
    balanced_table,
    control_table,
    dependence_table,
    kind_table,
    main_table,
    type_table,
    with_failures,
)
from evaluation.scoring.post_hoc import read_derived
from ravel.common.errors import SuiteError, unknown_name
from ravel.terms.schema import Partition

__all__ = ["TABLES", "table_of_runs"]


def table_of_runs(run_paths: Sequence[Path], name: str = "main", partition: Partition = "test") -> Table:
    """Return the table of this name of a run; `types` takes several runs, with an entity type each.

    Names are those of `TABLES`. Raises SuiteError for an unknown name, a folder that is no finished run,
    several runs where one is expected, a partition the table is not made of, and damaged records.
    """
    if name not in TABLES:
        raise unknown_name("table", name, TABLES)
    if not run_paths or (name != "types" and len(run_paths) > 1):
        raise SuiteError(
            expected=f"one run for the table {name}",
            came=f"{len(run_paths)}: {', '.join(map(str, run_paths))}" if run_paths else "none",
            todo="give one, or compare runs of several entity types with --table types",
        )
    runs = [RunRecords.open(path) for path in run_paths]
    return with_failures(TABLES[name](runs, partition), [failure for run in runs for failure in run.failures])


def _main(runs: Sequence[RunRecords], partition: Partition) -> Table:
    (run,) = runs
    return main_table(
        run.scores,
        run.averages,
        partition=partition,
        comparisons=run.comparisons,
        refusals=run.refusals,
    )


def _attributes(runs: Sequence[RunRecords], partition: Partition) -> Table:
    (run,) = runs
    return attribute_table(run.scores, run.averages, partition=partition, refusals=run.refusals)


def _kinds(runs: Sequence[RunRecords], partition: Partition) -> Table:
    (run,) = runs
    return kind_table(run.scores, run.averages, partition=partition, refusals=run.refusals)


def _balanced(runs: Sequence[RunRecords], partition: Partition) -> Table:
    (run,) = runs
    _only_test("balanced", partition)
    balanced = read_derived(run).balanced
    return balanced_table(run.scores, run.averages, balanced, refusals=run.refusals)


def _dependence(runs: Sequence[RunRecords], partition: Partition) -> Table:
    (run,) = runs
    _only_test("dependence", partition)
    return dependence_table(run.scores, read_derived(run).breakdowns)


def _controls(runs: Sequence[RunRecords], partition: Partition) -> Table:
    (run,) = runs
    _only_test("controls", partition)
    return control_table(run.control_checks)


def _only_test(name: str, partition: Partition) -> None:
    if partition != "test":
        raise SuiteError(
            expected=f"--partition test for the table {name}",
            came=partition,
            todo="leave --partition out: it is made of the test pairs of chosen points",
        )


def _types(runs: Sequence[RunRecords], partition: Partition) -> Table:
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


TABLES: Mapping[str, Callable[[Sequence[RunRecords], Partition], Table]] = {
    "main": _main,
    "attributes": _attributes,
    "kinds": _kinds,
    "balanced": _balanced,
    "dependence": _dependence,
    "controls": _controls,
    "types": _types,
}
"""What tables there are, by name."""
