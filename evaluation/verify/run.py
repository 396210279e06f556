"""The folder of a run, checked through: every file, every featurizer, every pair, every number; it runs no
model.

What follows from outcomes is worked out again: validation scores, the chosen points, test scores, averages,
comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import CellFolder, RunFolder
from evaluation.records.scores import (
    FLOORS,
    AverageRecord,
    ComparisonRecord,
    Outcome,
    ScoredKind,
    ScoreRecord,
    read_averages,
    read_comparisons,
    read_refusals,
    read_scores,
)
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.scores import of_kind
from evaluation.scoring.selection import Point, choose_point
from evaluation.scoring.summary import (
    Evidence,
    SplitContext,
    average_records,
    comparison_records,
    sample_methods,
)
from evaluation.verify.controls import ControlFolder, control_folders
from evaluation.verify.file_checks import (
    check_cell_file,
    check_featurizer,
    check_outcomes,
    errors_of,
    json_problems,
    lines_problems,
)
from evaluation.verify.rescoring import record_problems, rescored
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_json, read_jsonl
from ravel.facts.schema import SOURCE_KINDS, Generalisation, Partition, split_name
from ravel.instance.instance import Instance

__all__ = ["check_run"]

_LINES = (
    *("scores", "averages", "comparisons", "balanced", "breakdowns", "dependence", "values", "refusals"),
    *("control_checks", "failures"),
)
"""Files of lines at the top of a run; each is absent or fits the schema of its name."""

_KEPT = 200
"""Files of outcomes that are kept in memory: each serves several scores, and a large run has many."""

Header = Mapping[str, Any]


def check_run(path: Path, instance: Instance) -> tuple[list[str], list[str]]:
    """Return what is wrong with a run on this instance, and notes on what is there."""
    run = RunFolder(path)
    try:
        config = SuiteConfig.from_file(run.config)
        controls = control_folders(path, instance, config)
    except SuiteError as error:
        return [str(error)], []
    problems = json_problems(run.environment, "environment") or _fingerprint_problems(run, instance)
    for name in _LINES:
        if (path / f"{name}.jsonl").is_file():
            problems += lines_problems(path / f"{name}.jsonl", name)
    cells = _Cells(run, instance)
    problems += cells.problems
    for control in controls:
        problems += _control_problems(control, instance)
    notes = [f"{len(cells.headers)} finished cells, {cells.unfinished} unfinished"]
    if not run.scores.is_file():
        return problems, [*notes, "no scores yet: the run is not finished"]
    # The last file that a run writes.
    if not run.page.is_file():
        notes.append(f"no {run.page.name}: tables and figures may be missing; `ravel run` goes on to them")
    if not problems:
        problems += errors_of(
            lambda: problems.extend(_Numbers(run, cells, instance, config, controls).problems())
        )
        notes.append(f"{len(read_scores(run.scores))} score records")
    return problems, notes


def _fingerprint_problems(run: RunFolder, instance: Instance) -> list[str]:
    stated = read_json(run.environment)
    expected = {
        "instance_fingerprint": instance.fingerprint,
        "model_fingerprint": instance.model_fingerprint,
    }
    return [
        f"{run.environment.name} states {name} {stated.get(name)}, the instance gives {value}"
        for name, value in expected.items()
        if stated.get(name) != value
    ]


class _Cells:
    """The finished cells of a run that have a featurizer, with what is wrong with them."""

    def __init__(self, run: RunFolder, instance: Instance) -> None:
        self.problems: list[str] = []
        self.headers: dict[str, Header] = {}
        self.unfinished = 0
        self.failures = _failures(run.path)
        """Cells that broke each time they were tried; what they left is not counted."""
        failed = {row["cell"] for row in self.failures}
        self._run = run
        self._instance = instance
        self._read: dict[tuple[str, str], list[Outcome]] = {}
        for path in sorted(run.path.glob("cells/*")):
            if not (path / "cell.json").is_file():
                self.unfinished += path.is_dir()
                continue
            found = _cell_problems(CellFolder(path), instance)
            self.problems += [f"cell {path.name}: {problem}" for problem in found]
            if not found and path.name not in failed:
                self.headers[path.name] = read_json(path / "cell.json")

    def outcomes(self, cell: str, split: str) -> list[Outcome]:
        """Read outcomes that were found to be those of the instance's pairs."""
        if (cell, split) not in self._read:
            if len(self._read) >= _KEPT:
                self._read.clear()
            found = self._run.cell(cell).read_outcomes(split, len(self._instance.pairs(split)))
            self._read[cell, split] = found
        return self._read[cell, split]


def _failures(run: Path) -> list[Mapping[str, Any]]:
    path = run / "failures.jsonl"
    if not path.is_file() or lines_problems(path, "failures"):
        return []
    return [row for _, row in read_jsonl(path)]


