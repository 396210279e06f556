"""A suite from config to tables: plan, fit, choose on validation, open the test splits once, write. Resumable
throughout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from das.engine.base.protocol import Engine
from das.methods.common.base import Method
from das.methods.registry import METHODS
from evaluation.config.suite import FREE, GROWING, SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.records.control_checks import CONTROL_CHECKS, ControlCheck
from evaluation.records.failures import FAILURES, Failure, failure_refusals, write_failures
from evaluation.records.lock import run_lock
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import (
    FLOORS,
    AverageRecord,
    ComparisonRecord,
    Outcome,
    Refusal,
    ScoredKind,
    ScoreRecord,
)
from evaluation.report.page import write_report
from evaluation.report.publish import write_publication
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.scores import of_kind, score_outcomes
from evaluation.scoring.selection import Criterion, Point, choose_point
from evaluation.scoring.summary import (
    Evidence,
    SplitContext,
    average_records,
    comparison_records,
    sample_methods,
)
from evaluation.suite.cells import Bench, cell_outcomes, cell_refusal, cell_subject
from evaluation.suite.control_runs import Choice, ControlResults
from evaluation.suite.execution.desk import Desk
from evaluation.suite.execution.jobs import Build, Describe, Described, Prepare, Prepared
from evaluation.suite.execution.making import executor_for
from evaluation.suite.execution.protocol import Executor
from evaluation.suite.execution.retrying import result_of
from evaluation.suite.execution.serial import SerialExecutor
from evaluation.suite.execution.steps import Steps
from evaluation.suite.grid import Cell, check_splits, plan_cells, resolve
from ravel.common.errors import SuiteError
from ravel.common.io import remove_file, write_jsonl
from ravel.common.progress import Progress, silent
from ravel.common.registry import Registry
from ravel.facts.schema import SOURCE_KINDS, Generalisation, Partition, split_name
from ravel.instance.instance import Instance

__all__ = ["RunSummary", "SuiteConfig", "plan_cells", "run_suite", "run_suite_for", "run_suite_on"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a finished run holds; all of it is in the folder too."""

    folder: Path
    """The run."""
    config: SuiteConfig
    """The resolved config."""
    scores: tuple[ScoreRecord, ...]
    """As in `scores.jsonl`."""
    averages: tuple[AverageRecord, ...]
    """As in `averages.jsonl`."""
    comparisons: tuple[ComparisonRecord, ...]
    """As in `comparisons.jsonl`."""
    refusals: tuple[Refusal, ...]
    """As in `refusals.jsonl`."""
    controls: tuple[ControlCheck, ...] = ()
    """As in `control_checks.jsonl`; none without controls."""
    failures: tuple[Failure, ...] = ()
    """As in `failures.jsonl`: cells that failed each time they were tried."""


def run_suite(config: SuiteConfig, out: Path, *, progress: Progress = silent) -> RunSummary:
    """Run a suite in the folder `out`, or go on with it there, carried out as its `execution` says.

    Raises SuiteError for anything wrong with the config, the instance, the model or the folder, before a file
    is written, and where another process works on the folder. After an interruption the same call goes on
    where it stopped; finished cells keep their bytes. A cell that fails is tried again as often as
    `execution.retries` says and then left out; `failures` of the summary names it.
    """
    return run_suite_for(config, out, config.target(), progress=progress)


def run_suite_for(
    config: SuiteConfig,
    out: Path,
    target: TargetConfig,
    *,
    methods: Registry[type[Method]] = METHODS,
    progress: Progress = silent,
) -> RunSummary:
    """Run a suite as `run_suite` does, with the model as `target` says rather than as the suite does, and
    with the methods of a registry whose packages can be imported by every worker."""
    if bool(config.instance) == (config.build is not None):
        raise SuiteError(
            expected="a suite that names an `instance` or says how to `build` one",
            came="both" if config.instance else "neither",
            todo="write `instance: FOLDER`, or for example `build: {entity_type: city}`",
        )
    with executor_for(config, RunFolder(out), target, methods.packages, progress) as executor:
        return _run(config, out, None, executor, methods, progress)


def run_suite_on(
    config: SuiteConfig,
    out: Path,
    instance: Instance,
    engine: Engine,
    *,
    methods: Registry[type[Method]] = METHODS,
    progress: Progress = silent,
) -> RunSummary:
    """Run a suite on an instance and an engine that are in memory, one cell after the other; of `config`,
    `instance`, `build`, `model` and the kind of `execution` are not read."""
    desk = Desk(RunFolder(out), lambda: engine, methods, instance=instance)
    return _run(config, out, instance, SerialExecutor(desk, progress), methods, progress)


