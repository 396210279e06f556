"""Builds an instance from facts, templates and a model that answers: ask, filter, label, pair, write down.

It knows the model only as an `Answerer`; the steps themselves live in knowledge, labels, positions and pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

from ravel.asking.chat import framed, start_counts
from ravel.asking.knowledge import (
    Answerer,
    Answers,
    Kept,
    Progress,
    Stop,
    ask,
    best_entities,
    complete_in_chunks,
    finish,
    keep_above,
    keep_best,
    knowledge_of,
    until_labelled,
)
from ravel.asking.labelling import Cell, Labeller, cell_of, only_used, unanswered, with_position
from ravel.asking.prompts import glues_letters
from ravel.building.report import (
    by_partition,
    entity_counts,
    kept_accuracy,
    pair_counts,
    refuse_guesses,
    refuse_ignorance,
    refuse_no_pairs,
    template_counts,
    warnings_of,
)
from ravel.common.config import Config
from ravel.common.errors import unknown_name
from ravel.common.seeds import numpy_stream
from ravel.facts.tables import Tables
from ravel.instance.instance import Instance, PromptRecord
from ravel.instance.rows import source_kind_of
from ravel.matching import MatchMode
from ravel.pairing.pairs import DrawRules, Question, Sources, draw_pairs, interleave
from ravel.terms.mentions import mentions, same_text
from ravel.terms.partitions import SPLIT_PLANS, SplitPlan, asked_together
from ravel.terms.schema import (
    PARTITIONS,
    TRAIN_SPLIT,
    Completion,
    EntityFacts,
    InterchangePair,
    SourceKind,
    Template,
)

__all__ = ["BuildConfig", "SourceShares", "build_instance"]

# A label takes about half as long again as a verdict, and an answer that is asked again all of it.
_FEW_KEPT = 0.3

T = TypeVar("T", EntityFacts, Template)
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SourceShares(Config):
    """Relative weights of the source kinds; a kind that has no prompts leaves its share to the others."""

    same_attribute: Share = 1.0
    """Sources that ask for what the base asks for."""
    other_attribute: Share = 1.0
    """Sources that ask for another attribute."""
    attribute_free: Share = 1.0
    """Sources that ask for nothing."""

    @model_validator(mode="after")
    def _some_kind(self) -> Self:
        if not any(self.by_kind().values()):
            raise ValueError("at least one share must be above 0")
        return self

    def by_kind(self) -> dict[SourceKind, float]:
        """Return the weights by source kind."""
        return {
            "same_attribute": self.same_attribute,
            "other_attribute": self.other_attribute,
            "attribute_free": self.attribute_free,
        }


class BuildConfig(Config):
    """Settings of a build. With the tables and the model they determine the instance to the byte."""

    seed: int = 0
    """Root of every random stream."""
    attributes: tuple[str, ...] | None = None
    """Attributes to ask for; None for all."""
    max_entities: PositiveInt | None = None
    """Candidate entities per partition, spread evenly over the data; None for all. Bounds the cost."""
    shortlist: PositiveInt | None = None
    """Candidate entities that go on to be asked everything, all partitions together: the best by one question
    per attribute; None for all. Bounds the cost where the model knows some entities only."""
    max_new_tokens: PositiveInt = 8
    """Length of a completion in tokens."""
    match: MatchMode = "strict"
    """How answers are compared with values; they are only ranked by it, labels are what the model says."""
    selection: Literal["reference", "threshold"] = "reference"
    """Keep the best by rank, or all above an accuracy."""
    keep_entities: PositiveInt = 400
    """`reference`: entities kept, all partitions together."""
    keep_templates: PositiveInt = 12
    """`reference`: templates kept per attribute at most, all partitions together."""
    keep_templates_overall: PositiveInt = 200
    """`reference`: templates outside this rank over all attributes go, unless always kept."""
    keep_templates_always: NonNegativeInt = 4
    """`reference`: templates of each attribute that stay whatever their rank over all attributes."""
    accuracy_threshold: Annotated[float, Field(gt=0, le=1)] = 0.75
    """`threshold`: least accuracy of a kept entity over the kept templates, and conversely."""
    source_shares: SourceShares = SourceShares()
    """Relative weights of the source kinds."""
    label_smoothing: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """A label that n entities share is drawn with weight n / (label_smoothing + n)."""
    label_tokens: PositiveInt = 3
    """Both labels of a pair differ within this many tokens, the number that training and scoring force."""
    train_pairs: PositiveInt = 2000
    """Training pairs per attribute."""
    evaluation_pairs: PositiveInt = 256
    """Pairs per attribute in each of the six held-out splits."""
    chat: bool = False
    """Ask everything through the model's chat template; otherwise only templates that say `chat: true`."""
    allow_ignorance: bool = False
    """Build even where so few kept answers are right that labels are guesses."""
    flip_sample: NonNegativeInt = 32
    """Kept prompts that are asked again one at a time, to count labels that depend on the batch."""

    @model_serializer(mode="wrap")
    def _chat_if_on(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `chat` out where it is off: a build without it has the manifest that it always had."""
        values: dict[str, Any] = handler(self)
        return values if self.chat else {name: value for name, value in values.items() if name != "chat"}


def build_instance(
    tables: Tables, answerer: Answerer, config: BuildConfig | None = None, progress: Progress | None = None
) -> Instance:
    """Build the instance of an entity type for a target model.

    Every template is completed with every entity; the model's knowledge ranks both (`keep_best`,
    `keep_above`); labels are cut from the model's own answers, right or wrong; pairs are drawn per split
    (`draw_pairs`). Attribute-free texts are completed only where a pair uses them. Equal arguments give
    equal bytes.

    Departures from the published recipe (RAVEL, arXiv 2402.17700, code and public adaptations): entities
    and templates are ranked inside their partition, so that held-out splits are not empty by chance;
    prompts whose entity has no last token of its own, and templates that glue letters to the slot, are left
    out and counted in the manifest, as is what would leak (`ravel.checking.leaks`): what two partitions
    share, and prompts that name their entity twice; no label is dropped for having several words; nothing is
    truncated.

    Raises SuiteError if an attribute is unknown, if the model knows too little for any entity or template
    to stay, or if no pairs can be drawn.
    """
    config = config if config is not None else BuildConfig()
    build = _Build(tables, answerer, config, progress if progress is not None else _silent)
    return build.run()


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What is asked, before anything is known."""

    asking: tuple[Template, ...]
    free: tuple[Template, ...]
    entities: tuple[EntityFacts, ...]
    glued: tuple[str, ...]
    """Templates left out because letters follow the slot."""
    twice: tuple[str, ...]
    """Entities and templates left out because an earlier partition has them, up to case and blanks; and
    attribute-free texts that are questions too."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A filled template whose entity has a last token of its own, and what the model said to it."""

    cell: Cell
    record: PromptRecord


