"""Records become tables: which rows and columns there are, what is best, what is a floor; it formats
nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evaluation.records.scores import (
    FLOORS,
    NO_OP_DISENTANGLE,
    AverageRecord,
    ComparisonRecord,
    Interval,
    Refusal,
    ScoredKind,
    ScoreRecord,
    is_control,
    set_apart,
)
from evaluation.report.tables.marks import with_marks
from evaluation.report.tables.means import averages_without_outcomes, mean
from evaluation.report.tables.model import Column, Row, Table, TableCell
from evaluation.report.tables.notes import (
    floor_note,
    macro_notes,
    mark_notes,
    refusal_notes,
    run_notes,
    sites_text,
)
from ravel.common.errors import SuiteError
from ravel.terms.schema import GENERALISATIONS, SOURCE_KINDS, Generalisation, Partition

__all__ = [
    "SCORES",
    "attribute_table",
    "averages_without_outcomes",
    "balanced_table",
    "detail_of",
    "kind_table",
    "main_table",
    "ordered_methods",
    "type_table",
]

SCORES = ("cause", "isolate", "disentangle")
_MEAN = "mean"


@dataclass(frozen=True, slots=True)
class _Found:
    """What a table is made of, once the records that don't belong are gone."""

    points: list[ScoreRecord]
    """Chosen score records."""
    averages: list[AverageRecord]
    """Their means."""
    refusals: Sequence[Refusal]
    """Where a method had no answer."""

    def generalisations(self) -> list[Generalisation]:
        """The generalisations of the table, in their fixed order."""
        present = {record.generalisation for record in self.averages}
        return [g for g in GENERALISATIONS if g in present]

    def subject(self) -> str:
        """Entity type and model, as titles say them."""
        return f"{self.points[0].entity_type} with {self.points[0].model}"


def main_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    partition: Partition = "test",
    comparisons: Sequence[ComparisonRecord] = (),
    refusals: Sequence[Refusal] = (),
) -> Table:
    """Return the table method x generalisation x score, averaged over target attributes (macro).

    Without `averages` (they need the outcomes) the means are formed from `scores` and have no intervals; a
    note says so. With `comparisons` each row says whether it differs from the best row and from no_op.
    `refusals` say why a method's mean is over fewer attributes; such a mean is marked and is never the best.
    Records of a single source kind are passed over. Raises SuiteError if there is no chosen record of the
    partition, or if records of several models or types are mixed.
    """
    found = _found(scores, averages, partition, "macro", refusals)
    rows = _with_best(_rows("", found, found.averages, _refused_everywhere(found)))
    return Table(
        name="main",
        title=f"Disentanglement on {found.subject()}, mean over attributes, {partition} pairs",
        block_header="",
        columns=_columns(found),
        rows=tuple(with_marks(rows, _columns(found), comparisons, partition)),
        notes=_notes(found, partition, rows, comparisons, macro=True),
    )


def attribute_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    partition: Partition = "test",
    refusals: Sequence[Refusal] = (),
) -> Table:
    """Return the table of every target attribute, a block of methods each; otherwise as `main_table`.

    A method that was refused for an attribute has an empty row there. There are no marks of difference, for
    comparisons are made of means over attributes.
    """
    found = _found(scores, averages, partition, "attribute", refusals)
    rows: list[Row] = []
    for attribute in sorted({r.attribute for r in found.points} | {r.attribute for r in refusals}):
        own = [record for record in found.averages if record.attributes == (attribute,)]
        refused = {r.method for r in refusals if r.attribute == attribute}
        rows += _with_best(_rows(attribute, found, own, refused, attribute))
    return Table(
        name="attributes",
        title=f"Disentanglement per attribute of {found.subject()}, {partition} pairs",
        block_header="attribute",
        columns=_columns(found),
        rows=tuple(rows),
        notes=_notes(found, partition, rows, ()),
    )


