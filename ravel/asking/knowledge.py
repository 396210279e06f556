"""Asks a target model for every fact and keeps the entities and templates it knows.

It knows no labels, no pairs and no tensors: a model is whatever continues texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ravel.asking.labels import label_is_settled
from ravel.asking.prompts import fill
from ravel.common.seeds import numpy_stream
from ravel.matching import MatchMode, NumberWithin, settled_verdict
from ravel.terms.partitions import asked_together, share_out
from ravel.terms.schema import (
    PARTITIONS,
    Completion,
    EntityFacts,
    EntityType,
    Partition,
    Prompt,
    Template,
)

__all__ = [
    "Answerer",
    "Answers",
    "Decided",
    "Kept",
    "Progress",
    "Stop",
    "ask",
    "best_entities",
    "complete_in_chunks",
    "finish",
    "keep_above",
    "keep_best",
    "knowledge_of",
    "until_labelled",
]

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much is done and how much there is to do."""

Decided = Callable[[int, tuple[int, ...]], bool]
"""Called with a prompt's place and all of its new token ids so far; True if nothing is asked that more tokens
could change. It must not depend on when or how often it is called."""

Stop = Literal["never", "labelled", "judged"]
"""When an answer may stop: at its end only, as soon as its verdict and its label can't change any more, or
as soon as its verdict can't."""

# Prompts per call of the answerer: long enough for it to group by length, short enough to report progress and
# to lose little where answers are kept and the build is killed.
_CHUNK = 1024


class Answerer(Protocol):
    """Continues texts greedily, with a tokenizer: all that a build asks of a target model."""

    @property
    def name(self) -> str:
        """The target model as its user named it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal models, whatever their folder."""
        ...

    @property
    def instrument(self) -> Mapping[str, str]:
        """What that fingerprint is made of, by name; empty where nobody can say."""
        ...

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Continue each prompt greedily, in the order of `prompts`.

        A completion may stop where `decided` says so; an answerer may also ignore it.
        """
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of generated tokens."""
        ...

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each token's [start, end) in characters; special tokens have (0, 0)."""
        ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model said to every template filled with every entity that it can meet in some split."""

    templates: tuple[Template, ...]
    """Rows."""
    entities: tuple[EntityFacts, ...]
    """Columns."""
    completions: tuple[tuple[Completion | None, ...], ...]
    """By row and column; None where nothing was asked."""
    asked: NDArray[np.bool_]
    """Where something was asked, [n_templates, n_entities]."""
    right: NDArray[np.bool_]
    """Where the answer states the value, [n_templates, n_entities]; False where nothing was asked."""
    cut: NDArray[np.bool_]
    """Where an answer stopped once it was judged, [n_templates, n_entities]; its label may be missing."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows and columns of `Answers` that go on, in their order there."""

    templates: tuple[int, ...]
    """Indices of templates."""
    entities: tuple[int, ...]
    """Indices of entities."""


def ask(
    templates: Sequence[Template],
    entities: Sequence[EntityFacts],
    *,
    entity_type: EntityType,
    answerer: Answerer,
    max_new_tokens: int,
    mode: MatchMode,
    progress: Progress,
    stop: Stop = "never",
) -> Answers:
    """Complete every template with every entity and judge the answers.

    Left out: an entity without a value for the template's attribute, and partitions that meet in no split.
    `stop` saves tokens and changes no verdict; after "judged", `finish` completes what is labelled.
    """
    asked = _askable(templates, entities)
    answers = Answers(
        templates=tuple(templates),
        entities=tuple(entities),
        completions=((None,) * len(entities),) * len(templates),
        asked=asked,
        right=np.zeros_like(asked),
        cut=np.zeros_like(asked),
    )
    judge = _Judge(entity_type, mode, answerer)
    return _answered(
        answers,
        asked,
        judge,
        answerer=answerer,
        max_new_tokens=max_new_tokens,
        progress=progress,
        stop=stop,
        stage="answers",
    )


