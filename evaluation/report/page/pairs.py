"""Single pairs with what each chosen cell answered, packed for the page; it judges nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import ScoreRecord
from ravel.common.errors import SuiteError
from ravel.common.io import numbered_lines, read_jsonl
from ravel.common.seeds import evenly_spread, grouped
from ravel.common.strict_json import JsonError, parse_json
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import SOURCE_KINDS, TRAIN_SPLIT, InterchangePair

MOST_PAIRS = 1000
"""Pairs of one split on the page at most."""
_BYTES = 5_500_000
"""What all pairs may take together, so that the page opens on a phone."""
_BYTES_OF_A_PAIR = 500
"""Texts and ids of one pair, generously."""
_NEITHER, _SWAPPED, _UNCHANGED, _BOTH, _UNKNOWN = "n", "s", "u", "b", "."


def browser_of(
    run: RunFolder, instance: Instance, chosen: Sequence[ScoreRecord], attributes: Sequence[str]
) -> dict[str, Any] | None:
    """Return splits, pairs, texts and answers as plain values, or None if no chosen cell has outcomes.

    Texts are kept once and named by their index. The answers of a cell on a split are a string with one
    letter per pair: `s` for the source's answer, `u` for the base's, `n` for neither, `b` for both, `.` where
    the cell was not judged.
    """
    cells = list(dict.fromkeys(record.cell for record in chosen))
    paths = {
        split: {c: path for c in cells if (path := run.cell(c).outcomes(split)).is_file()}
        for split in instance.splits()
        if split != TRAIN_SPLIT
    }
    judged = {split: found for split, found in paths.items() if found}
    if not judged:
        return None
    most = _most_pairs(len(cells), len(judged))
    shown = {split: _thinned(instance.pairs(split), most) for split in judged}
    texts = _Texts()
    return {
        "splits": [
            _split(split, instance, shown[split], found, texts, attributes) for split, found in judged.items()
        ],
        "prompts": [_marked(instance.prompt(prompt_id)) for prompt_id in texts.prompts],
        "labels": list(texts.labels),
        "asked": list(texts.asked),
        "kinds": list(SOURCE_KINDS),
        "cells": [list(cell) for cell in sorted({(r.method, r.attribute, r.seed, r.cell) for r in chosen})],
    }


def _most_pairs(n_cells: int, n_splits: int) -> int:
    return max(1, min(MOST_PAIRS, _BYTES // (n_splits * (n_cells + _BYTES_OF_A_PAIR))))


def _thinned(pairs: Sequence[InterchangePair], most: int) -> list[InterchangePair]:
    """Keep evenly spaced pairs of every attribute and source kind: their order may be a cycle."""
    if len(pairs) <= most:
        return list(pairs)
    groups = grouped(range(len(pairs)), lambda place: (pairs[place].attribute, pairs[place].source_kind))
    share = max(1, most // len(groups))
    kept = [place for own in groups.values() for place in evenly_spread(own, share)]
    return [pairs[position] for position in sorted(kept)]


@dataclass(frozen=True, slots=True)
class _Texts:
    """Ids of prompts, labels and attributes, each with its place among those that were asked for."""

    prompts: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)


def _place(kept: dict[str, int], name: str) -> int:
    return kept.setdefault(name, len(kept))


def _marked(record: PromptRecord) -> list[Any]:
    text, (start, end) = record.prompt.text, record.prompt.span
    return [text, _utf16(text[:start]), _utf16(text[:end])]


def _utf16(text: str) -> int:
    # The page's script counts UTF-16 units, Python characters.
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _split(
    name: str,
    instance: Instance,
    shown: Sequence[InterchangePair],
    paths: Mapping[str, Path],
    texts: _Texts,
    attributes: Sequence[str],
) -> dict[str, Any]:
    return {
        "name": name,
        "total": len(instance.pairs(name)),
        "targets": list(attributes),
        "pairs": [_pair(pair, texts) for pair in shown],
        "answers": {cell: _answers(path, shown) for cell, path in paths.items()},
    }


def _pair(pair: InterchangePair, texts: _Texts) -> list[Any]:
    return [
        pair.pair_id,
        _place(texts.asked, pair.attribute),
        SOURCE_KINDS.index(pair.source_kind),
        _place(texts.prompts, pair.base),
        _place(texts.prompts, pair.source),
        _place(texts.labels, pair.if_swapped),
        _place(texts.labels, pair.if_unchanged),
    ]


def _answers(path: Path, shown: Iterable[InterchangePair]) -> str:
    try:
        said = dict(_said(line) for _, line in numbered_lines(path))
    except (JsonError, SuiteError):
        # Only the plain way knows which line it is.
        said = dict(_answer(row, f"{path}, line {line}") for line, row in read_jsonl(path))
    return "".join(said.get(pair.pair_id, _UNKNOWN) for pair in shown)


@lru_cache(maxsize=1 << 16)
def _said(line: str) -> tuple[str, str]:
    # All cells answer the same pairs: a line that was read before says the same again.
    return _answer(parse_json(line), "a line of outcomes")


def _answer(row: Mapping[str, Any], origin: str) -> tuple[str, str]:
    """Return a pair's id and the letter of its answer. Raises SuiteError for a row that is no outcome."""
    pair_id, swapped, unchanged = (row.get(name) for name in ("pair_id", "said_swapped", "said_unchanged"))
    if isinstance(pair_id, str) and isinstance(swapped, bool) and isinstance(unchanged, bool):
        return pair_id, _letter(row)
    raise SuiteError(
        expected=f"pair_id, said_swapped and said_unchanged of an outcome in {origin}",
        came=f"{pair_id!r}, {swapped!r} and {unchanged!r}",
        todo="remove the file and run the suite again",
    )


def _letter(row: Mapping[str, Any]) -> str:
    swapped, unchanged = bool(row["said_swapped"]), bool(row["said_unchanged"])
    if swapped and unchanged:
        return _BOTH
    return _SWAPPED if swapped else _UNCHANGED if unchanged else _NEITHER