def kind_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    partition: Partition = "test",
    refusals: Sequence[Refusal] = (),
) -> Table:
    """Return the table of every source kind, a block of methods each, averaged over target attributes.

    Raises SuiteError if no chosen record of the partition is of a single kind; otherwise as `main_table`.
    """
    rows: list[Row] = []
    parts: list[_Found] = []
    for kind in _kinds(scores, partition):
        part = _found(scores, averages, partition, "macro", refusals, kind)
        parts.append(part)
        rows += _with_best(_rows(kind, part, part.averages, _refused_everywhere(part)))
    found = _Found(
        [point for part in parts for point in part.points],
        [average for part in parts for average in part.averages],
        refusals,
    )
    return Table(
        name="kinds",
        title=f"Disentanglement per source kind on {found.subject()}, {partition} pairs",
        block_header="source kind",
        columns=_columns(found),
        rows=tuple(_aligned(rows, parts, found)),
        notes=_notes(found, partition, rows, (), macro=True),
    )


def balanced_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None,
    balanced: Sequence[AverageRecord],
    *,
    refusals: Sequence[Refusal] = (),
) -> Table:
    """Return the table of plain and class-balanced scores: a block each for the mean over attributes, then
    for every attribute.

    `balanced` are the records of `balanced.jsonl`, on test pairs. Raises SuiteError if there are none;
    otherwise as `main_table`.
    """
    if not balanced:
        raise SuiteError(
            expected="balanced scores to make a table of",
            came="none: they need the run's instance and the outcomes of its chosen points on test pairs",
            todo="give a finished run's whole folder, with instance/ and cells/",
        )
    # Controls are held against their floors elsewhere, and there is nothing balanced to see beside them.
    averages = None if averages is None else [r for r in averages if not is_control(r.method)]
    refusals = [refusal for refusal in refusals if not is_control(refusal.method)]
    plain = _found(scores, averages, "test", "macro", refusals)
    rows: list[Row] = []
    for attribute in (None, *sorted({r.attribute for r in plain.points})):
        scope = "macro" if attribute is None else "attribute"
        refused = {r.method for r in refusals if attribute in (None, r.attribute)}
        for name, known in (("", averages), (", balanced", balanced)):
            part = _found(scores, known, "test", scope, refusals)
            own = [r for r in part.averages if attribute is None or r.attributes == (attribute,)]
            absent = refused - set(_methods(own)) if attribute is None else refused
            block = f"{attribute or _MEAN}{name}"
            rows += _with_best(_rows(block, plain, own, absent, attribute))
    return Table(
        name="balanced",
        title=f"Plain and class-balanced disentanglement of {plain.subject()}, test pairs",
        block_header="attribute",
        columns=_columns(plain),
        rows=tuple(rows),
        notes=(
            "Balanced: the mean over classes of the expected answer (the model's labels) of the share within "
            "a class, then over templates; a common answer counts no more than a rare one.",
            *_notes(plain, "test", rows, (), macro=True),
        ),
    )


def type_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    partition: Partition = "test",
    refusals: Mapping[str, Sequence[Refusal]] | None = None,
) -> Table:
    """Return the table method x generalisation x entity type of disentangle, with the unweighted mean over
    types.

    `scores` (and `averages`) are those of several runs, one per entity type, all on one model; `refusals`
    are by entity type. A method that lacks a type, or an attribute of one, is marked and is never the best.
    Raises SuiteError as `main_table`.
    """
    types = sorted({r.entity_type for r in scores if r.chosen and r.partition == partition})
    parts = {
        t: _found(
            [r for r in scores if r.entity_type == t],
            None if averages is None else [r for r in averages if r.entity_type == t],
            partition,
            "macro",
            () if refusals is None else refusals.get(t, ()),
        )
        for t in types
    }
    found = _Found(
        [point for part in parts.values() for point in part.points],
        [average for part in parts.values() for average in part.averages],
        tuple(refusal for part in parts.values() for refusal in part.refusals),
    )
    _check_mixed(found.points, {r.model for r in found.points}, partition, len(scores))
    rows = _with_best([_type_row(m, parts, found) for m in ordered_methods(_methods(found.averages))])
    return Table(
        name="types",
        title=f"Disentangle per entity type with {found.points[0].model}, {partition} pairs",
        block_header="",
        columns=_type_columns(found, types),
        rows=tuple(rows),
        notes=(
            f"Mean over types: unweighted, over {', '.join(types)}; it has no interval.",
            *(note for t, part in parts.items() for note in _of_type(t, macro_notes(part.averages))),
            *_notes(found, partition, rows, ()),
        ),
    )