def _cell_problems(cell: CellFolder, instance: Instance, *, control: bool = False) -> list[str]:
    problems = json_problems(cell.header, "cell")
    if problems:
        return problems
    stated = read_json(cell.header)
    if stated["cell"] != cell.path.name:
        problems.append(f"cell.json states the id {stated['cell']}")
    if "refused" in stated:
        return problems
    if cell.train_log.is_file():
        problems += lines_problems(cell.train_log, "train_log")
    if (cell.path / "diagnostics.json").is_file():
        problems += json_problems(cell.path / "diagnostics.json", "diagnostics")
    # A control that does not fit again has no featurizer of its own; one that does had another instance.
    if not control or (cell.path / "featurizer.json").is_file():
        found = check_featurizer(
            cell.path,
            target_fingerprint=stated["model_fingerprint"] if control else instance.model_fingerprint,
            instance_fingerprint=stated["instance_fingerprint"] if control else instance.fingerprint,
        )
        problems += found.problems
        if found.header is not None and found.featurizer is not None:
            problems += check_cell_file(cell.header, found.header, found.featurizer.size)
    for path in sorted(cell.path.glob("outcomes/*.jsonl")) if not control else ():
        problems += _outcomes_problems(path, instance)
    return problems


def _outcomes_problems(path: Path, instance: Instance) -> list[str]:
    if path.stem not in instance.splits():
        return [f"outcomes of {path.stem}, of which the instance has no pairs"]
    return list(check_outcomes(path, instance.pairs(path.stem)).problems)


def _control_problems(control: ControlFolder, instance: Instance) -> Iterator[str]:
    for cell in control.cells():
        found = _cell_problems(CellFolder(cell), instance, control=True) or control.outcome_problems(cell)
        yield from (f"control {control.name}, cell {cell.name}: {problem}" for problem in found)
    yield from (f"control {control.name}: {problem}" for problem in control.floor_problems())