@dataclass(frozen=True, slots=True)
class _Answered:
    """A filled template with its raw answer."""

    cell: Cell
    answer: Completion
    correct: bool


class _Build:
    """One run of the steps; holds what several of them need."""

    def __init__(self, tables: Tables, answerer: Answerer, config: BuildConfig, progress: Progress) -> None:
        self._tables = replace(tables, templates=framed(tables.templates, answerer, every=config.chat))
        self._answerer = answerer
        self._config = config
        self._progress = progress
        self._attributes = _chosen_attributes(tables, config)
        self._labels = Labeller(tables.entity_type, answerer)
        self._counts: Counter[str] = Counter()
        self._flips = {"asked": 0, "differ": 0}

    def run(self) -> Instance:
        candidates = self._shortlisted(_candidates(self._tables, self._attributes, self._config))
        answers = self._ask(candidates, stop=_stop(candidates, self._config))
        kept = self._keep(answers)
        refuse_ignorance(answers, kept)
        if not self._config.allow_ignorance:
            refuse_guesses(answers, kept)
        answers = self._finished(answers, kept)
        asked = self._asked(answers, kept)
        free = self._unnamed(self._with_position(_free_cells(candidates, kept), stage="positions of texts"))
        pairs = {plan.name: self._pairs(plan, asked, free) for plan in SPLIT_PLANS}
        refuse_no_pairs(pairs, answers, kept, self._counts)
        records = [known.record for known in asked] + self._say(free, pairs)
        self._flips = self._label_flips(answers, kept)
        return self._instance(candidates, answers, kept, only_used(records, pairs), pairs)

    def _label_flips(self, answers: Answers, kept: Kept) -> dict[str, int]:
        """Ask a sample of the kept prompts again, each alone; count labels and verdicts that differ."""
        answered = _answered(answers, kept)
        size = min(self._config.flip_sample, len(answered))
        chosen = numpy_stream(self._config.seed, "label flips").choice(len(answered), size, replace=False)
        differ = 0
        for done, place in enumerate(sorted(chosen.tolist()), start=1):
            one = answered[place]
            again = self._alone(one.cell)
            correct = bool(again.right.any())
            answer = again.completions[0][0]
            before = self._labels.record(one.cell, one.answer, correct=one.correct)
            after = None if answer is None else self._labels.record(one.cell, answer, correct=correct)
            differ += (before and before.label) != (after and after.label) or correct != one.correct
            self._progress("asked alone", done, size)
        return {"asked": size, "differ": differ}

    def _alone(self, cell: Cell) -> Answers:
        return ask(
            (cell.template,),
            (cell.facts,),
            entity_type=self._tables.entity_type,
            answerer=self._answerer,
            max_new_tokens=self._config.max_new_tokens,
            mode=self._config.match,
            progress=_silent,
            stop="labelled",
        )

    def _shortlisted(self, candidates: _Candidates) -> _Candidates:
        """Ask one training template per attribute about every entity; keep those with most right answers."""
        if self._config.shortlist is None or self._config.shortlist >= len(candidates.entities):
            return candidates
        first = {t.attribute: t for t in reversed(candidates.asking) if t.partition == TRAIN_SPLIT}
        answers = self._ask(replace(candidates, asking=tuple(first.values())), stop="judged")
        columns = best_entities(answers, self._config.shortlist, seed=self._config.seed)
        refuse_ignorance(answers, Kept(tuple(range(len(answers.templates))), tuple(columns)))
        return replace(candidates, entities=tuple(candidates.entities[column] for column in columns))

    def _ask(self, candidates: _Candidates, *, stop: Stop) -> Answers:
        return ask(
            candidates.asking,
            candidates.entities,
            entity_type=self._tables.entity_type,
            answerer=self._answerer,
            max_new_tokens=self._config.max_new_tokens,
            mode=self._config.match,
            progress=self._progress,
            stop=stop,
        )

    def _finished(self, answers: Answers, kept: Kept) -> Answers:
        """Complete what was only judged so far, now that it is known what is labelled."""
        return finish(
            answers,
            kept,
            entity_type=self._tables.entity_type,
            answerer=self._answerer,
            max_new_tokens=self._config.max_new_tokens,
            mode=self._config.match,
            progress=self._progress,
        )

    def _keep(self, answers: Answers) -> Kept:
        if self._config.selection == "threshold":
            return keep_above(answers, self._config.accuracy_threshold)
        return keep_best(
            answers,
            entities=self._config.keep_entities,
            templates_per_attribute=self._config.keep_templates,
            templates_overall=self._config.keep_templates_overall,
            templates_always=self._config.keep_templates_always,
            seed=self._config.seed,
        )

    def _asked(self, answers: Answers, kept: Kept) -> list[_Asked]:
        """Return the kept prompts with their labels, without those that have no label or no position."""
        answered = _answered(answers, kept)
        by_id = {one.cell.prompt_id: one for one in answered}
        asked = []
        for cell in self._unnamed(self._with_position([one.cell for one in answered], stage="positions")):
            one = by_id[cell.prompt_id]
            record = self._labels.record(cell, one.answer, correct=one.correct)
            self._counts["without_label"] += record is None
            if record is not None:
                asked.append(_Asked(cell, record))
        self._counts["labelled"] = len(asked)
        return asked

    def _with_position(self, cells: Sequence[Cell], *, stage: str) -> list[Cell]:
        found = with_position(cells, self._answerer, progress=self._progress, stage=stage)
        self._counts["without_position"] += len(cells) - len(found)
        return found

    def _unnamed(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells whose template does not name the entity a second time, outside the slot."""
        found = [cell for cell in cells if not mentions(cell.template.text, cell.facts.entity)]
        self._counts["named_twice"] += len(cells) - len(found)
        return found

    def _pairs(
        self, plan: SplitPlan, asked: Sequence[_Asked], free: Sequence[Cell]
    ) -> tuple[InterchangePair, ...]:
        here = [known for known in asked if _belongs(known.cell, plan)]
        texts = [cell for cell in free if _belongs(cell, plan)]
        barred = _barred([*(known.cell for known in here), *texts])
        groups = []
        for attribute in self._attributes:
            questions = _questions(here, attribute)
            sources = _sources(here, texts, attribute)
            rules = self._rules(plan)
            groups.append(
                draw_pairs(
                    questions,
                    sources,
                    rules,
                    seed=self._config.seed,
                    split=plan.name,
                    attribute=attribute,
                    barred=barred,
                )
            )
        return interleave(groups, split=plan.name)

    def _rules(self, plan: SplitPlan) -> DrawRules:
        training = plan.name == TRAIN_SPLIT
        return DrawRules(
            total=self._config.train_pairs if training else self._config.evaluation_pairs,
            shares=self._config.source_shares.by_kind(),
            smoothing=self._config.label_smoothing,
            label_tokens=self._config.label_tokens,
        )

    def _say(
        self, free: Sequence[Cell], pairs: Mapping[str, Sequence[InterchangePair]]
    ) -> list[PromptRecord]:
        """Complete the attribute-free texts that pairs use; the label is empty where no word follows."""
        used = {pair.source for found in pairs.values() for pair in found}
        cells = [cell for cell in free if cell.prompt_id in used]
        answers = complete_in_chunks(
            (cell.prompt for cell in cells),
            len(cells),
            self._answerer,
            max_new_tokens=self._config.max_new_tokens,
            progress=self._progress,
            stage="attribute-free texts",
            decided=until_labelled(self._answerer),
        )
        return [
            self._labels.record(cell, answer, correct=None) or unanswered(cell)
            for cell, answer in zip(cells, answers, strict=True)
        ]

    def _instance(
        self,
        candidates: _Candidates,
        answers: Answers,
        kept: Kept,
        records: Sequence[PromptRecord],
        pairs: Mapping[str, Sequence[InterchangePair]],
    ) -> Instance:
        accuracy = kept_accuracy(answers, kept)
        templates = [*(answers.templates[row] for row in kept.templates), *candidates.free]
        return Instance.from_parts(
            entity_type=self._tables.entity_type.name,
            model_name=self._answerer.name,
            model_fingerprint=self._answerer.fingerprint,
            instrument=self._answerer.instrument,
            prompts=records,
            pairs=pairs,
            attribute_order=self._attributes,
            seed=self._config.seed,
            config=self._config.model_dump(mode="json"),
            counts={
                "entities": entity_counts(self._tables, answers, kept),
                "templates": template_counts(answers, kept),
                "attribute_free_texts": len(candidates.free),
                "templates_with_glued_letters": list(candidates.glued),
                **({"left_out_as_doubles": list(candidates.twice)} if candidates.twice else {}),
                **start_counts([*candidates.asking, *candidates.free], self._answerer),
                "prompts": self._prompt_counts(answers, records),
                "pairs": {name: pair_counts(found) for name, found in pairs.items()},
                "label_flips": self._flips,
            },
            knowledge={
                **knowledge_of(answers, kept),
                "kept_accuracy": accuracy,
                "warnings": warnings_of(self._attributes, accuracy, pairs, self._flips),
            },
            entities=by_partition([answers.entities[column] for column in kept.entities]),
            templates=[
                {
                    "template": t.text,
                    "attribute": t.attribute,
                    "partition": t.partition,
                    **({"chat": True} if t.chat else {}),
                }
                for t in templates
            ],
        )

    def _prompt_counts(self, answers: Answers, records: Sequence[PromptRecord]) -> dict[str, int]:
        return {
            "asked": int(answers.asked.sum()),
            "right": int(answers.right.sum()),
            "labelled": self._counts["labelled"],
            "dropped_without_label": self._counts["without_label"],
            "dropped_without_position": self._counts["without_position"],
            **({"dropped_named_twice": named} if (named := self._counts["named_twice"]) else {}),
            "used": len(records),
        }


def _chosen_attributes(tables: Tables, config: BuildConfig) -> tuple[str, ...]:
    usable = tables.attributes()
    for name in config.attributes or ():
        if name not in usable:
            raise unknown_name(
                f"attribute of {tables.entity_type.name} with templates and values", name, usable
            )
    return tuple(name for name in usable if config.attributes is None or name in config.attributes)


def _candidates(tables: Tables, attributes: Sequence[str], config: BuildConfig) -> _Candidates:
    entities = [
        facts
        for partition in PARTITIONS
        for facts in _spread([f for f in tables.entities if f.partition == partition], config.max_entities)
    ]
    chosen = [t for t in tables.templates if t.attribute is None or t.attribute in attributes]
    usable = [template for template in chosen if not glues_letters(template)]
    asking = _held_once([t for t in usable if t.attribute is not None], lambda t: t.text)
    asked = {same_text(template.text) for template in asking}
    free = [t for t in usable if t.attribute is None and same_text(t.text) not in asked]
    held = _held_once(entities, lambda facts: facts.entity)
    found = _Candidates(
        asking=tuple(asking),
        free=tuple(_held_once(free, lambda t: t.text)),
        entities=tuple(held),
        glued=tuple(template.text for template in chosen if glues_letters(template)),
        twice=(),
    )
    kept = {*found.asking, *found.free}
    twice = [*(f.entity for f in entities if f not in held), *(t.text for t in usable if t not in kept)]
    return replace(found, twice=tuple(twice))


def _held_once(rows: Sequence[T], text_of: Callable[[T], str]) -> list[T]:
    """Return the rows without those that an earlier partition has, up to case and blanks."""
    first: dict[str, int] = {}
    for row in rows:
        name, place = same_text(text_of(row)), PARTITIONS.index(row.partition)
        first[name] = min(place, first.get(name, place))
    return [row for row in rows if PARTITIONS.index(row.partition) == first[same_text(text_of(row))]]


def _stop(candidates: _Candidates, config: BuildConfig) -> Stop:
    """Return when answers may stop: once judged, if so few are kept that completing these again costs less
    than the labels of all."""
    if config.selection == "threshold":
        return "labelled"
    attributes = len({template.attribute for template in candidates.asking})
    entities = config.keep_entities / max(1, len(candidates.entities))
    templates = config.keep_templates * attributes / max(1, len(candidates.asking))
    return "judged" if min(1, entities) * min(1, templates) < _FEW_KEPT else "labelled"


def _spread(entities: Sequence[EntityFacts], most: int | None) -> Sequence[EntityFacts]:
    """Return at most that many, at even distances: data is often in the order of the alphabet."""
    if most is None or most >= len(entities):
        return entities
    return [entities[place * len(entities) // most] for place in range(most)]


def _answered(answers: Answers, kept: Kept) -> list[_Answered]:
    found = []
    for row in kept.templates:
        for column in kept.entities:
            if (answer := answers.completions[row][column]) is not None:
                cell = cell_of(row, answers.templates[row], column, answers.entities[column])
                found.append(_Answered(cell, answer, bool(answers.right[row, column])))
    return found


def _free_cells(candidates: _Candidates, kept: Kept) -> list[Cell]:
    return [
        cell_of(row, template, column, candidates.entities[column])
        for row, template in enumerate(candidates.free, start=len(candidates.asking))
        for column in kept.entities
        if template.entity in (None, candidates.entities[column].entity)
        and asked_together(template.partition, candidates.entities[column].partition)
    ]


def _belongs(cell: Cell, plan: SplitPlan) -> bool:
    return cell.template.partition == plan.templates and cell.facts.partition == plan.entities


def _barred(cells: Sequence[Cell]) -> dict[str, frozenset[str]]:
    """Return, for each entity that a template names outside its slot, the prompts of such templates."""
    prompts: dict[str, list[str]] = {}
    for cell in cells:
        prompts.setdefault(cell.template.text, []).append(cell.prompt_id)
    barred = {
        entity: frozenset(i for text, ids in prompts.items() if mentions(text, entity) for i in ids)
        for entity in {cell.facts.entity: None for cell in cells}
    }
    return {entity: ids for entity, ids in barred.items() if ids}


def _questions(here: Sequence[_Asked], attribute: str) -> list[Question]:
    by_template: dict[str, list[PromptRecord]] = {}
    for known in here:
        if known.cell.template.attribute == attribute:
            by_template.setdefault(known.cell.template.text, []).append(known.record)
    return [Question(template, tuple(records)) for template, records in by_template.items()]


def _sources(here: Sequence[_Asked], texts: Sequence[Cell], attribute: str) -> Sources:
    sources: dict[SourceKind, dict[str, list[str]]] = {
        "same_attribute": {},
        "other_attribute": {},
        "attribute_free": {},
    }
    for cell in [*(known.cell for known in here), *texts]:
        kind = source_kind_of(attribute, cell.template.attribute)
        sources[kind].setdefault(cell.facts.entity, []).append(cell.prompt_id)
    return sources
