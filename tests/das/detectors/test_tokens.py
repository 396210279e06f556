"""The highest score over a prompt's tokens: which tokens are read, and that an engine reads them alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from das.detectors.directions import Directions
from das.detectors.tokens import maximum_over_tokens
from das.sites import Site
from ravel.terms.schema import Prompt

NUMBERS = {"one": 1.0, "two": 2.0, "minus": -7.0, "nine": 9.0}


class WordEngine:
    """A word is a token, behind one that is put before every text; its vector is its number and -1 times
    it, and that of the first token is 100."""

    def __init__(self) -> None:
        self.target = SimpleNamespace(tokenizer=self.tokenised)
        self.asked: list[Site] = []

    @staticmethod
    def tokenised(texts: Sequence[str], **settings: Any) -> dict[str, list[Any]]:
        """Return ids, character spans and which tokens are special."""
        spans = [[(0, 0), *(m.span() for m in re.finditer(r"\S+", text))] for text in texts]
        return {
            "input_ids": [list(range(len(own))) for own in spans],
            "offset_mapping": spans,
            "special_tokens_mask": [[1] + [0] * (len(own) - 1) for own in spans],
        }

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Return the vectors of the words at the prompts' spans."""
        self.asked += sites
        numbers = [NUMBERS.get(p.text[slice(*p.span)], 100.0) for p in prompts]
        return dict.fromkeys(sites, torch.tensor([[number, -number] for number in numbers]))


def prompt(text: str) -> Prompt:
    return Prompt(text, text, text.split()[0], "A", (0, len(text.split()[0])))


def test_it_is_the_highest_over_all_tokens_but_the_first() -> None:
    engine, detector = WordEngine(), Directions("A", ("up", "down"), torch.eye(2))
    prompts = [prompt("one two minus"), prompt("nine"), prompt("minus minus one nine one")]
    found = maximum_over_tokens(detector, prompts, engine, Site(3, position="prompt_last"))  # type: ignore[arg-type]
    assert found.tolist() == [[2.0, 7.0], [9.0, -9.0], [9.0, 7.0]]
    # A site's position is one token's, and here all are read.
    assert set(engine.asked) == {Site(3, position="entity_last")}


@pytest.mark.parametrize("n", [1, 300])
def test_prompts_do_not_depend_on_each_other(n: int) -> None:
    detector = Directions("A", ("up", "down"), torch.eye(2), rectified=True)
    found = maximum_over_tokens(detector, [prompt("one two")] * n, WordEngine(), Site(0))  # type: ignore[arg-type]
    assert found.tolist() == [[2.0, 0.0]] * n


def test_of_no_prompt_there_is_no_score() -> None:
    detector = Directions("A", ("up", "down"), torch.eye(2))
    assert tuple(maximum_over_tokens(detector, [], WordEngine(), Site(0)).shape) == (0, 2)  # type: ignore[arg-type]
