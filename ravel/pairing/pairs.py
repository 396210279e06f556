"""Draws interchange pairs from prompts that have labels; it knows no model, no partitions and no files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ravel.asking.labels import distinct_within
from ravel.common.seeds import grouped, numpy_stream
from ravel.instance.rows import PromptRecord, pair_of
from ravel.terms.mentions import same_text
from ravel.terms.schema import SOURCE_KINDS, InterchangePair, SourceKind

Sources = Mapping[SourceKind, Mapping[str, Sequence[str]]]
"""For each source kind and entity, the ids of the prompts that may bring this entity in."""


@dataclass(frozen=True, slots=True)
class Question:
    """One base template with all its prompts in a split: every entity once, in the order of the data."""

    template: str
    """The template's text."""
    records: tuple[PromptRecord, ...]
    """Its prompts; each can be a base, and the answer of a swap."""


@dataclass(frozen=True, slots=True)
class DrawRules:
    """How pairs are drawn."""

    total: int
    """Pairs wanted for one attribute in one split."""
    shares: Mapping[SourceKind, float]
    """Relative weight of each source kind; a kind of weight 0 is not drawn."""
    smoothing: float
    """A swapped label that `n` entities share is drawn with weight n / (smoothing + n)."""
    label_tokens: int
    """Both labels must differ within this many tokens."""


def draw_pairs(
    questions: Sequence[Question],
    sources: Sources,
    rules: DrawRules,
    *,
    seed: int,
    split: str,
    attribute: str,
    barred: Mapping[str, Collection[str]] | None = None,
) -> list[InterchangePair]:
    """Draw the pairs of one attribute in one split, in the order they were drawn; `pair_id` is left empty.

    Templates take turns, so they get equal numbers as long as they last; within a template the kinds follow
    their shares and the base entities take turns. The source entity is drawn with weight 1 / (smoothing +
    count), where count is how many entities have its label under this template: labels come up about
    equally often, however many entities share them (the weighting of RAVEL's samplers, arXiv 2402.17700,
    code). Its prompt is then drawn evenly.

    Only pairs with another entity and a label that differs within `label_tokens` tokens are candidates; a
    name in another case is no other entity. `barred` gives, for a base entity, source prompts that it must
    not meet, as those that speak of it. The reference draws with replacement and filters afterwards, which
    gives doubles and uneven counts; here candidates are filtered first and none is drawn twice. Where a kind
    runs out, the others take its place; fewer than `total` pairs come back only if there are no more.
    """
    stream = numpy_stream(seed, "pairs", split, attribute)
    drawers = [
        _Drawer(question, sources, rules, stream, barred if barred is not None else {})
        for question in questions
    ]
    drawers = [drawers[index] for index in _shuffled(len(drawers), stream)]
    pairs: list[InterchangePair] = []
    while drawers and len(pairs) < rules.total:
        exhausted = set()
        for turn, drawer in enumerate(drawers[: rules.total - len(pairs)]):
            if (pair := drawer.draw()) is None:
                exhausted.add(turn)
            else:
                pairs.append(pair)
        drawers = [drawer for turn, drawer in enumerate(drawers) if turn not in exhausted]
    return pairs


def interleave(groups: Sequence[Sequence[InterchangePair]], *, split: str) -> tuple[InterchangePair, ...]:
    """Merge the attributes' pairs in turns and number them, so that any beginning of a split is balanced."""
    merged = [pair for turn in zip_longest(*groups) for pair in turn if pair is not None]
    return tuple(replace(pair, pair_id=f"{split}-{number:06d}") for number, pair in enumerate(merged))