def _run(
    config: SuiteConfig,
    out: Path,
    instance: Instance | None,
    executor: Executor,
    methods: Registry[type[Method]],
    progress: Progress,
) -> RunSummary:
    """Plan, fit, choose, open the test splits, write; the jobs of each step are the executor's.

    Nothing here runs a model, and until points are chosen no instance in hand holds the test splits.
    """
    run, retries = RunFolder(out), config.execution.retries
    run.refuse_foreign_files()
    with run_lock(out):
        target = result_of(Describe(), executor, retries)
        assert isinstance(target, Described)
        if instance is None:
            instance = _instance(config, run, executor)
        config = resolve(config, instance, target, methods=methods)
        cells = plan_cells(config, instance, target, methods=methods)
        check_splits(config, instance)
        prepared = result_of(Prepare(config), executor, retries)
        assert isinstance(prepared, Prepared)
        _open(config, run, instance, target, cells, prepared.environment)
        if prepared.cache is not None:
            progress(f"note cache: {prepared.cache}", 0, 0)
        bench = Bench(instance, target, run, config.label_tokens, methods, tolerance=config.tolerance)
        steps = Steps(bench, config, executor, progress)
        failures = steps.fit(cells)
        fitted = _left(cells, failures)
        if not fitted:
            write_failures(out, failures)
            raise _nothing_left(failures)
        choice = select(fitted, _Scorer(bench.without_test()), config)
        failures += steps.judge(_tested(fitted, choice))
        fitted, choice = _left(fitted, failures), _left_chosen(choice, failures)
        controls, failed = steps.control(choice)
        failures = sorted([*failures, *failed], key=lambda failure: (failure.cell, failure.stage))
        return finish(fitted, choice, _Scorer(bench), config, controls, failures)


def _instance(config: SuiteConfig, run: RunFolder, executor: Executor) -> Instance:
    """Return the instance that the suite names, or the one that it says how to build."""
    if config.build is None:
        return Instance.load(Path(config.instance))
    build = config.build
    result_of(Build(build.data, build.entity_type, build.settings), executor, config.execution.retries)
    return Instance.load(run.instance)


def _nothing_left(failures: Sequence[Failure]) -> SuiteError:
    return SuiteError(
        expected="at least one cell of the suite to come to a result",
        came=f"{len(failures)} that failed, the first ({failures[0].label()}) with: "
        f"{failures[0].error.rstrip('.')}",
        todo=f"see {FAILURES} in the run, mend what it says and run the same command again",
    )


def _left(cells: Sequence[Cell], failures: Sequence[Failure]) -> list[Cell]:
    failed = {failure.cell for failure in failures}
    return [cell for cell in cells if cell.cell_id not in failed]


def _left_chosen(choice: Choice, failures: Sequence[Failure]) -> Choice:
    left = {key: _left(group, failures) for key, group in choice.items()}
    return {key: group for key, group in left.items() if group}


def _open(
    config: SuiteConfig,
    run: RunFolder,
    instance: Instance,
    target: Described,
    cells: Sequence[Cell],
    environment: Mapping[str, Any],
) -> None:
    fingerprints = {"instance_fingerprint": instance.fingerprint, "model_fingerprint": target.fingerprint}
    orphans = _orphans(run, cells)
    # What no finished cell came from may also be taken out again: a method that failed, say.
    free = FREE if orphans else (*FREE, *GROWING)
    try:
        run.open(config, fingerprints=fingerprints, growing=GROWING, free=free)
    except SuiteError as refusal:
        raise _with_orphans(refusal, orphans) from None
    run.record_environment(fingerprints, environment)
    if not run.instance.exists():
        instance.save(run.instance)


_NAMED_ORPHANS = 5


