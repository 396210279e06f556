"""What a target model knows: every fact is asked for, every answer judged, and stopped where that is settled.

It knows no labels' text, no pairs and no tensors: a model is whatever continues texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ravel.asking.answerer import (
    Answerer,
    Decided,
    SentRule,
    StopNotes,
    complete_in_chunks,
    per_call,
    sampling,
)
from ravel.asking.labels import label_is_settled
from ravel.asking.prompts import fill
from ravel.common.progress import Counted, Progress, silent
from ravel.common.seeds import numpy_stream
from ravel.matching import MatchMode, NumberWithin, settled_verdict
from ravel.terms.partitions import asked_together
from ravel.terms.schema import Completion, EntityFacts, EntityType, Template

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
    samples: int = 0
    """How many answers were drawn by chance besides, wherever something was asked."""
    right_samples: NDArray[np.int64] | None = None
    """How many of them state the value, [n_templates, n_entities]; None: none was drawn."""

    def tally(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many answers count for what the model knows, and how many of them are right,
        [n_templates, n_entities] each: the samples, where there are some, or else the likeliest answer."""
        asked = self.asked.astype(np.int64)
        if self.right_samples is None:
            return asked, self.right.astype(np.int64)
        return asked * self.samples, self.right_samples

    def of_entities(self, columns: Sequence[int]) -> Answers:
        """Return the same of some entities."""
        chosen = list(columns)
        return Answers(
            templates=self.templates,
            entities=tuple(self.entities[column] for column in chosen),
            completions=tuple(tuple(row[column] for column in chosen) for row in self.completions),
            asked=self.asked[:, chosen],
            right=self.right[:, chosen],
            cut=self.cut[:, chosen],
            samples=self.samples,
            right_samples=None if self.right_samples is None else self.right_samples[:, chosen],
        )


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
        """Complete every template with every entity and judge the answers; left out is what is not
        `askable`. `stop` saves tokens and changes no verdict; after "judged", `finish` completes what is
        labelled."""
        answers = self.nothing_asked(templates, entities)
        return self.ask_more(answers, askable(templates, entities), stop=stop)

    def nothing_asked(self, templates: Sequence[Template], entities: Sequence[EntityFacts]) -> Answers:
        """Return answers of which none is there yet. Of these entities each gets a rival, see `rival`."""
        self._judge.meet(entities)
        nowhere = np.zeros((len(templates), len(entities)), dtype=np.bool_)
        return Answers(
            templates=tuple(templates),
            entities=tuple(entities),
            completions=((None,) * len(entities),) * len(templates),
            asked=nowhere,
            right=nowhere,
            cut=nowhere,
        )

    def ask_more(
        self, answers: Answers, wanted: NDArray[np.bool_], *, stop: Stop = "never", stage: str = "answers"
    ) -> Answers:
        """Return the answers with those at the `wanted` places, [n_templates, n_entities], that must be
        `askable`; what was asked before is not asked again."""
        return self._answered(answers, wanted & ~answers.asked, stop=stop, stage=stage)

    def sample(self, answers: Answers, count: int, *, temperature: float, seed: int) -> Answers:
        """Return the answers with `count` more drawn by chance wherever something was asked, each judged. A
        prompt's chances depend on its text and the seed alone."""
        where = [(int(row), int(column)) for row, column in np.argwhere(answers.asked)]
        right = np.zeros(answers.asked.shape, dtype=np.int64)
        size = max(1, per_call(self._answerer) // count)
        for start in range(0, len(where), size):
            self._progress(Counted("samples", start, len(where)))
            some = where[start : start + size]
            right[tuple(zip(*some, strict=True))] = self._right_samples(
                [(answers.templates[row], answers.entities[column]) for row, column in some],
                (count, temperature, seed),
            )
        self._progress(Counted("samples", len(where), len(where)))
        return replace(answers, samples=count, right_samples=right)

    def _right_samples(
        self, cells: Sequence[tuple[Template, EntityFacts]], how: tuple[int, float, int]
    ) -> list[int]:
        count, temperature, seed = how
        prompts = [fill(template, facts.entity) for template, facts in cells]
        shape = (count, self._max_new_tokens)
        chances = np.stack([numpy_stream(seed, "samples", prompt.text).random(shape) for prompt in prompts])
        questions, rivals = self._judge.questions(cells), [self._judge.rival(cell) for cell in cells]
        rule = self._judge.stop_rule(questions, rivals, labels=False)
        drawn = sampling(self._answerer).sample(prompts, chances, temperature, rule)
        both = zip(questions, drawn, strict=True)
        return [sum(self._judge.is_right(question, a.text) for a in found) for question, found in both]

    def finish(self, answers: Answers, kept: Kept) -> Answers:
        """Go on with the kept answers that stopped as soon as they were judged, where their labels are not
        whole, so that all kept ones have theirs."""
        chosen = np.zeros_like(answers.cut)
        chosen[np.ix_(kept.templates, kept.entities)] = True
        cut = replace(answers, cut=answers.cut & ~chosen)
        return self._answered(
            cut, chosen & answers.cut & ~self._labelled(answers), stop="labelled", stage="kept answers"
        )

    def fits_rival(self, template: Template, facts: EntityFacts, text: str) -> bool:
        """Say whether an answer states the value of the entity's rival: another one, drawn by lot for each
        attribute. Answers go on until that is settled too."""
        return self._judge.is_right(self._judge.rival((template, facts)), text)

    def _labelled(self, answers: Answers) -> NDArray[np.bool_]:
        """Return where an answer that was cut has its whole label all the same, [n_templates, n_entities]."""
        found = np.zeros_like(answers.cut)
        for row, column in np.argwhere(answers.cut):
            answer = answers.completions[row][column]
            assert answer is not None
            found[row, column] = self._judge.is_labelled(answers.templates[row].attribute, answer.token_ids)
        return found

    def _answered(self, answers: Answers, chosen: NDArray[np.bool_], *, stop: Stop, stage: str) -> Answers:
        """Return the answers with those at the `chosen` places asked, or gone on with if they are begun."""
        where = [(int(row), int(column)) for row, column in np.argwhere(chosen)]
        if not where:
            return answers
        cells = [(answers.templates[row], answers.entities[column]) for row, column in where]
        questions = self._judge.questions(cells)
        rivals = [self._judge.rival(cell) for cell in cells]
        notes = StopNotes(self._judge.stop_rule(questions, rivals, labels=stop == "labelled"))
        before = [answers.completions[row][column] for row, column in where]
        completions = [list(of_row) for of_row in answers.completions]
        asked, right, cut = answers.asked | chosen, answers.right.copy(), answers.cut.copy()
        found = complete_in_chunks(
            (fill(template, facts.entity) for template, facts in cells),
            len(cells),
            self._answerer,
            max_new_tokens=self._max_new_tokens,
            progress=self._progress,
            stage=stage,
            decided=None if stop == "never" else notes,
            begun=[answer.token_ids for answer in before if answer is not None] or None,
        )
        for place, ((row, column), answer) in enumerate(zip(where, found, strict=True)):
            completions[row][column] = answer
            right[row, column] = self._judge.is_right(questions[place], answer.text)
            cut[row, column] = stop == "judged" and notes.ended(place, answer)
        return replace(answers, completions=tuple(map(tuple, completions)), asked=asked, right=right, cut=cut)


def askable(templates: Sequence[Template], entities: Sequence[EntityFacts]) -> NDArray[np.bool_]:
    """Return what can be asked, [n_templates, n_entities]: where the entity has a value for the template's
    attribute, and their partitions meet in some split."""
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
        self.entity_type = entity_type
        """Whose answers are judged."""
        self.mode: MatchMode = mode
        """How."""
        self._matchers = {attribute.name: attribute.matcher for attribute in entity_type.attributes}
        self._decode = answerer.decode
        self._verdicts: dict[tuple[_Question, str], bool] = {}
        self._settled: dict[tuple[_Question, tuple[int, ...]], bool] = {}
        self._labelled: dict[tuple[bool, tuple[int, ...]], bool] = {}
        self._rivals: dict[tuple[str, str], str] = {}

    def meet(self, entities: Sequence[EntityFacts]) -> None:
        """Draw a rival for each entity and attribute of its own that has none yet."""
        stream = numpy_stream(0, "rivals")
        values = [dict(facts.values) for facts in entities]
        for name in self._matchers:
            with_value = np.array([i for i, own in enumerate(values) if own.get(name, "").strip()], dtype=int)
            order = stream.permutation(with_value).tolist()
            for one, another in zip(order, [*order[1:], *order[:1]], strict=True):
                self._rivals.setdefault((name, entities[one].entity), values[another][name])

    def rival(self, cell: tuple[Template, EntityFacts]) -> _Question:
        """Return the same question about the entity's rival, or about the entity if it met none."""
        template, facts = cell
        name = template.attribute or ""
        return name, self._rivals.get((name, facts.entity)) or dict(facts.values)[name]

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
            self._verdicts[key] = self._matchers[attribute].matches(text, value, mode=self.mode)
        return self._verdicts[key]

    def is_settled(self, question: _Question, token_ids: tuple[int, ...]) -> bool:
        """Say whether the verdict is the same whatever follows these tokens."""
        key = (question, token_ids)
        if key not in self._settled:
            attribute, value = question
            text = self._decode(token_ids)
            verdict = settled_verdict(self._matchers[attribute], text, value, mode=self.mode)
            self._settled[key] = verdict is not None
        return self._settled[key]

    def is_labelled(self, attribute: str | None, token_ids: tuple[int, ...]) -> bool:
        """Say whether the label is the same whatever follows these tokens."""
        key = (isinstance(self._matchers[attribute or ""], NumberWithin), token_ids)
        if key not in self._labelled:
            self._labelled[key] = label_is_settled(self._decode(token_ids), numeric=key[0])
        return self._labelled[key]

    def stop_rule(
        self, questions: Sequence[_Question], rivals: Sequence[_Question], *, labels: bool
    ) -> _StopRule:
        """Return a rule that stops answers whose verdict is settled, about their entities and the rivals, and
        with `labels` the label."""
        return _StopRule(self, questions, rivals, labels)


@dataclass(frozen=True, slots=True)
class _StopRule:
    """Stops answers that a judge needs to know no more of."""

    judge: _Judge
    """Knows when an answer is settled."""
    questions: Sequence[_Question]
    """What is asked, by place."""
    rivals: Sequence[_Question]
    """The same about each entity's rival."""
    labels: bool
    """Whether the label must be settled too."""

    def __call__(self, place: int, token_ids: tuple[int, ...]) -> bool:
        question = self.questions[place]
        if not all(self.judge.is_settled(asked, token_ids) for asked in (question, self.rivals[place])):
            return False
        return not self.labels or self.judge.is_labelled(question[0], token_ids)

    def sent(self, first: int, end: int) -> SentRule:
        own = self.questions[first:end], self.rivals[first:end]
        return _SentStopRule(self.judge.entity_type, self.judge.mode, *own, self.labels)


@dataclass(frozen=True, slots=True)
class _SentStopRule:
    """A stop rule without its judge, which is made anew where it is asked."""

    entity_type: EntityType
    """Whose answers are judged."""
    mode: MatchMode
    """How."""
    questions: Sequence[_Question]
    """As in the rule."""
    rivals: Sequence[_Question]
    """As in the rule."""
    labels: bool
    """As in the rule."""

    def beside(self, answerer: Answerer) -> Decided:
        judge = _Judge(self.entity_type, self.mode, answerer)
        return judge.stop_rule(self.questions, self.rivals, labels=self.labels)
