"""The filled templates of a build: with a raw answer, with a label, or without a question."""

from __future__ import annotations

from dataclasses import dataclass

from ravel.asking.knowledge import Answers, Kept
from ravel.asking.labelling import Cell, cell_of
from ravel.building.candidates import Candidates
from ravel.instance.rows import PromptRecord
from ravel.terms.partitions import asked_together
from ravel.terms.schema import Completion


@dataclass(frozen=True, slots=True)
class AnsweredCell:
    """A filled template with its raw answer."""

    cell: Cell
    """The filled template."""
    answer: Completion
    """What the model said."""
    correct: bool
    """Whether that states the value."""


@dataclass(frozen=True, slots=True)
class LabelledCell:
    """A filled template whose entity has a last token of its own, and what the model said to it."""

    cell: Cell
    """The filled template."""
    record: PromptRecord
    """Its prompt with the label."""


def answered_cells(answers: Answers, kept: Kept) -> list[AnsweredCell]:
    """Return the kept answers, template by template."""
    found = []
    for row in kept.templates:
        for column in kept.entities:
            if (answer := answers.completions[row][column]) is not None:
                cell = cell_of(row, answers.templates[row], column, answers.entities[column])
                found.append(AnsweredCell(cell, answer, bool(answers.right[row, column])))
    return found


def free_cells(candidates: Candidates, kept: Kept) -> list[Cell]:
    """Return the attribute-free texts filled with the kept entities that they may take and can meet."""
    return [
        cell_of(row, template, column, candidates.entities[column])
        for row, template in enumerate(candidates.free, start=len(candidates.asking))
        for column in kept.entities
        if template.entity in (None, candidates.entities[column].entity)
        and asked_together(template.partition, candidates.entities[column].partition)
    ]