class _Drawer:
    """The candidates of one base template, and which of them are still there."""

    def __init__(
        self,
        question: Question,
        sources: Sources,
        rules: DrawRules,
        stream: np.random.Generator,
        barred: Mapping[str, Collection[str]],
    ) -> None:
        self._question = question
        self._stream = stream
        self._shares = {kind: rules.shares[kind] for kind in SOURCE_KINDS if rules.shares.get(kind, 0) > 0}
        self._drawn = dict.fromkeys(self._shares, 0)
        self._classes, self._distinct = _label_classes(question.records, rules.label_tokens)
        self._weights = _balancing_weights(question.records, rules.smoothing)
        self._remaining = {kind: _Remaining(question, sources.get(kind, {}), barred) for kind in self._shares}
        self._one_name = _one_name(question.records)
        self._queue = _shuffled(len(question.records), stream)
        self._turn = 0

    def draw(self) -> InterchangePair | None:
        """Return a pair not returned before, or None if there is none left."""
        while self._shares:
            kind = min(self._shares, key=lambda name: (self._drawn[name] + 1) / self._shares[name])
            if (pair := self._draw_kind(kind)) is not None:
                self._drawn[kind] += 1
                return pair
            del self._shares[kind]
        return None

    def _draw_kind(self, kind: SourceKind) -> InterchangePair | None:
        for _ in self._queue:
            base = self._queue[self._turn % len(self._queue)]
            self._turn += 1
            if (source := self._draw_source(base, kind)) is not None:
                prompt_id = self._remaining[kind].take(base, source, self._stream)
                return self._pair(kind, base, source, prompt_id)
        return None

    def _draw_source(self, base: int, kind: SourceKind) -> int | None:
        allowed = self._distinct[self._classes[base]][self._classes]
        weights = self._weights * allowed * self._remaining[kind].open_to(base)
        weights[self._one_name[base]] = 0.0
        bounds = np.cumsum(weights)
        if not bounds.size or bounds[-1] == 0.0:
            return None
        drawn = int(np.searchsorted(bounds, self._stream.random() * bounds[-1], side="right"))
        # Rounding may land on the upper bound itself; the last candidate of positive weight owns it.
        return min(drawn, int(np.flatnonzero(weights)[-1]))

    def _pair(self, kind: SourceKind, base: int, source: int, prompt_id: str) -> InterchangePair:
        unchanged, swapped = self._question.records[base], self._question.records[source]
        return pair_of(
            "",
            base=unchanged,
            source=prompt_id,
            source_entity=swapped.prompt.entity,
            swapped=swapped,
            source_kind=kind,
        )


class _Remaining:
    """The source prompts of one kind that a base has not been paired with yet."""

    def __init__(
        self,
        question: Question,
        sources: Mapping[str, Sequence[str]],
        barred: Mapping[str, Collection[str]],
    ) -> None:
        self._sources = [tuple(sources.get(record.prompt.entity, ())) for record in question.records]
        self._any = np.array([bool(ids) for ids in self._sources], dtype=np.bool_)
        self._left: dict[tuple[int, int], list[str]] = {}
        self._barred = [frozenset(barred.get(record.prompt.entity, ())) for record in question.records]
        self._closed: dict[int, list[int]] = {
            base: [source for source in range(len(self._sources)) if not self._fit(base, source)]
            for base, ids in enumerate(self._barred)
            if ids
        }

    def open_to(self, base: int) -> NDArray[np.bool_]:
        """Return which source entities still have a prompt for this base, [n_entities]."""
        if base not in self._closed:
            return self._any
        still = self._any.copy()
        still[self._closed[base]] = False
        return still

    def take(self, base: int, source: int, stream: np.random.Generator) -> str:
        """Draw one of the prompts evenly and cross it off."""
        left = self._left.setdefault((base, source), self._fit(base, source))
        prompt_id = left.pop(int(stream.random() * len(left)))
        if not left:
            self._closed.setdefault(base, []).append(source)
        return prompt_id

    def _fit(self, base: int, source: int) -> list[str]:
        return [prompt_id for prompt_id in self._sources[source] if prompt_id not in self._barred[base]]


def _one_name(records: Sequence[PromptRecord]) -> list[list[int]]:
    """Return, for each record, which records have its entity, in whatever case; itself among them."""
    names = [same_text(record.prompt.entity) for record in records]
    groups = grouped(range(len(names)), names.__getitem__)
    return [groups[name] for name in names]


def _label_classes(
    records: Sequence[PromptRecord], label_tokens: int
) -> tuple[NDArray[np.int_], NDArray[np.bool_]]:
    """Number the distinct labels, and say which of them differ: [n_records] and [n_labels, n_labels]."""
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}
    classes = [
        numbers.setdefault((record.label, record.label_ids[:label_tokens]), len(numbers))
        for record in records
    ]
    labels = list(numbers)
    distinct = [[a[0] != b[0] and distinct_within(a[1], b[1], label_tokens) for b in labels] for a in labels]
    shape = (len(labels), len(labels))
    return np.array(classes, dtype=np.int_), np.array(distinct, dtype=np.bool_).reshape(shape)


def _balancing_weights(records: Sequence[PromptRecord], smoothing: float) -> NDArray[np.float64]:
    counts: dict[str, int] = {}
    for record in records:
        counts[record.label] = counts.get(record.label, 0) + 1
    return np.array([1.0 / (smoothing + counts[record.label]) for record in records], dtype=np.float64)


def _shuffled(count: int, stream: np.random.Generator) -> list[int]:
    # Sorting uniform numbers, as numpy does not promise that `permutation` stays the same between versions.
    return [int(index) for index in np.argsort(stream.random(count), kind="stable")]
