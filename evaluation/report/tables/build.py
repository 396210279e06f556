"""Records become tables of scores: each is a layout with the blocks it is made of; it formats nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evaluation.records.scores import (
    AverageRecord,
    ComparisonRecord,
    Refusal,
    ScoredKind,
    ScoreRecord,
    is_control,
)
from evaluation.report.tables.marks import with_marks
from evaluation.report.tables.means import averages_without_outcomes
from evaluation.report.tables.model import Column, Row, Table
from evaluation.report.tables.notes import floor_note, macro_notes, mark_notes, refusal_notes, run_notes
from evaluation.report.tables.rows import MEAN, Block, block_rows, score_columns, type_columns
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError
from ravel.terms.schema import SOURCE_KINDS, Partition

_Scope = Literal["macro", "attribute"]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What sets one table of scores apart from the others, beside its blocks."""

    name: str
    """Stem of its files."""
    title: str
    """With places for `subject`, `model` and `partition`, and for what the track calls things."""
    block_header: str = ""
    """Header of the blocks; empty if there are none."""
    scope: _Scope = "macro"
    """The averages that say which columns there are, and that notes are about."""


_MAIN = _Layout("main", "{heading} on {subject}, mean over attributes, {partition} {unit}")
_ATTRIBUTES = _Layout(
    "attributes", "{heading} per attribute of {subject}, {partition} {unit}", "attribute", "attribute"
)
_KINDS = _Layout("kinds", "{heading} per source kind on {subject}, {partition} {unit}", "source kind")
_BALANCED = _Layout(
    "balanced", "Plain and class-balanced disentanglement of {subject}, {partition} pairs", "attribute"
)
_TYPES = _Layout("types", "{criterion} per entity type with {model}, {partition} {unit}")
_MODELS = _Layout("models", "{heading} per model on {entity_type}, {partition} {unit}", "model")
_BALANCED_NOTE = (
    "Balanced: the mean over classes of the expected answer (the model's labels) of the share within "
    "a class, then over templates; a common answer counts no more than a rare one."
)


@dataclass(frozen=True, slots=True)
class ModelScores:
    """The records of a run, as one model's part of a table of several."""

    scores: Sequence[ScoreRecord]
    """All of them."""
    averages: Sequence[AverageRecord] | None = None
    """As `main_table` takes them."""
    comparisons: Sequence[ComparisonRecord] = ()
    """As `main_table` takes them."""
    refusals: Sequence[Refusal] = ()
    """As `main_table` takes them."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What a table is made of, once the records that don't belong are gone."""

    points: Sequence[ScoreRecord]
    """Chosen score records."""
    averages: Sequence[AverageRecord]
    """Their means, of both scopes."""
    refusals: Sequence[Refusal]
    """Where a method had no answer."""
    track: Track[Any]
    """What was asked."""

    def of(self, scope: _Scope) -> list[AverageRecord]:
        """The averages of one scope."""
        return [record for record in self.averages if record.scope == scope]

    def block(self, name: str, attribute: str | None = None) -> Block:
        """The block of one attribute, or of the means over attributes; who was refused has an empty row."""
        if attribute is None:
            return Block(name, self.of("macro"), self.points, {r.method for r in self.refusals})
        return Block(
            name,
            [r for r in self.of("attribute") if r.attributes == (attribute,)],
            [r for r in self.points if r.attribute == attribute],
            {r.method for r in self.refusals if r.attribute == attribute},
        )


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
    chosen = _chosen(scores, averages, partition, refusals)
    notes = macro_notes(chosen.of("macro"))
    return _table(_MAIN, chosen, [chosen.block("")], partition, notes=notes, comparisons=comparisons)


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
    chosen = _chosen(scores, averages, partition, refusals)
    attributes = sorted({r.attribute for r in chosen.points} | {r.attribute for r in refusals})
    return _table(_ATTRIBUTES, chosen, [chosen.block(a, a) for a in attributes], partition)


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
    kinds = _kinds(scores, partition)
    parts = [_chosen(scores, averages, partition, refusals, kind) for kind in kinds]
    chosen = _joined(parts, refusals)
    blocks = [part.block(kind) for kind, part in zip(kinds, parts, strict=True)]
    return _table(_KINDS, chosen, blocks, partition, notes=macro_notes(chosen.of("macro")))


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
    plain = _chosen(scores, averages, "test", refusals)
    parts = (("", plain), (", balanced", _chosen(scores, balanced, "test", refusals)))
    blocks = [
        part.block(f"{attribute or MEAN}{name}", attribute)
        for attribute in (None, *sorted({r.attribute for r in plain.points}))
        for name, part in parts
    ]
    notes = [_BALANCED_NOTE, *macro_notes(plain.of("macro"))]
    return _table(_BALANCED, plain, blocks, "test", notes=notes)