def _orphans(run: RunFolder, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return the headers of finished cells that the plan no longer has."""
    known = {cell.cell_id for cell in cells}
    return [header for header in run.finished_cells() if header.get("cell") not in known]


def _with_orphans(refusal: SuiteError, orphans: Sequence[dict[str, Any]]) -> SuiteError:
    """Add to a refused config which finished cells it would leave behind."""
    if not orphans:
        return refusal
    names = [
        f"{h.get('method')} {h.get('attribute')} {h.get('site')} size {h.get('size')} seed {h.get('seed')}"
        for h in orphans[:_NAMED_ORPHANS]
    ]
    more = f" and {len(orphans) - len(names)} more" if len(orphans) > len(names) else ""
    return SuiteError(
        expected=refusal.expected,
        came=f"{refusal.came}; finished cells that no longer belong: {', '.join(names)}{more}",
        todo=refusal.todo,
    )


def _tested(cells: Sequence[Cell], choice: Choice) -> list[Cell]:
    chosen = {cell.cell_id for group in choice.values() for cell in group}
    return [cell for cell in cells if cell.cell_id in chosen or cell.method in FLOORS]


class _Scorer:
    """Scores cells from their outcomes files."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def records(
        self,
        cell: Cell,
        attributes: Iterable[str],
        generalisation: Generalisation,
        partition: Partition,
        source_kind: ScoredKind = "all",
    ) -> list[ScoreRecord]:
        """Return a record per target attribute that the cell serves; none if the split has no pairs."""
        split = split_name(generalisation, partition)
        if not self.bench.instance.pairs(split):
            return []
        outcomes, subject = cell_outcomes(cell, self.bench, split), cell_subject(cell, self.bench)
        return [
            score_outcomes(
                outcomes,
                attribute,
                subject,
                generalisation=generalisation,
                partition=partition,
                source_kind=source_kind,
            )
            for attribute in attributes
            if cell.serves(attribute)
        ]


def select(cells: Sequence[Cell], scorer: _Scorer, config: SuiteConfig) -> Choice:
    """Choose site, size and setting per method and attribute by validation scores; all seeds of that point
    are chosen."""
    assert config.attributes is not None
    candidates: dict[tuple[str, str], dict[Point, list[ScoreRecord]]] = {}
    for cell in cells:
        if cell_refusal(cell, scorer.bench) is not None:
            continue
        served = [attribute for attribute in config.attributes if cell.serves(attribute)]
        for attribute in served:
            candidates.setdefault((cell.method, attribute), {}).setdefault(_point(cell), [])
        for generalisation in config.generalisations:
            for record in scorer.records(cell, served, generalisation, "val"):
                candidates[cell.method, record.attribute][_point(cell)].append(record)
    points = {key: choose_point(found, by=_criterion(key[0])) for key, found in candidates.items()}
    return {
        (method, attribute): [
            cell
            for cell in cells
            if cell.method == method
            and cell.serves(attribute)
            and _point(cell) == point
            and cell_refusal(cell, scorer.bench) is None
        ]
        for (method, attribute), point in points.items()
    }


def refusals(cells: Sequence[Cell], bench: Bench, choice: Choice, config: SuiteConfig) -> list[Refusal]:
    """Return the methods and attributes of which no cell has a featurizer, with the first cell's reason."""
    assert config.attributes is not None
    reasons: dict[tuple[str, str], str] = {}
    for cell in cells:
        reason = cell_refusal(cell, bench)
        for attribute in config.attributes:
            if reason is not None and cell.serves(attribute) and (cell.method, attribute) not in choice:
                reasons.setdefault((cell.method, attribute), reason)
    return [Refusal(method, attribute, reason) for (method, attribute), reason in sorted(reasons.items())]


def _criterion(method: str) -> Criterion:
    # The row that says how much can be brought at all must be the most that can be brought.
    return "cause" if method == "full_vector" else "disentangle"


def _point(cell: Cell) -> Point:
    return Point(cell.site, cell.size, cell.setting)


def finish(
    cells: Sequence[Cell],
    choice: Choice,
    scorer: _Scorer,
    config: SuiteConfig,
    controls: ControlResults,
    failures: Sequence[Failure] = (),
) -> RunSummary:
    """Write scores, averages, comparisons, tables, plots and the page from the outcomes of judged cells."""
    run = scorer.bench.run
    scores = _all_scores(cells, choice, scorer, config)
    averages, comparisons = _summaries(choice, scorer, config)
    averages += controls.averages
    refused = [*refusals(cells, scorer.bench, choice, config), *controls.refusals]
    refused += failure_refusals(failures, _holes(choice, refused, config))
    write_jsonl(run.averages, (record.to_json() for record in averages))
    write_jsonl(run.comparisons, (record.to_json() for record in comparisons))
    write_jsonl(run.refusals, (record.to_json() for record in refused))
    _write_checks(run, controls)
    write_failures(run.path, failures)
    # Last, for its presence says that a run is finished.
    write_jsonl(run.scores, (record.to_json() for record in scores))
    write_publication(run)
    write_report(run.path)
    return RunSummary(
        run.path,
        config,
        tuple(scores),
        tuple(averages),
        tuple(comparisons),
        tuple(refused),
        controls.checks,
        tuple(failures),
    )


