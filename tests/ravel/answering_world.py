"""A small made-up entity type and a model that answers from a table: no tokenizer, no weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ravel.asking.answerer import Decided
from ravel.facts.tables import Tables
from ravel.matching import NumberWithin, Prefix
from ravel.terms.schema import (
    PARTITIONS,
    SLOT,
    Attribute,
    Completion,
    EntityFacts,
    EntityType,
    Partition,
    Prompt,
    Template,
)

COLOURS = ("red", "dark green", "blue", "white")
SIZES = ("-12", "0", "7", "118")
TOWN = EntityType(
    name="town",
    attributes=(
        Attribute("Colour", Prefix(), "a colour, some of two words"),
        Attribute("Height", NumberWithin(within=0), "whole metres"),
        Attribute("Unasked", Prefix(), "an attribute without templates"),
    ),
    description="made-up towns",
    licence="none needed",
    bundled=False,
    release=False,
)

Say = Callable[[Prompt, str], str]


def partition_of(index: int) -> Partition:
    """Half to train, a quarter each to val and test."""
    return PARTITIONS[(0, 1, 0, 2)[index % 4]]


def town_name(index: int) -> str:
    """Give a name of one to three syllables; no name is part of another."""
    syllables = ("ba", "ko", "li", "mu", "re", "sa", "ti", "vo")
    return "X" + "".join(syllables[index // 8**place % 8] for place in range(3)) + "n"


def town_tables(n_entities: int = 40, n_templates: int = 8) -> Tables:
    """Make tables with two attributes, some attribute-free texts and one text of a single town."""
    entities = tuple(
        EntityFacts(
            town_name(i),
            partition_of(i),
            (("Colour", COLOURS[(i // 4) % 4]), ("Height", SIZES[(i // 4 + i % 3) % 4]), ("Unasked", "x")),
        )
        for i in range(n_entities)
    )
    asking = tuple(
        Template(f"{attribute} no {i}: {SLOT} is", attribute, partition_of(i))
        for attribute in ("Colour", "Height")
        for i in range(n_templates)
    )
    free = tuple(Template(f"Text {i} tells of {SLOT}", None, partition_of(i)) for i in range(4))
    bound = Template(f"Once upon a time in {SLOT}", None, "train", entity=entities[0].entity)
    return Tables(TOWN, entities, (*asking, *free, bound))


class TableAnswerer:
    """Answers from the tables in words; its tokens are chunks of three letters with the blank before them.

    It stops where it may, unless it is `deaf` to that.
    """

    def __init__(self, tables: Tables, say: Say | None = None, *, deaf: bool = False) -> None:
        self.deaf = deaf
        self.name = "table"
        self.fingerprint = "f" * 64
        self.instrument: dict[str, str] = {}
        self.calls: list[str] = []
        self.went_on: list[str] = []
        self._values = {facts.entity: dict(facts.values) for facts in tables.entities}
        self._say = say

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        self.calls += [prompt.text for prompt in prompts]
        whole = [self._complete(prompt, max_new_tokens) for prompt in prompts]
        if decided is None or self.deaf:
            return whole
        return [self._until(place, answer, decided) for place, answer in enumerate(whole)]

    def go_on(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        self.went_on += [prompt.text for prompt in prompts]
        whole = [self._complete(prompt, max_new_tokens) for prompt in prompts]
        assert all(w.token_ids[: len(b)] == b for w, b in zip(whole, begun, strict=True))
        if decided is None or self.deaf:
            return whole
        parts = enumerate(zip(whole, begun, strict=True))
        return [self._until(place, answer, decided, len(start)) for place, (answer, start) in parts]

    def _until(self, place: int, answer: Completion, decided: Decided, start: int = 0) -> Completion:
        for count in range(start + 1, len(answer.token_ids)):
            if decided(place, ids := answer.token_ids[:count]):
                return Completion(self.decode(ids), ids)
        return answer

    def _complete(self, prompt: Prompt, max_new_tokens: int) -> Completion:
        true = self._values[prompt.entity].get(prompt.attribute or "", "")
        said = f" {true}. So it is" if prompt.attribute else " and all was well."
        text = said if self._say is None else self._say(prompt, said)
        tokens = pieces(text)[:max_new_tokens]
        return Completion("".join(tokens), tuple(int.from_bytes(t.encode(), "big") for t in tokens))

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(number.to_bytes(32, "big").lstrip(b"\0").decode() for number in token_ids)

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(0, 0), *piece_offsets(text)] for text in texts]


def pieces(text: str) -> list[str]:
    """Split into chunks of at most three letters, or one mark, with the white space before them."""
    return re.findall(r"\s*(?:\w{1,3}|[^\w\s]|$)", text)


def piece_offsets(text: str) -> list[tuple[int, int]]:
    """Return the places of `pieces`."""
    found, start = [], 0
    for piece in pieces(text):
        found.append((start, start + len(piece)))
        start += len(piece)
    return found