def _of_type(entity_type: str, notes: Sequence[str]) -> list[str]:
    return [f"{entity_type}: {note}" for note in notes]


def _found(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None,
    partition: Partition,
    scope: str,
    refusals: Sequence[Refusal],
    kind: ScoredKind = "all",
) -> _Found:
    points = [r for r in scores if r.chosen and r.partition == partition and r.source_kind == kind]
    subjects = {f"{record.entity_type} with {record.model}" for record in points}
    _check_mixed(points, subjects, partition, len(scores))
    known = averages
    if averages is None or not any(r.source_kind == kind for r in averages):
        known = averages_without_outcomes(points)
    assert known is not None
    kept = [r for r in known if (r.scope, r.partition, r.source_kind) == (scope, partition, kind)]
    return _Found(points, kept, refusals)


def _check_mixed(points: Sequence[ScoreRecord], subjects: set[str], partition: Partition, total: int) -> None:
    if not points:
        raise SuiteError(
            expected=f"chosen {partition} records to make a table of",
            came=f"{total} records, none of which is chosen and of that partition",
            todo="let the run finish first",
        )
    if len(subjects) > 1:
        raise SuiteError(
            expected="records of one entity type and one model per table",
            came="; ".join(sorted(subjects)),
            todo="make one table for each",
        )


def _kinds(scores: Sequence[ScoreRecord], partition: Partition) -> list[ScoredKind]:
    present = {r.source_kind for r in scores if r.chosen and r.partition == partition}
    kinds: list[ScoredKind] = [kind for kind in SOURCE_KINDS if kind in present]
    if not kinds:
        raise SuiteError(
            expected=f"chosen {partition} records of single source kinds to make a table of",
            came=f"{len(scores)} records, none of which is of one kind",
            todo="use a run whose chosen points were scored by source kind; only test pairs are",
        )
    return kinds


def _refused_everywhere(found: _Found) -> set[str]:
    """Methods without a single score: they have a row all the same, an empty one."""
    return {r.method for r in found.refusals} - set(_methods(found.averages))


def _methods(records: Sequence[AverageRecord]) -> list[str]:
    return sorted({record.method for record in records})


def _columns(found: _Found) -> tuple[Column, ...]:
    entity_type = found.points[0].entity_type
    return tuple(Column(g, score, score, entity_type) for g in found.generalisations() for score in SCORES)


def _rows(
    block: str,
    found: _Found,
    averages: Sequence[AverageRecord],
    refused: set[str],
    attribute: str | None = None,
) -> list[Row]:
    """Return the rows of a block: methods by name, then the floors in their own order."""
    points = [r for r in found.points if attribute is None or r.attribute == attribute]
    rows = []
    for method in ordered_methods({*_methods(averages), *refused}):
        own = {r.generalisation: r for r in averages if r.method == method}
        cells = [
            _cell(own.get(g), score, _all_attributes(averages, g))
            for g in found.generalisations()
            for score in SCORES
        ]
        detail = detail_of([record for record in points if record.method == method])
        rows.append(Row(block, method, detail, set_apart(method), tuple(cells)))
    return rows


def ordered_methods(methods: Sequence[str] | set[str]) -> list[str]:
    """Return methods by name, then the floors in their own order, then the controls by name."""
    return sorted(methods, key=_place)


def _place(method: str) -> tuple[int, str]:
    if is_control(method):
        return len(FLOORS) + 1, method
    return FLOORS.index(method) + 1 if method in FLOORS else 0, method


def _all_attributes(averages: Sequence[AverageRecord], generalisation: Generalisation) -> set[str]:
    return {a for r in averages if r.generalisation == generalisation for a in r.attributes}


