"""Builds an instance from facts, templates and a model that answers: ask, filter, label, pair, write down.

It knows the model only as an `Answerer`; the steps themselves live in knowledge, labels, positions and pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from typing_extensions import Self

from ravel.common.config import Config
from ravel.common.errors import SuiteError, unknown_name
from ravel.instance import Instance, PromptRecord, source_kind_of
from ravel.knowledge import (
    Answerer,
    Answers,
    Kept,
    Progress,
    ask,
    complete_in_chunks,
    keep_above,
    keep_best,
    knowledge_of,
)
from ravel.labels import extract_label, label_tokens_of
from ravel.matching import MatchMode, NumberWithin
from ravel.pairs import DrawRules, Question, Sources, draw_pairs, interleave
from ravel.partitions import SPLIT_PLANS, SplitPlan, asked_together
from ravel.positions import PositionError, last_token_of
from ravel.prompts import fill, glues_letters
from ravel.schema import (
    PARTITIONS,
    SOURCE_KINDS,
    TRAIN_SPLIT,
    Completion,
    EntityFacts,
    InterchangePair,
    Prompt,
    SourceKind,
    Template,
)
from ravel.tables import Tables

__all__ = ["BuildConfig", "SourceShares", "build_instance"]

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_OFFSETS_CHUNK = 4096


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
    out and counted in the manifest; no label is dropped for having several words; nothing is truncated.

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


@dataclass(frozen=True, slots=True)
class _Cell:
    """A template filled with an entity."""

    prompt_id: str
    template: Template
    facts: EntityFacts
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class _Asked:
    """A filled template whose entity has a last token of its own, and what the model said to it."""

    cell: _Cell
    record: PromptRecord


class _Build:
    """One run of the steps; holds what several of them need."""

    def __init__(self, tables: Tables, answerer: Answerer, config: BuildConfig, progress: Progress) -> None:
        self._tables = tables
        self._answerer = answerer
        self._config = config
        self._progress = progress
        self._attributes = _chosen_attributes(tables, config)
        self._labels = _Labels(tables, answerer)
        self._counts: Counter[str] = Counter()

    def run(self) -> Instance:
        candidates = _candidates(self._tables, self._attributes, self._config)
        answers = self._ask(candidates)
        kept = self._keep(answers)
        _refuse_ignorance(answers, kept)
        asked = self._asked(answers, kept)
        free = self._placed(_free_cells(candidates, kept), stage="positions of texts")
        pairs = {plan.name: self._pairs(plan, asked, free) for plan in SPLIT_PLANS}
        _refuse_no_pairs(pairs, answers, kept, self._counts)
        records = [known.record for known in asked] + self._say(free, pairs)
        return self._instance(candidates, answers, kept, _only_used(records, pairs), pairs)

    def _ask(self, candidates: _Candidates) -> Answers:
        return ask(
            candidates.asking,
            candidates.entities,
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
        at = [(row, column) for row in kept.templates for column in kept.entities]
        where = {_prompt_id(row, column): (row, column) for row, column in at if answers.asked[row, column]}
        cells = [
            _cell(row, answers.templates[row], column, answers.entities[column])
            for row, column in where.values()
        ]
        asked = []
        for cell in self._placed(cells, stage="positions"):
            row, column = where[cell.prompt_id]
            answer = answers.completions[row][column]
            if answer is None:
                raise AssertionError("a prompt that was asked has an answer")
            record = self._labels.record(cell, answer, correct=bool(answers.right[row, column]))
            self._counts["without_label"] += record is None
            if record is not None:
                asked.append(_Asked(cell, record))
        self._counts["labelled"] = len(asked)
        return asked

    def _placed(self, cells: Sequence[_Cell], *, stage: str) -> list[_Cell]:
        """Return the cells whose entity ends with a token; the others are counted."""
        placed = []
        for start in range(0, len(cells), _OFFSETS_CHUNK):
            self._progress(stage, start, len(cells))
            chunk = cells[start : start + _OFFSETS_CHUNK]
            offsets = self._answerer.offsets([cell.prompt.text for cell in chunk])
            placed += [c for c, found in zip(chunk, offsets, strict=True) if _has_position(found, c.prompt)]
        self._progress(stage, len(cells), len(cells))
        self._counts["without_position"] += len(cells) - len(placed)
        return placed

    def _pairs(
        self, plan: SplitPlan, asked: Sequence[_Asked], free: Sequence[_Cell]
    ) -> tuple[InterchangePair, ...]:
        here = [known for known in asked if _belongs(known.cell, plan)]
        texts = [cell for cell in free if _belongs(cell, plan)]
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
        self, free: Sequence[_Cell], pairs: Mapping[str, Sequence[InterchangePair]]
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
        )
        return [
            self._labels.record(cell, answer, correct=None)
            or PromptRecord(cell.prompt_id, cell.prompt, "", (), None)
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
        templates = [*(answers.templates[row] for row in kept.templates), *candidates.free]
        return Instance.from_parts(
            entity_type=self._tables.entity_type.name,
            model_name=self._answerer.name,
            model_fingerprint=self._answerer.fingerprint,
            prompts=records,
            pairs=pairs,
            attribute_order=self._attributes,
            seed=self._config.seed,
            config=self._config.model_dump(mode="json"),
            counts={
                "entities": _entity_counts(self._tables, answers, kept),
                "templates": _template_counts(answers, kept),
                "attribute_free_texts": len(candidates.free),
                "templates_with_glued_letters": list(candidates.glued),
                "prompts": self._prompt_counts(answers, records),
                "pairs": {name: _pair_counts(found) for name, found in pairs.items()},
            },
            knowledge=knowledge_of(answers, kept),
            entities=_by_partition([answers.entities[column] for column in kept.entities]),
            templates=[
                {"template": t.text, "attribute": t.attribute, "partition": t.partition} for t in templates
            ],
        )

    def _prompt_counts(self, answers: Answers, records: Sequence[PromptRecord]) -> dict[str, int]:
        return {
            "asked": int(answers.asked.sum()),
            "right": int(answers.right.sum()),
            "labelled": self._counts["labelled"],
            "dropped_without_label": self._counts["without_label"],
            "dropped_without_position": self._counts["without_position"],
            "used": len(records),
        }


class _Labels:
    """Turns answers into labels; each distinct answer is cut once."""

    def __init__(self, tables: Tables, answerer: Answerer) -> None:
        self._answerer = answerer
        self._numeric = {
            attribute.name
            for attribute in tables.entity_type.attributes
            if isinstance(attribute.matcher, NumberWithin)
        }
        self._known: dict[tuple[Completion, bool], tuple[str, tuple[int, ...]] | None] = {}

    def record(self, cell: _Cell, answer: Completion, *, correct: bool | None) -> PromptRecord | None:
        """Return the prompt with its label, or None if the answer has none."""
        numeric = cell.template.attribute in self._numeric
        if (answer, numeric) not in self._known:
            self._known[answer, numeric] = self._cut(answer, numeric=numeric)
        if (found := self._known[answer, numeric]) is None:
            return None
        label, label_ids = found
        return PromptRecord(cell.prompt_id, cell.prompt, label, label_ids, correct)

    def _cut(self, answer: Completion, *, numeric: bool) -> tuple[str, tuple[int, ...]] | None:
        label = extract_label(answer.text, numeric=numeric)
        label_ids = label_tokens_of(answer.token_ids, label, self._answerer.decode) if label else None
        return None if label_ids is None else (label, label_ids)


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
    return _Candidates(
        asking=tuple(template for template in usable if template.attribute is not None),
        free=tuple(template for template in usable if template.attribute is None),
        entities=tuple(entities),
        glued=tuple(template.text for template in chosen if glues_letters(template)),
    )


def _spread(entities: Sequence[EntityFacts], most: int | None) -> Sequence[EntityFacts]:
    """Return at most that many, at even distances: data is often in the order of the alphabet."""
    if most is None or most >= len(entities):
        return entities
    return [entities[place * len(entities) // most] for place in range(most)]


def _free_cells(candidates: _Candidates, kept: Kept) -> list[_Cell]:
    return [
        _cell(row, template, column, candidates.entities[column])
        for row, template in enumerate(candidates.free, start=len(candidates.asking))
        for column in kept.entities
        if template.entity in (None, candidates.entities[column].entity)
        and asked_together(template.partition, candidates.entities[column].partition)
    ]


def _prompt_id(row: int, column: int) -> str:
    return f"t{row:04d}-e{column:05d}"


def _cell(row: int, template: Template, column: int, facts: EntityFacts) -> _Cell:
    return _Cell(_prompt_id(row, column), template, facts, fill(template, facts.entity))


def _has_position(offsets: Sequence[tuple[int, int]], prompt: Prompt) -> bool:
    try:
        last_token_of(offsets, prompt.span)
    except PositionError:
        return False
    return True


def _belongs(cell: _Cell, plan: SplitPlan) -> bool:
    return cell.template.partition == plan.templates and cell.facts.partition == plan.entities


def _questions(here: Sequence[_Asked], attribute: str) -> list[Question]:
    by_template: dict[str, list[PromptRecord]] = {}
    for known in here:
        if known.cell.template.attribute == attribute:
            by_template.setdefault(known.cell.template.text, []).append(known.record)
    return [Question(template, tuple(records)) for template, records in by_template.items()]


def _sources(here: Sequence[_Asked], texts: Sequence[_Cell], attribute: str) -> Sources:
    sources: dict[SourceKind, dict[str, list[str]]] = {
        "same_attribute": {},
        "other_attribute": {},
        "attribute_free": {},
    }
    for cell in [*(known.cell for known in here), *texts]:
        kind = source_kind_of(attribute, cell.template.attribute)
        sources[kind].setdefault(cell.facts.entity, []).append(cell.prompt_id)
    return sources


def _only_used(
    records: Sequence[PromptRecord], pairs: Mapping[str, Sequence[InterchangePair]]
) -> list[PromptRecord]:
    used = {
        name for found in pairs.values() for pair in found for name in (pair.base, pair.source, pair.swapped)
    }
    return [record for record in records if record.prompt_id in used]


def _refuse_ignorance(answers: Answers, kept: Kept) -> None:
    training = [answers.entities[column] for column in kept.entities]
    if kept.templates and any(facts.partition == "train" for facts in training):
        return
    raise SuiteError(
        expected="entities and templates that the model knows",
        came=(
            f"none left after the knowledge filter: {len(answers.entities) - len(kept.entities)} of "
            f"{len(answers.entities)} entities and {len(answers.templates) - len(kept.templates)} of "
            f"{len(answers.templates)} templates failed ({_rights(answers)})"
        ),
        todo="use a model that knows these facts, lower accuracy_threshold, or set `match: reference`",
    )


def _refuse_no_pairs(
    pairs: Mapping[str, Sequence[InterchangePair]], answers: Answers, kept: Kept, counts: Mapping[str, int]
) -> None:
    if pairs[TRAIN_SPLIT] and any(found for name, found in pairs.items() if name != TRAIN_SPLIT):
        return
    found = ", ".join(f"{name} {len(drawn)}" for name, drawn in pairs.items())
    raise SuiteError(
        expected="training pairs and pairs to evaluate on",
        came=(
            f"{found} from {len(kept.entities)} kept entities and {len(kept.templates)} kept templates; "
            f"{counts.get('without_label', 0)} prompts had no label and {counts.get('without_position', 0)} "
            f"no token that ends the entity ({_rights(answers)})"
        ),
        todo="keep more entities and templates, or use a model whose answers differ between entities",
    )


def _rights(answers: Answers) -> str:
    parts = []
    for attribute in dict.fromkeys(template.attribute for template in answers.templates):
        rows = [row for row, template in enumerate(answers.templates) if template.attribute == attribute]
        parts.append(
            f"{attribute} {int(answers.right[rows].sum())} of {int(answers.asked[rows].sum())} right"
        )
    return ", ".join(parts) or "nothing was asked"


def _entity_counts(tables: Tables, answers: Answers, kept: Kept) -> dict[str, dict[str, int]]:
    known = [answers.entities[column] for column in kept.entities]
    return {
        partition: {
            "in_tables": sum(facts.partition == partition for facts in tables.entities),
            "candidates": sum(facts.partition == partition for facts in answers.entities),
            "kept": sum(facts.partition == partition for facts in known),
        }
        for partition in PARTITIONS
    }


def _template_counts(answers: Answers, kept: Kept) -> dict[str, dict[str, dict[str, int]]]:
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row, template in enumerate(answers.templates):
        of_attribute = counts.setdefault(
            template.attribute or "", {p: {"candidates": 0, "kept": 0} for p in PARTITIONS}
        )
        of_attribute[template.partition]["candidates"] += 1
        of_attribute[template.partition]["kept"] += row in kept.templates
    return counts


def _pair_counts(pairs: Sequence[InterchangePair]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for pair in pairs:
        of_attribute = counts.setdefault(pair.attribute, dict.fromkeys(SOURCE_KINDS, 0))
        of_attribute[pair.source_kind] += 1
    return counts


def _by_partition(entities: Sequence[EntityFacts]) -> dict[str, list[str]]:
    return {p: [facts.entity for facts in entities if facts.partition == p] for p in PARTITIONS}
