"""Turns filled templates and answers into labelled prompts, or says that one has no label or no position.

It knows no values, no filter and no pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ravel.asking.answerer import Answerer
from ravel.asking.labels import extract_label, label_tokens_of
from ravel.asking.positions import PositionError, last_token_of
from ravel.asking.prompts import fill
from ravel.common.progress import Counted, Progress
from ravel.instance.rows import PromptRecord
from ravel.matching import NumberWithin
from ravel.terms.schema import Completion, EntityFacts, EntityType, Prompt, Template

# Prompts per call of the tokenizer, between two reports of progress.
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Cell:
    """A template filled with an entity."""

    prompt_id: str
    """Made of the template's and the entity's places among the candidates."""
    template: Template
    """Asks for an attribute or for nothing."""
    facts: EntityFacts
    """The entity."""
    prompt: Prompt
    """The filled template."""


def cell_of(row: int, template: Template, column: int, facts: EntityFacts) -> Cell:
    """Fill template number `row` with entity number `column`; the id says both numbers."""
    return Cell(f"t{row:04d}-e{column:05d}", template, facts, fill(template, facts.entity))


def with_position(cells: Sequence[Cell], answerer: Answerer, *, progress: Progress, stage: str) -> list[Cell]:
    """Return the cells whose entity ends with a token of its own, in order."""
    found: list[Cell] = []
    for start in range(0, len(cells), _CHUNK):
        progress(Counted(stage, start, len(cells)))
        chunk = cells[start : start + _CHUNK]
        offsets = answerer.offsets([cell.prompt.text for cell in chunk])
        found += [c for c, places in zip(chunk, offsets, strict=True) if _has_position(places, c.prompt)]
    progress(Counted(stage, len(cells), len(cells)))
    return found


def _has_position(offsets: Sequence[tuple[int, int]], prompt: Prompt) -> bool:
    try:
        last_token_of(offsets, prompt.span)
    except PositionError:
        return False
    return True


class Labeller:
    """Turns answers into labels; each distinct answer is cut once."""

    def __init__(self, entity_type: EntityType, answerer: Answerer) -> None:
        self._answerer = answerer
        self._numeric = {
            attribute.name
            for attribute in entity_type.attributes
            if isinstance(attribute.matcher, NumberWithin)
        }
        self._known: dict[tuple[Completion, bool], tuple[str, tuple[int, ...]] | None] = {}

    def record(self, cell: Cell, answer: Completion, *, correct: bool | None) -> PromptRecord | None:
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


def unanswered(cell: Cell) -> PromptRecord:
    """Return an attribute-free prompt, which is not completed: only sources are like that, and nobody reads
    what the model would say after a source."""
    return PromptRecord(cell.prompt_id, cell.prompt, "", (), None)