def type_table(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    partition: Partition = "test",
    refusals: Mapping[str, Sequence[Refusal]] | None = None,
) -> Table:
    """Return the table method x generalisation x entity type of the criterion, with the unweighted mean over
    types.

    `scores` (and `averages`) are those of several runs, one per entity type, all on one model; `refusals`
    are by entity type. A method that lacks a type, or an attribute of one, is marked and is never the best.
    Raises SuiteError as `main_table`.
    """
    types = sorted({r.entity_type for r in scores if r.chosen and r.partition == partition})
    parts = [
        _chosen(
            [r for r in scores if r.entity_type == name],
            None if averages is None else [r for r in averages if r.entity_type == name],
            partition,
            (refusals or {}).get(name, ()),
        )
        for name in types
    ]
    points = [point for part in parts for point in part.points]
    _check_subject(points, {r.model for r in points}, partition, len(scores))
    chosen = _joined(parts, [refusal for part in parts for refusal in part.refusals])
    macro = chosen.of("macro")
    notes = [f"Mean over types: unweighted, over {', '.join(types)}; it has no interval."]
    for name, part in zip(types, parts, strict=True):
        notes += [f"{name}: {note}" for note in macro_notes(part.of("macro"))]
    columns = type_columns(macro, types, chosen.track)
    return _table(_TYPES, chosen, [Block("", macro, chosen.points)], partition, notes=notes, columns=columns)


def model_table(runs: Sequence[ModelScores], *, partition: Partition = "test") -> Table:
    """Return the table method x generalisation x score with a block per model, each from a run of its own.

    Nothing is averaged over models, and rows are marked against those of their own block. Raises SuiteError
    if two runs are of one model or of several entity types or tracks, otherwise as `main_table`.
    """
    parts = [_chosen(run.scores, run.averages, partition, run.refusals) for run in runs]
    models = [part.points[0].model for part in parts]
    if double := sorted({name for name in models if models.count(name) > 1}):
        raise SuiteError(
            expected="one run per model",
            came=f"several runs of {', '.join(double)}",
            todo="leave all but one out, or tell them apart with --model-label, once per run",
        )
    points = [point for part in parts for point in part.points]
    _check_subject(points, {record.entity_type for record in points}, partition, len(points))
    chosen = _joined(parts, [refusal for run in runs for refusal in run.refusals])
    notes = [
        f"{m}: {note}" for m, p in zip(models, parts, strict=True) for note in macro_notes(p.of("macro"))
    ]
    blocks = [part.block(name) for name, part in zip(models, parts, strict=True)]
    return _table(
        _MODELS, chosen, blocks, partition, notes=notes, comparisons=[c for r in runs for c in r.comparisons]
    )


def _table(
    layout: _Layout,
    chosen: _Chosen,
    blocks: Sequence[Block],
    partition: Partition,
    *,
    notes: Sequence[str] = (),
    columns: Sequence[Column] = (),
    comparisons: Sequence[ComparisonRecord] | None = None,
) -> Table:
    """Return a table of these blocks: with `notes` before those that every table has, columns of the scores
    unless others are given, and marks of difference if there are `comparisons`, be they empty."""
    first, averages, track = chosen.points[0], chosen.of(layout.scope), chosen.track
    columns = columns or score_columns(averages, first.entity_type, track)
    rows: list[Row] = []
    for block in blocks:
        own = block_rows(block, columns, track)
        if comparisons is not None:
            own = with_marks(own, columns, _of_models(comparisons, block), partition, track)
        rows += own
    words = {"heading": track.heading, "unit": track.unit, "criterion": track.criterion.capitalize()}
    subject = f"{first.entity_type} with {first.model}"
    return Table(
        name=layout.name,
        title=layout.title.format(
            subject=subject, model=first.model, entity_type=first.entity_type, partition=partition, **words
        ),
        block_header=layout.block_header,
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            *mark_notes(rows, track, compared=any(c.partition == partition for c in comparisons or ())),
            *notes,
            *run_notes(chosen.points, averages, partition, track),
            *floor_note({record.method for record in averages}, track),
            *refusal_notes(chosen.refusals),
        ),
        unit=track.unit,
    )


def _of_models(comparisons: Sequence[ComparisonRecord], block: Block) -> list[ComparisonRecord]:
    """Return the comparisons of a block's own model, for a table may have several."""
    models = {record.model for record in block.averages}
    return [record for record in comparisons if record.model in models]


def _chosen(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None,
    partition: Partition,
    refusals: Sequence[Refusal],
    kind: ScoredKind = "all",
) -> _Chosen:
    points = [r for r in scores if r.chosen and r.partition == partition and r.source_kind == kind]
    subjects = {f"{record.entity_type} with {record.model}" for record in points}
    _check_subject(points, subjects, partition, len(scores))
    track = TRACKS.get(points[0].track)
    if averages is None or not any(r.source_kind == kind for r in averages):
        averages = averages_without_outcomes(points, track.criterion)
    kept = [r for r in averages if (r.partition, r.source_kind) == (partition, kind)]
    return _Chosen(points, kept, refusals, track)


def _joined(parts: Sequence[_Chosen], refusals: Sequence[Refusal]) -> _Chosen:
    points = [point for part in parts for point in part.points]
    averages = [average for part in parts for average in part.averages]
    return _Chosen(points, averages, refusals, parts[0].track)


def _check_subject(
    points: Sequence[ScoreRecord], subjects: set[str], partition: Partition, total: int
) -> None:
    if not points:
        raise SuiteError(
            expected=f"chosen {partition} records to make a table of",
            came=f"{total} records, none of which is chosen and of that partition",
            todo="let the run finish first",
        )
    tracks = sorted({record.track for record in points})
    if len(tracks) > 1:
        raise SuiteError(
            expected="records of one track per table", came=", ".join(tracks), todo="make one table for each"
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
