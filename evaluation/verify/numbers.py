"""All numbers of a run, worked out anew from its cells' outcomes and held against what its files state.

Chosen and scored as the suite does, by the same functions; nothing that was stated goes into them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import AverageRecord, ComparisonRecord, ScoreRecord
from evaluation.scoring.cells import CellScorer, cells_of_headers
from evaluation.tracks import track_of
from evaluation.verify.cells import CheckedCells
from evaluation.verify.checks.rescoring import record_problems
from evaluation.verify.controls import ControlFolder
from ravel.instance import Instance

Record = TypeVar("Record", ScoreRecord, AverageRecord, ComparisonRecord)
Key = tuple[Any, ...]


def number_problems(
    stated: RunRecords,
    cells: CheckedCells,
    instance: Instance,
    config: SuiteConfig,
    controls: Sequence[ControlFolder],
) -> Iterator[str]:
    """Say what is missing, too much or different in scores, averages and comparisons.

    Raises SuiteError for a file that does not fit, and where nothing can be chosen.
    """
    attributes = config.attributes or instance.attributes
    scorer = CellScorer(
        # The name of a model's folder decides nothing and is not compared.
        cells_of_headers(cells.headers.values(), instance.entity_type, "", attributes, config.seeds),
        instance,
        track_of(config),
        attributes=attributes,
        generalisations=config.generalisations,
        outcomes=cells.outcomes,
    )
    choice = scorer.choose()
    yield from _differing("scores.jsonl", stated.scores, scorer.scores(choice), _score_key)
    yield from _unanswered(stated, cells, config, scorer.asked, choice)
    averages, comparisons = scorer.averages(choice)
    for control in controls:
        if control.name in config.carried_out_controls():
            averages += control.averages(choice)
    missing = [p.name for p in (stated.folder.averages, stated.folder.comparisons) if not p.is_file()]
    if missing:
        yield f"{' and '.join(missing)} missing, though the run is finished"
        return
    yield from _differing("averages.jsonl", stated.averages or [], averages, _average_key)
    yield from _differing("comparisons.jsonl", stated.comparisons, comparisons, _comparison_key)


def _unanswered(
    stated: RunRecords,
    cells: CheckedCells,
    config: SuiteConfig,
    attributes: Sequence[str],
    chosen: Collection[tuple[str, str]],
) -> Iterator[str]:
    """Say which method listed in the suite has neither a featurizer nor a refusal for an attribute; a cell
    that failed may have been the only one."""
    answered = {(refusal.method, refusal.attribute) for refusal in stated.refusals} | set(chosen)
    for failure in cells.failures:
        answered |= {(failure.method, a) for a in attributes if failure.attribute in ("*", a)}
    for method in dict.fromkeys(spec.name for spec in config.methods):
        for attribute in attributes:
            if (method, attribute) not in answered:
                yield f"{method} has neither a featurizer nor a refusal for {attribute}"


def _differing(
    origin: str, stated: Sequence[Record], given: Sequence[Record], key: Callable[[Record], Key]
) -> Iterator[str]:
    yield from record_problems({key(r): r for r in stated}, {key(r): r for r in given}, origin=origin)


def _score_key(r: ScoreRecord) -> Key:
    return (r.method, r.attribute, r.generalisation, r.partition, r.source_kind, r.cell)


def _average_key(r: AverageRecord) -> Key:
    return (r.method, r.scope, ", ".join(r.attributes), r.generalisation, r.partition, r.source_kind)


def _comparison_key(r: ComparisonRecord) -> Key:
    return (r.first, r.second, r.generalisation, r.partition)