def finish(
    answers: Answers,
    kept: Kept,
    *,
    entity_type: EntityType,
    answerer: Answerer,
    max_new_tokens: int,
    mode: MatchMode,
    progress: Progress,
) -> Answers:
    """Complete the kept answers that stopped as soon as they were judged, so that all kept ones have their
    labels."""
    chosen = np.zeros_like(answers.cut)
    chosen[np.ix_(kept.templates, kept.entities)] = True
    return _answered(
        answers,
        chosen & answers.cut,
        _Judge(entity_type, mode, answerer),
        answerer=answerer,
        max_new_tokens=max_new_tokens,
        progress=progress,
        stop="labelled",
        stage="kept answers",
    )


def _answered(
    answers: Answers,
    chosen: NDArray[np.bool_],
    judge: _Judge,
    *,
    answerer: Answerer,
    max_new_tokens: int,
    progress: Progress,
    stop: Stop,
    stage: str,
) -> Answers:
    """Return the answers with those at the `chosen` places asked (again), [n_templates, n_entities]."""
    where = [(int(row), int(column)) for row, column in np.argwhere(chosen)]
    if not where:
        return answers
    questions = judge.questions([(answers.templates[row], answers.entities[column]) for row, column in where])
    watch = _Watch(judge, questions, labels=stop == "labelled")
    completions = [list(of_row) for of_row in answers.completions]
    right, cut = answers.right.copy(), answers.cut.copy()
    found = complete_in_chunks(
        (fill(answers.templates[row], answers.entities[column].entity) for row, column in where),
        len(where),
        answerer,
        max_new_tokens=max_new_tokens,
        progress=progress,
        stage=stage,
        decided=None if stop == "never" else watch.decided,
    )
    for place, ((row, column), answer) in enumerate(zip(where, found, strict=True)):
        completions[row][column] = answer
        right[row, column] = judge.is_right(questions[place], answer.text)
        cut[row, column] = stop == "judged" and watch.stopped.get(place) == len(answer.token_ids)
    return replace(answers, completions=tuple(map(tuple, completions)), right=right, cut=cut)


def complete_in_chunks(
    prompts: Iterator[Prompt],
    total: int,
    answerer: Answerer,
    *,
    max_new_tokens: int,
    progress: Progress,
    stage: str,
    decided: Decided | None = None,
) -> Iterator[Completion]:
    """Yield the completion of each prompt in order, reporting progress; equal completions are one object.

    `decided` counts places over all chunks; it is called before the completion is yielded.
    """
    seen: dict[Completion, Completion] = {}
    progress(stage, 0, total)
    done = 0
    while chunk := list(islice(prompts, _CHUNK)):
        # Answerers of an older make take no third argument.
        more = () if decided is None else (_from(decided, done),)
        for answer in answerer.complete(chunk, max_new_tokens, *more):
            yield seen.setdefault(answer, answer)
        done += len(chunk)
        progress(stage, done, total)


def _from(decided: Decided, first: int) -> Decided:
    return lambda place, token_ids: decided(first + place, token_ids)


def until_labelled(answerer: Answerer) -> Decided:
    """Return a rule that lets answers to attribute-free texts stop as soon as their labels can't change."""
    settled: dict[tuple[int, ...], bool] = {}

    def decided(place: int, token_ids: tuple[int, ...]) -> bool:
        if token_ids not in settled:
            settled[token_ids] = label_is_settled(answerer.decode(token_ids))
        return settled[token_ids]

    return decided


def _askable(templates: Sequence[Template], entities: Sequence[EntityFacts]) -> NDArray[np.bool_]:
    values = [dict(facts.values) for facts in entities]
    asked = np.zeros((len(templates), len(entities)), dtype=np.bool_)
    for row, template in enumerate(templates):
        for column, facts in enumerate(entities):
            known = bool(values[column].get(template.attribute or "", "").strip())
            asked[row, column] = known and asked_together(template.partition, facts.partition)
    return asked


_Question = tuple[str, str]
"""An attribute and the value that answers it."""


