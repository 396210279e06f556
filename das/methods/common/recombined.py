"""Pairs put together anew from training prompts: any base with any source whose answer there is known. It
draws rows of vectors and places of labels; it knows no model and no network."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ravel.instance import PromptRecord

_REDRAWS = 3
"""How often a source's answer is drawn again where it is the base's own; then it stays."""


class Groups:
    """Members of groups, to draw one of each of many groups."""

    def __init__(self, keys: Sequence[Hashable]) -> None:
        """`keys` says of each member which group it is in."""
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.of = torch.tensor([numbers[key] for key in keys])
        """The number of each member's group, [members]."""
        self._members = self.of.argsort(stable=True)
        self._counts = self.of.bincount()
        self._starts = self._counts.cumsum(0) - self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def drawn(self, groups: Tensor, stream: torch.Generator) -> Tensor:
        """Return a member of each of `groups` [n], all members of a group being as likely."""
        within = torch.rand(len(groups), generator=stream) * self._counts[groups]
        # A product may round up to the count itself.
        return self._members[self._starts[groups] + within.long().minimum(self._counts[groups] - 1)]


@dataclass(frozen=True, slots=True)
class Recombined:
    """Pairs that were put together; all [n]."""

    bases: Tensor
    """Rows of the bases' vectors."""
    sources: Tensor
    """Rows of the sources' vectors."""
    answers: Tensor
    """Which prompt that asks for the attribute has the wanted answer, by its place among these."""


class Recombination:
    """The training prompts that ask for one attribute, and every vector of every training entity.

    A cause pair is a base, another entity's prompt of the same template, whose answer is wanted, and any
    vector of that entity. An isolate pair is a base, whose own answer is wanted, and any vector.
    """

    def __init__(self, records: Sequence[PromptRecord], attribute: str, entities: Groups) -> None:
        """`records` are all training prompts in the order of their vectors, `entities` those of each."""
        asking = [
            (row, record)
            for row, record in enumerate(records)
            if record.prompt.attribute == attribute and record.label_ids
        ]
        self._entities = entities
        self._templates = Groups([record.prompt.template for _, record in asking])
        self.rows = torch.tensor([row for row, _ in asking])
        """Rows of the vectors of prompts that ask for the attribute, [prompts]."""
        self._said = Groups([record.label_ids for _, record in asking]).of

    def causes(self, n: int, stream: torch.Generator) -> Recombined:
        """Return `n` pairs whose base is to say what the source's entity is."""
        base = torch.randint(0, len(self.rows), (n,), generator=stream)
        answer = self._templates.drawn(self._templates.of[base], stream)
        for _ in range(_REDRAWS):
            again = self._templates.drawn(self._templates.of[base], stream)
            answer = torch.where(self._said[answer] == self._said[base], again, answer)
        source = self._entities.drawn(self._entities.of[self.rows[answer]], stream)
        return Recombined(self.rows[base], source, answer)

    def isolates(self, n: int, stream: torch.Generator) -> Recombined:
        """Return `n` pairs whose base is to say what it says by itself."""
        base = torch.randint(0, len(self.rows), (n,), generator=stream)
        others = torch.randint(0, len(self._entities), (n,), generator=stream)
        return Recombined(self.rows[base], self._entities.drawn(others, stream), base)