def _holes(choice: Choice, refused: Sequence[Refusal], config: SuiteConfig) -> list[tuple[str, str]]:
    """Return the methods and attributes that have neither a chosen point nor a refusal."""
    assert config.attributes is not None
    explained = {(refusal.method, refusal.attribute) for refusal in refused}
    asked = [(spec.name, attribute) for spec in config.methods for attribute in config.attributes]
    return [key for key in dict.fromkeys(asked) if key not in choice and key not in explained]


def _write_checks(run: RunFolder, controls: ControlResults) -> None:
    path = run.path / CONTROL_CHECKS
    if controls.checks:
        write_jsonl(path, (check.to_json() for check in controls.checks))
    else:
        # Those of an earlier config that had controls.
        remove_file(path)


def _all_scores(
    cells: Sequence[Cell], choice: Choice, scorer: _Scorer, config: SuiteConfig
) -> list[ScoreRecord]:
    assert config.attributes is not None
    tested = {cell.cell_id for cell in _tested(cells, choice)}
    chosen = {(cell.cell_id, key[1]) for key, group in choice.items() for cell in group}
    partitions: tuple[Partition, ...] = ("val", "test")
    records = [
        replace(record, chosen=(record.cell, record.attribute) in chosen)
        for cell in cells
        if cell_refusal(cell, scorer.bench) is None
        for generalisation in config.generalisations
        for partition in partitions
        if partition == "val" or cell.cell_id in tested
        for record in scorer.records(cell, config.attributes, generalisation, partition)
    ]
    by_kind = [
        replace(record, chosen=True)
        for (_, attribute), group in choice.items()
        for cell in group
        for generalisation in config.generalisations
        for kind in SOURCE_KINDS
        for record in scorer.records(cell, (attribute,), generalisation, "test", kind)
        if record.n_cause or record.n_isolate
    ]
    return sorted([*records, *by_kind], key=_score_order)


def _score_order(record: ScoreRecord) -> tuple[str, str, str, int, int, str, str, str, str]:
    return (
        record.method,
        record.attribute,
        record.site,
        record.size,
        record.seed,
        record.generalisation,
        record.partition,
        record.cell,
        "" if record.source_kind == "all" else record.source_kind,
    )


def _summaries(
    choice: Choice, scorer: _Scorer, config: SuiteConfig
) -> tuple[list[AverageRecord], list[ComparisonRecord]]:
    averages: list[AverageRecord] = []
    comparisons: list[ComparisonRecord] = []
    partitions: tuple[Partition, ...] = ("val", "test")
    for generalisation in config.generalisations:
        for partition in partitions:
            split = split_name(generalisation, partition)
            if not scorer.bench.instance.pairs(split):
                continue
            context = _split_context(scorer, generalisation, partition)
            samples = sample_methods(_evidence(choice, scorer.bench, split), context.clusters)
            averages += average_records(samples, context)
            if partition == "test":
                comparisons += comparison_records(samples, context)
                averages += _averages_by_kind(choice, scorer, split, context)
    return averages, comparisons


def _averages_by_kind(
    choice: Choice, scorer: _Scorer, split: str, context: SplitContext
) -> list[AverageRecord]:
    records = []
    for kind in SOURCE_KINDS:
        evidence = _evidence(choice, scorer.bench, split, kind)
        samples = sample_methods(evidence, context.clusters)
        found = average_records(samples, replace(context, source_kind=kind))
        records += [record for record in found if record.n_cause or record.n_isolate]
    return records


def _split_context(scorer: _Scorer, generalisation: Generalisation, partition: Partition) -> SplitContext:
    return SplitContext(
        entity_type=scorer.bench.instance.entity_type,
        model=scorer.bench.target.name,
        generalisation=generalisation,
        partition=partition,
        clusters=clusters_of(scorer.bench.instance.pairs(split_name(generalisation, partition))),
    )


def _evidence(choice: Choice, bench: Bench, split: str, source_kind: ScoredKind = "all") -> list[Evidence]:
    return [
        Evidence(
            method,
            attribute,
            seeds=tuple(cell.seed for cell in group),
            read=partial(_read_group, group, bench, split, source_kind),
        )
        for (method, attribute), group in choice.items()
    ]


def _read_group(
    group: Sequence[Cell], bench: Bench, split: str, source_kind: ScoredKind
) -> list[Sequence[Outcome]]:
    return [of_kind(cell_outcomes(cell, bench, split), source_kind) for cell in group]