class _Judge:
    """Whether an answer is right, and when that is settled; worked out once for each question and text."""

    def __init__(self, entity_type: EntityType, mode: MatchMode, answerer: Answerer) -> None:
        self._matchers = {attribute.name: attribute.matcher for attribute in entity_type.attributes}
        self._mode: MatchMode = mode
        self._decode = answerer.decode
        self._verdicts: dict[tuple[_Question, str], bool] = {}
        self._settled: dict[tuple[_Question, tuple[int, ...]], bool] = {}
        self._labelled: dict[tuple[bool, tuple[int, ...]], bool] = {}

    def questions(self, cells: Sequence[tuple[Template, EntityFacts]]) -> list[_Question]:
        values: dict[str, dict[str, str]] = {}
        for _, facts in cells:
            if facts.entity not in values:
                values[facts.entity] = dict(facts.values)
        return [(name := t.attribute or "", values[facts.entity][name]) for t, facts in cells]

    def is_right(self, question: _Question, text: str) -> bool:
        key = (question, text)
        if key not in self._verdicts:
            attribute, value = question
            self._verdicts[key] = self._matchers[attribute].matches(text, value, mode=self._mode)
        return self._verdicts[key]

    def is_settled(self, question: _Question, token_ids: tuple[int, ...]) -> bool:
        """Say whether the verdict is the same whatever follows these tokens."""
        key = (question, token_ids)
        if key not in self._settled:
            attribute, value = question
            text = self._decode(token_ids)
            verdict = settled_verdict(self._matchers[attribute], text, value, mode=self._mode)
            self._settled[key] = verdict is not None
        return self._settled[key]

    def is_labelled(self, question: _Question, token_ids: tuple[int, ...]) -> bool:
        """Say whether the label is the same whatever follows these tokens."""
        key = (isinstance(self._matchers[question[0]], NumberWithin), token_ids)
        if key not in self._labelled:
            self._labelled[key] = label_is_settled(self._decode(token_ids), numeric=key[0])
        return self._labelled[key]


class _Watch:
    """Decides when answers may stop and notes where it said so last."""

    def __init__(self, judge: _Judge, questions: Sequence[_Question], *, labels: bool) -> None:
        self._judge = judge
        self._questions = questions
        self._labels = labels
        self.stopped: dict[int, int] = {}
        """By place, after how many tokens."""

    def decided(self, place: int, token_ids: tuple[int, ...]) -> bool:
        question = self._questions[place]
        if not self._judge.is_settled(question, token_ids):
            return False
        if self._labels and not self._judge.is_labelled(question, token_ids):
            return False
        self.stopped[place] = len(token_ids)
        return True


def keep_best(
    answers: Answers,
    *,
    entities: int,
    templates_per_attribute: int,
    templates_overall: int,
    templates_always: int,
    seed: int,
) -> Kept:
    """Keep the entities and templates with most right answers: the rank rule of the published recipe.

    The `entities` best by number of right answers; then, by right answers over these, the
    `templates_per_attribute` best of each attribute, of which those stay that are among the
    `templates_overall` best of all or the `templates_always` best of their attribute (400, 12, 200 and 4
    there; RAVEL, arXiv 2402.17700, public adaptations).

    Departures: each of these numbers is shared out among the partitions in proportion to their candidates,
    and ranks are taken inside a partition, as ranking over all of them together leaves small partitions
    empty by chance (and templates of different partitions are not asked about the same entities); what has
    no right answer at all is never kept. Ties are broken by lot, as the order of the data is often that of
    the alphabet.
    """
    stream = numpy_stream(seed, "ties of ranks")
    columns = _Ranking.of(answers.entities, answers.right.sum(axis=0), stream).best(entities)
    ranking = _Ranking.of(answers.templates, answers.right[:, columns].sum(axis=1), stream)
    overall = ranking.best(templates_overall)
    rows: set[int] = set()
    for attribute in dict.fromkeys(template.attribute for template in answers.templates):
        own = [row for row, template in enumerate(answers.templates) if template.attribute == attribute]
        always = ranking.best(templates_always, among=own)
        rows.update({*ranking.best(templates_per_attribute, among=own)} & {*overall, *always})
    return Kept(tuple(sorted(rows)), tuple(columns))


