"""Makes an instance of pairs in the release's format: every prompt is answered again by the target model.

The format has labels as text only, without attributes, positions or tokens; and labels belong to one model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from ravel.asking.answerer import Answerer, complete_in_chunks
from ravel.asking.labelling import Cell, Labeller, cell_of, unanswered, with_position
from ravel.asking.labels import distinct_within
from ravel.common.errors import SuiteError, one_of
from ravel.common.progress import Progress, silent
from ravel.facts.tables import Tables
from ravel.instance import ALL_SPLITS, Instance
from ravel.instance.release_pairs import ReleasePair, import_release_pairs
from ravel.instance.rows import PromptRecord, pair_of, prompt_ids, source_kind_of
from ravel.terms.schema import InterchangePair

T = TypeVar("T")


def instance_from_release_pairs(
    files: Mapping[str, Path],
    tables: Tables,
    answerer: Answerer,
    *,
    label_tokens: int = 3,
    max_new_tokens: int = 8,
    progress: Progress | None = None,
) -> Instance:
    """Make an instance of one file per split, in the release's format, for the model that answers here.

    `tables` give each template its attribute; partitions are taken from `files`, not from the tables. A
    pair is left out, and counted in the manifest by reason, where an entity has no last token of its own,
    an answer has no label, the model's answers do not differ within `label_tokens` tokens, or an answer is
    not the file's label (blanks aside): the file is then another model's.

    Raises SuiteError for an unknown split, template or entity (with the file), or if no pair is left.
    """
    for split in files:
        one_of("split", split, ALL_SPLITS)
    cells = _Cells(tables)
    rows = {
        split: [_row(cells, pair, path) for pair in import_release_pairs(path)]
        for split, path in files.items()
    }
    report = progress if progress is not None else silent
    records = _answer(cells.all(), tables, answerer, max_new_tokens=max_new_tokens, progress=report)
    dropped: Counter[str] = Counter()
    pairs = {split: _pairs(split, found, records, label_tokens, dropped) for split, found in rows.items()}
    if not any(pairs.values()):
        raise SuiteError(
            expected="pairs whose labels are this model's answers",
            came=f"none left of {sum(map(len, rows.values()))}: {_reasons(dropped)}",
            todo="use the model that the pairs were made for, or build an instance for this one",
        )
    used = prompt_ids(chain.from_iterable(pairs.values()))
    return Instance.from_parts(
        entity_type=tables.entity_type.name,
        model_name=answerer.name,
        model_fingerprint=answerer.fingerprint,
        instrument=answerer.instrument,
        prompts=[record for record in records.values() if record.prompt_id in used],
        pairs=pairs,
        attribute_order=[attribute.name for attribute in tables.entity_type.attributes],
        config={"imported": sorted(files), "label_tokens": label_tokens, "max_new_tokens": max_new_tokens},
        counts={
            "pairs_in_files": {k: len(v) for k, v in rows.items()},
            "pairs_left_out": dict(sorted(dropped.items())),
        },
    )


def _reasons(dropped: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items())) or "the files are empty"
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a file with its three prompts."""

    stated: ReleasePair
    base: Cell
    source: Cell
    swapped: Cell


class _Cells:
    """Filled templates, each once, found by the texts that a file names."""

    def __init__(self, tables: Tables) -> None:
        self._templates = {t.text: (row, t) for row, t in reversed(list(enumerate(tables.templates)))}
        self._entities = {facts.entity: (column, facts) for column, facts in enumerate(tables.entities)}
        self._cells: dict[str, Cell] = {}

    def get(self, template: str, entity: str, path: Path) -> Cell:
        """Return the cell. Raises SuiteError naming `path` if the tables have no such template or entity."""
        row, found = _known(template, self._templates, f"template in {path}")
        column, facts = _known(entity, self._entities, f"entity in {path}")
        cell = cell_of(row, found, column, facts)
        return self._cells.setdefault(cell.prompt_id, cell)

    def all(self) -> list[Cell]:
        """Return every cell asked for so far, in the order of ids."""
        return [self._cells[prompt_id] for prompt_id in sorted(self._cells)]


def _known(name: str, known: Mapping[str, T], kind: str) -> T:
    one_of(kind, name, known)
    return known[name]


def _row(cells: _Cells, stated: ReleasePair, path: Path) -> _Row:
    return _Row(
        stated,
        base=cells.get(stated.split, stated.entity, path),
        source=cells.get(stated.source_split, stated.source_entity, path),
        swapped=cells.get(stated.split, stated.source_entity, path),
    )


def _answer(
    cells: Sequence[Cell], tables: Tables, answerer: Answerer, *, max_new_tokens: int, progress: Progress
) -> dict[str, PromptRecord]:
    """Return the prompts that have a position and, where something is asked, a label."""
    placed = with_position(cells, answerer, progress=progress, stage="positions")
    asking = [cell for cell in placed if cell.template.attribute is not None]
    answers = complete_in_chunks(
        (cell.prompt for cell in asking),
        len(asking),
        answerer,
        max_new_tokens=max_new_tokens,
        progress=progress,
        stage="answers",
    )
    labeller = Labeller(tables.entity_type, answerer)
    said = dict(zip((cell.prompt_id for cell in asking), answers, strict=True))
    records = {}
    for cell in placed:
        answer = said.get(cell.prompt_id)
        record = unanswered(cell) if answer is None else labeller.record(cell, answer, correct=None)
        if record is not None:
            records[cell.prompt_id] = record
    return records


def _pairs(
    split: str,
    rows: Sequence[_Row],
    records: Mapping[str, PromptRecord],
    label_tokens: int,
    dropped: Counter[str],
) -> list[InterchangePair]:
    pairs = []
    for number, row in enumerate(rows):
        if (reason := _reason_against(row, records, label_tokens)) is None:
            pairs.append(_pair(f"{split}-{number:06d}", row, records))
        else:
            dropped[reason] += 1
    return pairs


def _reason_against(row: _Row, records: Mapping[str, PromptRecord], label_tokens: int) -> str | None:
    if row.base.template.attribute is None:
        return "base asks for nothing"
    if row.base.facts.entity == row.source.facts.entity:
        return "one entity"
    if any(cell.prompt_id not in records for cell in (row.base, row.source, row.swapped)):
        return "no label or position"
    base, swapped = records[row.base.prompt_id], records[row.swapped.prompt_id]
    if not distinct_within(base.label_ids, swapped.label_ids, label_tokens) or base.label == swapped.label:
        return "equal labels"
    said, stated = (base.label, swapped.label), (row.stated.label, row.stated.inv_label)
    if any(a.strip() != b.strip() for a, b in zip(said, stated, strict=True)):
        return "another answer"
    return None


def _pair(pair_id: str, row: _Row, records: Mapping[str, PromptRecord]) -> InterchangePair:
    return pair_of(
        pair_id,
        base=records[row.base.prompt_id],
        source=row.source.prompt_id,
        source_entity=row.source.facts.entity,
        swapped=records[row.swapped.prompt_id],
        source_kind=source_kind_of(row.base.template.attribute or "", row.source.template.attribute),
    )