def _cell(record: AverageRecord | None, score: str, attributes: set[str]) -> TableCell:
    if record is None:
        return TableCell(None, None, 0)
    counts = {"cause": record.n_cause, "isolate": record.n_isolate}
    value: float | None = getattr(record, score)
    interval: Interval | None = getattr(record, f"{score}_interval")
    return TableCell(
        value,
        interval,
        counts.get(score, sum(counts.values())),
        below_no_op=score == "disentangle" and value is not None and value < NO_OP_DISENTANGLE,
        fewer=value is not None and set(record.attributes) != attributes,
    )


def detail_of(points: Sequence[ScoreRecord]) -> str:
    """Return the sites and sizes of chosen points as text; empty if there are none."""
    sizes = sorted({record.size for record in points})
    if not sizes:
        return ""
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"
    return f"{sites_text({record.site for record in points})}; size {span}"


def _aligned(rows: Sequence[Row], parts: Sequence[_Found], found: _Found) -> list[Row]:
    """Give every row a cell per column of the table, for a kind may lack a generalisation."""
    at = {kind: part.generalisations() for part in parts for kind in {p.source_kind for p in part.points}}
    aligned = []
    for row in rows:
        own = iter(row.cells)
        have = next(found_there for kind, found_there in at.items() if kind == row.block)
        cells = [
            next(own) if g in have else TableCell(None, None, 0)
            for g in found.generalisations()
            for _ in SCORES
        ]
        aligned.append(replace(row, cells=tuple(cells)))
    return aligned


def _type_columns(found: _Found, types: Sequence[str]) -> tuple[Column, ...]:
    columns = []
    for generalisation in found.generalisations():
        columns += [Column(generalisation, t, "disentangle", t) for t in types]
        columns.append(Column(generalisation, _MEAN, "disentangle", ""))
    return tuple(columns)


def _type_row(method: str, parts: Mapping[str, _Found], found: _Found) -> Row:
    cells: list[TableCell] = []
    for generalisation in found.generalisations():
        group = [_type_cell(method, generalisation, part) for part in parts.values()]
        cells += [*group, _mean_cell(group)]
    detail = detail_of([record for record in found.points if record.method == method])
    return Row("", method, detail, set_apart(method), tuple(cells))


def _type_cell(method: str, generalisation: Generalisation, part: _Found) -> TableCell:
    own = (r for r in part.averages if (r.method, r.generalisation) == (method, generalisation))
    return _cell(next(own, None), "disentangle", _all_attributes(part.averages, generalisation))


def _mean_cell(group: Sequence[TableCell]) -> TableCell:
    known = [cell for cell in group if cell.value is not None]
    value = mean(cell.value for cell in known)
    return TableCell(
        value,
        None,
        sum(cell.n for cell in known),
        below_no_op=value is not None and value < NO_OP_DISENTANGLE,
        fewer=value is not None and (len(known) < len(group) or any(cell.fewer for cell in known)),
    )


def _with_best(rows: Sequence[Row]) -> list[Row]:
    contenders = [row for row in rows if not row.floor and any(c.value is not None for c in row.cells)]
    if len(contenders) < 2:
        return list(rows)
    tops = [_top(cells) for cells in zip(*(row.cells for row in contenders), strict=True)]
    return [row if row.floor else _best_marked(row, tops) for row in rows]


def _top(cells: Sequence[TableCell]) -> float | None:
    return max((c.value for c in cells if c.value is not None and not c.fewer), default=None)


def _best_marked(row: Row, tops: Sequence[float | None]) -> Row:
    marked = [
        replace(cell, best=cell.value is not None and cell.value == top and not cell.fewer)
        for cell, top in zip(row.cells, tops, strict=True)
    ]
    return replace(row, cells=tuple(marked))


def _notes(
    found: _Found,
    partition: Partition,
    rows: Sequence[Row],
    comparisons: Sequence[ComparisonRecord],
    *,
    macro: bool = False,
) -> tuple[str, ...]:
    return (
        *(macro_notes(found.averages) if macro else ()),
        *run_notes(found.points, found.averages, partition),
        *floor_note(_methods(found.averages)),
        *mark_notes(rows, compared=any(c.partition == partition for c in comparisons)),
        *refusal_notes(found.refusals),
    )
