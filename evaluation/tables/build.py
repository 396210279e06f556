"""Records become tables: which rows and columns there are, what is best, what is a floor; it formats
nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from evaluation.records import (
    FLOORS,
    NO_OP_DISENTANGLE,
    SCORE_SCHEMA_VERSION,
    AverageRecord,
    Interval,
    ScoreRecord,
)
from evaluation.tables.model import Column, Row, Table, TableCell
from ravel.common.errors import SuiteError
from ravel.schema import GENERALISATIONS, Generalisation, Partition

__all__ = ["SCORES", "attribute_table", "averages_without_outcomes", "main_table"]

SCORES = ("cause", "isolate", "disentangle")
_PLURALS = {"context": "templates", "entity": "entities", "entity_context": "entities and templates"}


def main_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    partition: Partition = "test",
) -> Table:
    """Return the table method x generalisation x score, averaged over target attributes (macro).

    Without `averages` (they need the outcomes) the means are formed from `scores` and have no intervals; a
    note says so. Raises SuiteError if there is no chosen record of the partition, or if records of several
    models or types are mixed.
    """
    chosen = _chosen(scores, partition)
    found = _averages(chosen, averages, partition, "macro")
    rows = _ordered([_row("", m, found, chosen) for m in _methods(found)])
    entity_type, model = chosen[0].entity_type, chosen[0].model
    return Table(
        name="main",
        title=f"Disentanglement on {entity_type} with {model}, mean over attributes, {partition} pairs",
        block_header="",
        columns=_columns(found),
        rows=tuple(_with_best(rows)),
        notes=(*_macro_notes(found), *_notes(found, chosen, partition)),
    )


def attribute_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    partition: Partition = "test",
) -> Table:
    """Return the table of every target attribute, a block of methods each; otherwise as `main_table`."""
    chosen = _chosen(scores, partition)
    found = _averages(chosen, averages, partition, "attribute")
    rows: list[Row] = []
    for attribute in sorted({record.attribute for record in chosen}):
        own = [record for record in found if record.attributes == (attribute,)]
        points = [record for record in chosen if record.attribute == attribute]
        rows += _with_best(
            _ordered([_row(attribute, m, own, points, _generalisations(found)) for m in _methods(own)])
        )
    entity_type, model = chosen[0].entity_type, chosen[0].model
    return Table(
        name="attributes",
        title=f"Disentanglement per attribute of {entity_type} with {model}, {partition} pairs",
        block_header="attribute",
        columns=_columns(found),
        rows=tuple(rows),
        notes=_notes(found, chosen, partition),
    )


def averages_without_outcomes(chosen: Sequence[ScoreRecord]) -> list[AverageRecord]:
    """Average chosen score records over seeds, and over attributes; an interval survives only where nothing
    is averaged."""
    records: list[AverageRecord] = []
    for method in sorted({r.method for r in chosen}):
        for generalisation in GENERALISATIONS:
            own = [r for r in chosen if r.method == method and r.generalisation == generalisation]
            attributes = sorted({r.attribute for r in own})
            parts = [_over_seeds([r for r in own if r.attribute == a]) for a in attributes]
            records += parts
            if parts:
                records.append(_over_attributes(parts))
    return records


def _chosen(scores: Sequence[ScoreRecord], partition: Partition) -> list[ScoreRecord]:
    chosen = [record for record in scores if record.chosen and record.partition == partition]
    if not chosen:
        raise SuiteError(
            expected=f"chosen {partition} records to make a table of",
            came=f"{len(scores)} records, none of which is chosen and of that partition",
            todo="let the run finish first",
        )
    kinds = sorted({f"{record.entity_type} with {record.model}" for record in chosen})
    if len(kinds) > 1:
        raise SuiteError(
            expected="records of one entity type and one model per table",
            came="; ".join(kinds),
            todo="make one table for each",
        )
    return chosen


def _averages(
    chosen: Sequence[ScoreRecord], averages: Sequence[AverageRecord] | None, partition: Partition, scope: str
) -> list[AverageRecord]:
    found = averages_without_outcomes(chosen) if averages is None else averages
    return [record for record in found if record.scope == scope and record.partition == partition]


def _over_seeds(records: Sequence[ScoreRecord]) -> AverageRecord:
    first, alone = records[0], len(records) == 1
    return AverageRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        method=first.method,
        entity_type=first.entity_type,
        model=first.model,
        scope="attribute",
        attributes=(first.attribute,),
        seeds=tuple(sorted(r.seed for r in records)),
        generalisation=first.generalisation,
        partition=first.partition,
        cause=_mean(r.cause for r in records),
        isolate=_mean(r.isolate for r in records),
        disentangle=_mean(r.disentangle for r in records),
        n_cause=first.n_cause,
        n_isolate=first.n_isolate,
        cause_interval=first.cause_interval if alone else None,
        isolate_interval=first.isolate_interval if alone else None,
        disentangle_interval=first.disentangle_interval if alone else None,
    )


def _over_attributes(parts: Sequence[AverageRecord]) -> AverageRecord:
    counted = [part for part in parts if part.disentangle is not None]
    return replace(
        parts[0],
        scope="macro",
        attributes=tuple(attribute for part in counted for attribute in part.attributes),
        seeds=tuple(sorted({seed for part in parts for seed in part.seeds})),
        cause=_mean(part.cause for part in counted),
        isolate=_mean(part.isolate for part in counted),
        disentangle=_mean(part.disentangle for part in counted),
        n_cause=sum(part.n_cause for part in counted),
        n_isolate=sum(part.n_isolate for part in counted),
        cause_interval=None,
        isolate_interval=None,
        disentangle_interval=None,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    defined = [value for value in found if value is not None]
    return math.fsum(defined) / len(defined) if defined and len(defined) == len(found) else None


def _methods(records: Sequence[AverageRecord]) -> list[str]:
    return sorted({record.method for record in records})


def _generalisations(records: Sequence[AverageRecord]) -> list[Generalisation]:
    present = {record.generalisation for record in records}
    return [g for g in GENERALISATIONS if g in present]


def _columns(records: Sequence[AverageRecord]) -> tuple[Column, ...]:
    return tuple(Column(g, score) for g in _generalisations(records) for score in SCORES)


def _row(
    block: str,
    method: str,
    averages: Sequence[AverageRecord],
    points: Sequence[ScoreRecord],
    generalisations: Sequence[Generalisation] | None = None,
) -> Row:
    by_generalisation = {r.generalisation: r for r in averages if r.method == method}
    wanted = _generalisations(averages) if generalisations is None else generalisations
    cells = [_cell(by_generalisation.get(g), score) for g in wanted for score in SCORES]
    detail = _detail([record for record in points if record.method == method])
    return Row(block, method, detail, method in FLOORS, tuple(cells))


def _cell(record: AverageRecord | None, score: str) -> TableCell:
    if record is None:
        return TableCell(None, None, 0)
    counts = {"cause": record.n_cause, "isolate": record.n_isolate}
    value: float | None = getattr(record, score)
    interval: Interval | None = getattr(record, f"{score}_interval")
    below = score == "disentangle" and value is not None and value < NO_OP_DISENTANGLE
    return TableCell(value, interval, counts.get(score, sum(counts.values())), below_no_op=below)


def _detail(points: Sequence[ScoreRecord]) -> str:
    sites = sorted({record.site for record in points})
    sizes = sorted({record.size for record in points})
    if not sizes:
        return ""
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"
    return f"{', '.join(sites)}; size {span}"


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Methods by name, then the floors in their own order."""
    return sorted(rows, key=lambda r: (FLOORS.index(r.label) + 1 if r.floor else 0, r.label))