def best_entities(answers: Answers, total: int, *, seed: int) -> list[int]:
    """Return the indices of the `total` entities with most right answers, shared out among the partitions.

    An entity without any right answer is never among them; ties are broken by lot.
    """
    stream = numpy_stream(seed, "ties of the shortlist")
    return _Ranking.of(answers.entities, answers.right.sum(axis=0), stream).best(total)


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Members of partitions by their number of right answers; ties by lot."""

    partitions: tuple[Partition, ...]
    counts: tuple[int, ...]
    lots: tuple[float, ...]

    @classmethod
    def of(
        cls,
        members: Sequence[Template] | Sequence[EntityFacts],
        counts: NDArray[np.int_],
        stream: np.random.Generator,
    ) -> _Ranking:
        partitions = tuple(member.partition for member in members)
        return cls(partitions, tuple(counts.tolist()), tuple(stream.random(len(members)).tolist()))

    def best(self, total: int, *, among: Sequence[int] | None = None) -> list[int]:
        """Return the best of all, or of some, shared out among the partitions; in order of index."""
        candidates = range(len(self.counts)) if among is None else among
        members = {p: [i for i in candidates if self.partitions[i] == p] for p in PARTITIONS}
        shares = share_out(total, {partition: len(found) for partition, found in members.items()})
        best = []
        for partition, found in members.items():
            ranked = sorted(found, key=lambda index: (-self.counts[index], self.lots[index]))
            best += [index for index in ranked[: shares[partition]] if self.counts[index] > 0]
        return sorted(best)


def keep_above(answers: Answers, threshold: float) -> Kept:
    """Keep entities and templates with an accuracy of at least `threshold`, measured over the kept others.

    Whatever is furthest below the threshold goes first and the rest is measured again, until nothing is
    below: one bad template does not cost every entity its place, nor the other way round. Ties drop the
    later one.
    """
    asked, right = answers.asked.astype(np.int64), answers.right.astype(np.int64)
    rows, columns = _Tally(asked, right), _Tally(asked.T, right.T)
    while True:
        (row, low_row), (column, low_column) = rows.lowest(), columns.lowest()
        if min(low_row, low_column) >= threshold:
            break
        if low_row <= low_column:
            rows.drop(row)
            columns.forget(asked[row], right[row])
        else:
            columns.drop(column)
            rows.forget(asked[:, column], right[:, column])
    return Kept(rows.members(), columns.members())


class _Tally:
    """Running counts of asked and right for the rows of a matrix, of which some are dropped."""

    def __init__(self, asked: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        self._asked = asked.sum(axis=1)
        self._right = right.sum(axis=1)
        self._alive = np.ones(len(asked), dtype=np.bool_)

    def lowest(self) -> tuple[int, float]:
        """Return the last of the rows with the lowest accuracy; one that is asked nothing has 0."""
        if not self._alive.any():
            return -1, float("inf")
        accuracy = np.where(self._alive, self._right / np.maximum(self._asked, 1), np.inf)
        index = len(accuracy) - 1 - int(np.argmin(accuracy[::-1]))
        return index, float(accuracy[index])

    def drop(self, index: int) -> None:
        self._alive[index] = False

    def forget(self, asked: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Take away the counts of a dropped column."""
        self._asked -= asked
        self._right -= right

    def members(self) -> tuple[int, ...]:
        return tuple(int(index) for index in np.flatnonzero(self._alive))


def knowledge_of(answers: Answers, kept: Kept) -> dict[str, Any]:
    """Return the model's accuracy as plain values: per attribute (candidates, kept) and per template.

    An accuracy over no answers is None.
    """
    attributes = list(dict.fromkeys(template.attribute or "" for template in answers.templates))
    everything = Kept(tuple(range(len(answers.templates))), tuple(range(len(answers.entities))))
    return {
        "attributes": {
            name: {"candidates": _accuracy(answers, everything, name), "kept": _accuracy(answers, kept, name)}
            for name in attributes
        },
        "templates": [
            {
                "template": template.text,
                "attribute": template.attribute,
                "partition": template.partition,
                "kept": row in kept.templates,
                **_ratio(int(answers.right[row].sum()), int(answers.asked[row].sum())),
            }
            for row, template in enumerate(answers.templates)
        ],
    }


def _accuracy(answers: Answers, kept: Kept, attribute: str) -> Mapping[str, float | int | None]:
    rows = [row for row in kept.templates if answers.templates[row].attribute == attribute]
    cells = np.ix_(rows, list(kept.entities))
    return _ratio(int(answers.right[cells].sum()), int(answers.asked[cells].sum()))


def _ratio(right: int, asked: int) -> dict[str, float | int | None]:
    return {"asked": asked, "right": right, "accuracy": right / asked if asked else None}