class _Numbers:
    """All that follows from the outcomes of a run's cells, held against what its files state."""

    def __init__(
        self,
        run: RunFolder,
        cells: _Cells,
        instance: Instance,
        config: SuiteConfig,
        controls: Sequence[ControlFolder],
    ) -> None:
        self._run = run
        self._cells = cells
        self._instance = instance
        self._config = config
        self._controls = controls
        self._attributes = self._config.attributes or instance.attributes

    def problems(self) -> list[str]:
        """Return what is missing, too much or different in scores, averages and comparisons.

        Raises SuiteError where nothing can be chosen.
        """
        stated = {_score_key(record): record for record in read_scores(self._run.scores)}
        validation = self._validation()
        choice = self._choice(validation)
        found = {_score_key(record): record for record in self._scores(choice, validation)}
        told = [*record_problems(stated, found, origin="scores.jsonl"), *self._unanswered(choice)]
        averages, comparisons = self._summaries(choice)
        rows = read_averages(self._run.averages)
        for control in self._controls:
            if control.name in self._config.controls:
                averages += control.averages(choice)
        told += record_problems(_by_average(rows), _by_average(averages), origin="averages.jsonl")
        pairs = read_comparisons(self._run.comparisons)
        told += record_problems(_by_pair(pairs), _by_pair(comparisons), origin="comparisons.jsonl")
        return told

    def _serving(self, attribute: str) -> Iterator[tuple[str, Header]]:
        for cell, header in self._cells.headers.items():
            if "refused" not in header and header["attribute"] in ("*", attribute):
                yield cell, header

    def _record(
        self,
        cell: str,
        attribute: str,
        generalisation: Generalisation,
        partition: Partition,
        *,
        chosen: bool,
        kind: ScoredKind = "all",
    ) -> ScoreRecord:
        header = self._cells.headers[cell]
        frame = ScoreRecord(
            schema_version=2,
            cell=cell,
            method=header["method"],
            entity_type=self._instance.entity_type,
            attribute=attribute,
            model="",
            site=header["site"],
            size=header["swapped"],
            seed=header["seed"],
            generalisation=generalisation,
            partition=partition,
            cause=None,
            isolate=None,
            disentangle=None,
            n_cause=0,
            n_isolate=0,
            cause_interval=None,
            isolate_interval=None,
            disentangle_interval=None,
            chosen=chosen,
            source_kind=kind,
        )
        return rescored(frame, self._cells.outcomes(cell, split_name(generalisation, partition)))

    def _has(self, generalisation: Generalisation, partition: Partition) -> bool:
        return bool(self._instance.pairs(split_name(generalisation, partition)))

    def _validation(self) -> list[ScoreRecord]:
        return [
            self._record(cell, attribute, generalisation, "val", chosen=False)
            for attribute in self._attributes
            for cell, _ in self._serving(attribute)
            for generalisation in self._config.generalisations
            if self._has(generalisation, "val")
        ]

    def _choice(self, validation: Sequence[ScoreRecord]) -> dict[tuple[str, str], list[str]]:
        """Choose as the suite does: one point per method and attribute, all seeds of it."""
        candidates: dict[tuple[str, str], dict[Point, list[ScoreRecord]]] = {}
        for attribute in self._attributes:
            for _, header in self._serving(attribute):
                candidates.setdefault((header["method"], attribute), {}).setdefault(_point(header), [])
        for record in validation:
            points = candidates[record.method, record.attribute]
            points[_point(self._cells.headers[record.cell])].append(record)
        return {
            (method, attribute): self._at(
                method,
                attribute,
                choose_point(points, by="cause" if method == "full_vector" else "disentangle"),
            )
            for (method, attribute), points in candidates.items()
        }

    def _at(self, method: str, attribute: str, point: Point) -> list[str]:
        cells = [
            (header["seed"], cell)
            for cell, header in self._serving(attribute)
            if header["method"] == method and _point(header) == point
        ]
        order = {seed: place for place, seed in enumerate(self._config.seeds)}
        return [cell for _, cell in sorted(cells, key=lambda found: order.get(found[0], len(order)))]

    def _scores(
        self, choice: Mapping[tuple[str, str], Sequence[str]], validation: Sequence[ScoreRecord]
    ) -> Iterator[ScoreRecord]:
        chosen = {(cell, attribute) for (_, attribute), cells in choice.items() for cell in cells}
        tested = {cell for cell, _ in chosen}
        for record in validation:
            yield replace(record, chosen=(record.cell, record.attribute) in chosen)
        for attribute in self._attributes:
            for cell, header in self._serving(attribute):
                flag = (cell, attribute) in chosen
                for generalisation in self._config.generalisations:
                    make = partial(self._record, cell, attribute, generalisation, "test", chosen=flag)
                    if self._has(generalisation, "test") and (cell in tested or header["method"] in FLOORS):
                        yield make()
                    if self._has(generalisation, "test") and flag:
                        found = [make(kind=kind) for kind in SOURCE_KINDS]
                        yield from (record for record in found if record.n_cause or record.n_isolate)

    def _unanswered(self, choice: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
        """Say which method listed in the suite has neither a featurizer nor a refusal for an attribute."""
        stated = read_refusals(self._run.refusals) if self._run.refusals.is_file() else []
        known = {(r.method, r.attribute) for r in stated} | set(choice) | self._failed()
        for method in dict.fromkeys(spec.name for spec in self._config.methods):
            for attribute in self._attributes:
                if (method, attribute) not in known:
                    yield f"{method} has neither a featurizer nor a refusal for {attribute}"

    def _failed(self) -> set[tuple[str, str]]:
        """Return the methods and attributes of which a cell failed: it may have been the only one."""
        return {
            (row["method"], attribute)
            for row in self._cells.failures
            for attribute in self._attributes
            if row["attribute"] in ("*", attribute)
        }

    def _summaries(
        self, choice: Mapping[tuple[str, str], Sequence[str]]
    ) -> tuple[list[AverageRecord], list[ComparisonRecord]]:
        averages: list[AverageRecord] = []
        comparisons: list[ComparisonRecord] = []
        partitions: tuple[Partition, ...] = ("val", "test")
        for generalisation in self._config.generalisations:
            for partition in partitions:
                if not self._has(generalisation, partition):
                    continue
                context = self._context(generalisation, partition)
                samples = sample_methods(self._evidence(choice, context), context.clusters)
                averages += average_records(samples, context)
                if partition == "test":
                    comparisons += comparison_records(samples, context)
                    averages += self._by_kind(choice, context)
        return averages, comparisons

    def _by_kind(
        self, choice: Mapping[tuple[str, str], Sequence[str]], context: SplitContext
    ) -> Iterator[AverageRecord]:
        for kind in SOURCE_KINDS:
            own = replace(context, source_kind=kind)
            found = average_records(sample_methods(self._evidence(choice, own), own.clusters), own)
            yield from (record for record in found if record.n_cause or record.n_isolate)

    def _context(self, generalisation: Generalisation, partition: Partition) -> SplitContext:
        pairs = self._instance.pairs(split_name(generalisation, partition))
        return SplitContext(self._instance.entity_type, "", generalisation, partition, clusters_of(pairs))

    def _evidence(
        self, choice: Mapping[tuple[str, str], Sequence[str]], context: SplitContext
    ) -> list[Evidence]:
        split = split_name(context.generalisation, context.partition)
        return [
            Evidence(
                method,
                attribute,
                seeds=tuple(self._cells.headers[cell]["seed"] for cell in cells),
                read=partial(self._read, cells, split, context.source_kind),
            )
            for (method, attribute), cells in choice.items()
        ]

    def _read(self, cells: Sequence[str], split: str, kind: ScoredKind) -> list[Sequence[Outcome]]:
        return [of_kind(self._cells.outcomes(cell, split), kind) for cell in cells]


def _point(header: Header) -> Point:
    size = None if header["size"] == "*" else header["size"]
    return Point(Site.parse(header["site"]), size, canonical_json(header["config"]))


def _score_key(record: ScoreRecord) -> tuple[Any, ...]:
    return (
        record.method,
        record.attribute,
        record.generalisation,
        record.partition,
        record.source_kind,
        record.cell,
    )


def _by_average(records: Sequence[AverageRecord]) -> dict[tuple[Any, ...], AverageRecord]:
    return {
        (r.method, r.scope, ", ".join(r.attributes), r.generalisation, r.partition, r.source_kind): r
        for r in records
    }


def _by_pair(records: Sequence[ComparisonRecord]) -> dict[tuple[Any, ...], ComparisonRecord]:
    return {(r.first, r.second, r.generalisation, r.partition): r for r in records}