def _with_best(rows: Sequence[Row]) -> list[Row]:
    contenders = [row for row in rows if not row.floor]
    if len(contenders) < 2:
        return list(rows)
    tops = [_top(cells) for cells in zip(*(row.cells for row in contenders), strict=True)]
    return [row if row.floor else _marked(row, tops) for row in rows]


def _top(cells: Sequence[TableCell]) -> float | None:
    return max((cell.value for cell in cells if cell.value is not None), default=None)


def _marked(row: Row, tops: Sequence[float | None]) -> Row:
    marked = [
        replace(cell, best=cell.value is not None and cell.value == top)
        for cell, top in zip(row.cells, tops, strict=True)
    ]
    return replace(row, cells=tuple(marked))


def _macro_notes(records: Sequence[AverageRecord]) -> tuple[str, ...]:
    groups = sorted({record.attributes for record in records}, key=lambda group: (-len(group), group))
    notes = [f"Mean over {', '.join(groups[0]) or 'no attribute'}."] if groups else []
    for group in groups[1:]:
        rows = [f"{r.method} ({r.generalisation})" for r in records if r.attributes == group]
        notes.append(f"Mean over {', '.join(group) or 'no attribute'} only: {', '.join(rows)}.")
    return tuple(notes)


def _notes(
    records: Sequence[AverageRecord], points: Sequence[ScoreRecord], partition: Partition
) -> tuple[str, ...]:
    sites = sorted({record.site for record in points})
    held_out = "; ".join(f"{g}: held-out {_PLURALS[g]}" for g in _generalisations(records))
    seeds = sorted({seed for record in records for seed in record.seeds})
    return (
        f"Scores on {partition} pairs; site and size were chosen on validation pairs. {held_out}.",
        _interval_note(records),
        f"Sites: {', '.join(sites)}. Seeds: {', '.join(map(str, seeds))}.",
        *_floor_note(records),
        *_below_note(records),
    )


def _interval_note(records: Sequence[AverageRecord]) -> str:
    has = [record.disentangle_interval is not None for record in records if record.disentangle is not None]
    if not any(has):
        return "No intervals: the outcomes they are drawn from were not at hand."
    rest = "" if all(has) else " Where none is given, the outcomes were not at hand."
    return f"In brackets: 95 % cluster bootstrap over entities and templates.{rest}"


def _floor_note(records: Sequence[AverageRecord]) -> list[str]:
    says = {
        "no_op": "no_op swaps nothing",
        "full_vector": "full_vector swaps the whole vector",
        "random_subspace": "random_subspace swaps a random part",
    }
    present = [says[name] for name in FLOORS if name in _methods(records)]
    return [f"Rows set apart learn nothing of the attribute: {', '.join(present)}."] if present else []


def _below_note(records: Sequence[AverageRecord]) -> list[str]:
    below = any(r.disentangle is not None and r.disentangle < NO_OP_DISENTANGLE for r in records)
    return ["†: below 0.5, which is worse than doing nothing."] if below else []
