"""A suite from config to tables: plan, fit, choose on validation, open the test splits once, write. Resumable
throughout."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from das.engine import ResumeEngine, make_engine
from das.engine.memory import CachePlan, parse_bytes
from das.engine.protocol import Engine
from das.engine.through_logits import listen
from das.environment import describe_numerics
from das.methods.base import Method
from das.models.load import load_target
from evaluation.activations import collect_vectors
from evaluation.cache_plan import planned_cache
from evaluation.cells import (
    Bench,
    cell_outcomes,
    cell_refusal,
    cell_subject,
    groups_of,
    judge_cell,
    run_cells,
)
from evaluation.control_records import CONTROL_CHECKS, ControlCheck
from evaluation.control_runs import Choice, ControlResults, run_controls
from evaluation.judging import NaturalAnswers
from evaluation.methods import METHODS
from evaluation.plan import FREE, GROWING, Cell, SuiteConfig, check_splits, plan_cells, resolve
from evaluation.publication import write_publication
from evaluation.records import (
    FLOORS,
    AverageRecord,
    ComparisonRecord,
    Outcome,
    Refusal,
    ScoredKind,
    ScoreRecord,
)
from evaluation.report import write_report
from evaluation.runs import Progress, RunFolder, describe_environment, silent
from evaluation.score import of_kind, score_outcomes, split_resamples
from evaluation.selection import Criterion, Point, choose_point
from evaluation.summary import Evidence, SplitContext, average_records, comparison_records, sample_methods
from evaluation.uncertainty import Resamples
from ravel.common.errors import SuiteError
from ravel.common.io import write_jsonl
from ravel.common.registry import Registry
from ravel.instance import Instance
from ravel.schema import SOURCE_KINDS, Generalisation, Partition, split_name

__all__ = ["RunSummary", "SuiteConfig", "plan_cells", "run_suite", "run_suite_on"]


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


def run_suite(config: SuiteConfig, out: Path, *, progress: Progress = silent) -> RunSummary:
    """Run a suite in the folder `out`, or go on with it there.

    Raises SuiteError for anything wrong with the config, the instance, the model or the folder, before a file
    is written. After an interruption the same call goes on where it stopped; finished cells keep their bytes.
    """
    instance = Instance.load(Path(config.instance))
    target = load_target(config.model, dtype=config.dtype, device=config.device)
    engine = make_engine(
        config.engine,
        target,
        batch_tokens=config.batch_tokens,
        cache_bytes=None if config.cache_memory is None else parse_bytes(config.cache_memory),
        cache_folder=config.cache_folder,
    )
    return run_suite_on(config, out, instance, engine, progress=progress)


def run_suite_on(
    config: SuiteConfig,
    out: Path,
    instance: Instance,
    engine: Engine,
    *,
    methods: Registry[type[Method]] = METHODS,
    progress: Progress = silent,
) -> RunSummary:
    """Run a suite on an instance and an engine that are in memory; `config.instance` and `config.model` are
    not read."""
    config = resolve(config, instance, engine.target, methods=methods)
    cells = plan_cells(config, instance, engine.target, methods=methods)
    check_splits(config, instance)
    cache = planned_cache(config, instance, engine.target) if engine.name == ResumeEngine.name else None
    run = _open(config, out, instance, engine, cells, cache)
    listen(engine, lambda text: progress(f"note {text}", 0, 0))
    if cache is not None:
        progress(f"note cache: {cache.text()}", 0, 0)
    bench = Bench(
        instance,
        engine,
        run,
        config.label_tokens,
        methods,
        tolerance=config.tolerance,
        natural=NaturalAnswers(engine),
    )
    bench = _collect(bench, cells, progress)
    _fit_all(cells, bench, config, progress)
    # Until points are chosen nothing can read the test splits: the instance in hand does not hold them.
    validation = _Scorer(bench.without_test(), config)
    choice = select(cells, validation, config)
    _open_test(cells, choice, bench, config, progress)
    controls = run_controls(choice, bench, config, progress)
    return finish(cells, choice, _Scorer(bench, config), config, controls)


def _open(
    config: SuiteConfig,
    out: Path,
    instance: Instance,
    engine: Engine,
    cells: Sequence[Cell],
    cache: CachePlan | None,
) -> RunFolder:
    run = RunFolder(out)
    fingerprints = {
        "instance_fingerprint": instance.fingerprint,
        "model_fingerprint": engine.target.fingerprint,
    }
    orphans = _orphans(run, cells)
    # What no finished cell came from may also be taken out again: a method that failed, say.
    free = FREE if orphans else (*FREE, *GROWING)
    try:
        run.open(config, fingerprints=fingerprints, growing=GROWING, free=free)
    except SuiteError as refusal:
        raise _with_orphans(refusal, orphans) from None
    environment = describe_environment(
        device=config.device,
        dtype=config.dtype,
        engine=engine.name,
        cache=None if cache is None else cache.choice,
        numerics=describe_numerics(),
    )
    run.record_environment(fingerprints, environment)
    if not run.instance.exists():
        instance.save(run.instance)
    return run


def _looks_at_vectors(method: type[Method]) -> bool:
    return method.needs_labels or method.needs_vectors


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


def _collect(bench: Bench, cells: Sequence[Cell], progress: Progress) -> Bench:
    """Read every prompt at every site once, if some fit looks at vectors and some is still to be done.

    All such fits of a run are given the same stored vectors, whichever were finished before.
    """
    looking = [cell for cell in cells if _looks_at_vectors(bench.methods.get(cell.method))]
    sites = list(dict.fromkeys(cell.site for cell in looking))
    if all(bench.run.cell(cell.cell_id).finished() for cell in looking):
        return bench
    withheld, report = bench.instance.without_test(), partial(progress, "activations")
    return replace(bench, fitting=collect_vectors(withheld, bench.engine, sites, bench.run.shared, report))


def _fit_all(cells: Sequence[Cell], bench: Bench, config: SuiteConfig, progress: Progress) -> None:
    withheld = bench.without_test()
    splits = [s for g in config.generalisations if withheld.instance.pairs(s := split_name(g, "val"))]
    done = 0
    for group in groups_of(cells, bench, config.fit_together):
        progress("cells", done, len(cells))
        began = time.monotonic()
        new = [cell for cell in group if not withheld.run.cell(cell.cell_id).finished()]
        run_cells(group, withheld, splits, progress)
        took = time.monotonic() - began
        for number, cell in enumerate(new, start=done + 1):
            progress(f"finished {cell.label()} in {took / len(new):.1f} s", number, len(cells))
        done += len(group)
    progress("cells", len(cells), len(cells))


def _open_test(
    cells: Sequence[Cell], choice: Choice, bench: Bench, config: SuiteConfig, progress: Progress
) -> None:
    """Judge the test splits for the chosen cells and for floors, which have nothing to choose."""
    wanted = _tested(cells, choice)
    splits = [split_name(generalisation, "test") for generalisation in config.generalisations]
    for done, cell in enumerate(wanted):
        progress("test", done, len(wanted))
        judge_cell(cell, bench, splits, progress)
    progress("test", len(wanted), len(wanted))


def _tested(cells: Sequence[Cell], choice: Choice) -> list[Cell]:
    chosen = {cell.cell_id for group in choice.values() for cell in group}
    return [cell for cell in cells if cell.cell_id in chosen or cell.method in FLOORS]


class _Scorer:
    """Scores cells from their outcomes files; keeps the resamples of each split, which all cells share."""

    def __init__(self, bench: Bench, config: SuiteConfig) -> None:
        self.bench = bench
        self._config = config
        self._resamples: dict[str, Resamples] = {}

    def resamples(self, split: str) -> Resamples:
        """Return the split's resamples, drawn at first use."""
        if split not in self._resamples:
            pairs = self.bench.instance.pairs(split)
            drawn = split_resamples(pairs, split, n_resamples=self._config.resamples, seed=self._config.seed)
            self._resamples[split] = drawn
        return self._resamples[split]

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
                self.resamples(split),
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
    cells: Sequence[Cell], choice: Choice, scorer: _Scorer, config: SuiteConfig, controls: ControlResults
) -> RunSummary:
    """Write scores, averages, comparisons, tables, plots and the page from the outcomes of judged cells."""
    run = scorer.bench.run
    scores = _all_scores(cells, choice, scorer, config)
    averages, comparisons = _summaries(choice, scorer, config)
    averages += controls.averages
    refused = [*refusals(cells, scorer.bench, choice, config), *controls.refusals]
    write_jsonl(run.averages, (record.to_json() for record in averages))
    write_jsonl(run.comparisons, (record.to_json() for record in comparisons))
    write_jsonl(run.refusals, (record.to_json() for record in refused))
    _write_checks(run, controls)
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
    )


def _write_checks(run: RunFolder, controls: ControlResults) -> None:
    path = run.path / CONTROL_CHECKS
    if controls.checks:
        write_jsonl(path, (check.to_json() for check in controls.checks))
    else:
        # Those of an earlier config that had controls.
        path.unlink(missing_ok=True)


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
            samples = sample_methods(_evidence(choice, scorer.bench, split), context.resamples)
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
        samples = sample_methods(evidence, context.resamples)
        found = average_records(samples, replace(context, source_kind=kind))
        records += [record for record in found if record.n_cause or record.n_isolate]
    return records


def _split_context(scorer: _Scorer, generalisation: Generalisation, partition: Partition) -> SplitContext:
    return SplitContext(
        entity_type=scorer.bench.instance.entity_type,
        model=scorer.bench.engine.target.name,
        generalisation=generalisation,
        partition=partition,
        resamples=scorer.resamples(split_name(generalisation, partition)),
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
