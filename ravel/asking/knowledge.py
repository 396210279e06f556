"""What a target model knows: every fact is asked for, every answer judged, and stopped where that is settled.

It knows no labels' text, no pairs and no tensors: a model is whatever continues texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ravel.asking.answerer import Answerer, Decided, StopNotes, complete_in_chunks
from ravel.asking.labels import label_is_settled
from ravel.asking.prompts import fill
from ravel.common.progress import Progress, silent
from ravel.matching import MatchMode, NumberWithin, settled_verdict
from ravel.terms.partitions import asked_together
from ravel.terms.schema import Completion, EntityFacts, EntityType, Template

__all__ = ["Answers", "Kept", "Questioner", "Stop", "until_labelled"]

Stop = Literal["never", "labelled", "judged"]
"""When an answer may stop: at its end only, as soon as its verdict and its label can't change any more, or
as soon as its verdict can't."""


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


class Questioner:
    """Asks one model about entities of one type and judges its answers by one mode."""

    def __init__(
        self,
        entity_type: EntityType,
        answerer: Answerer,
        *,
        max_new_tokens: int,
        mode: MatchMode,
        progress: Progress = silent,
    ) -> None:
        self._answerer = answerer
        self._max_new_tokens = max_new_tokens
        self._progress = progress
        self._judge = _Judge(entity_type, mode, answerer)

    def ask(
        self, templates: Sequence[Template], entities: Sequence[EntityFacts], *, stop: Stop = "never"
    ) -> Answers:
        """Complete every template with every entity and judge the answers.

        Left out: an entity without a value for the template's attribute, and partitions that meet in no
        split. `stop` saves tokens and changes no verdict; after "judged", `finish` completes what is
        labelled.
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
        return self._answered(answers, asked, stop=stop, stage="answers")

    def finish(self, answers: Answers, kept: Kept) -> Answers:
        """Complete the kept answers that stopped as soon as they were judged, so that all kept ones have
        their labels."""
        chosen = np.zeros_like(answers.cut)
        chosen[np.ix_(kept.templates, kept.entities)] = True
        return self._answered(answers, chosen & answers.cut, stop="labelled", stage="kept answers")

    def _answered(self, answers: Answers, chosen: NDArray[np.bool_], *, stop: Stop, stage: str) -> Answers:
        """Return the answers with those at the `chosen` places asked (again), [n_templates, n_entities]."""
        where = [(int(row), int(column)) for row, column in np.argwhere(chosen)]
        if not where:
            return answers
        cells = [(answers.templates[row], answers.entities[column]) for row, column in where]
        questions = self._judge.questions(cells)
        notes = StopNotes(self._judge.stop_rule(questions, labels=stop == "labelled"))
        completions = [list(of_row) for of_row in answers.completions]
        right, cut = answers.right.copy(), answers.cut.copy()
        found = complete_in_chunks(
            (fill(template, facts.entity) for template, facts in cells),
            len(cells),
            self._answerer,
            max_new_tokens=self._max_new_tokens,
            progress=self._progress,
            stage=stage,
            decided=None if stop == "never" else notes,
        )
        for place, ((row, column), answer) in enumerate(zip(where, found, strict=True)):
            completions[row][column] = answer
            right[row, column] = self._judge.is_right(questions[place], answer.text)
            cut[row, column] = stop == "judged" and notes.ended(place, answer)
        return replace(answers, completions=tuple(map(tuple, completions)), right=right, cut=cut)


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

    def stop_rule(self, questions: Sequence[_Question], *, labels: bool) -> Decided:
        """Return a rule that stops answers whose verdict, and with `labels` whose label, is settled."""

        def decided(place: int, token_ids: tuple[int, ...]) -> bool:
            question = questions[place]
            if not self.is_settled(question, token_ids):
                return False
            return not labels or self.is_labelled(question, token_ids)

        return decided
