"""Answers drawn by chance: from the right distribution, by their chances alone, as a row by itself has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from das.engine import EngineAnswerer, make_engine
from das.engine.completing.sampling import drawn_tokens
from das.engine.engines.direct import DirectEngine
from das.models.base import TargetModel
from ravel.asking.answerer import SamplingAnswerer
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

TargetMaker = Callable[[str], TargetModel]
PromptMaker = Callable[..., Any]


def _prompts(make_prompt: PromptMaker) -> list[Prompt]:
    return [
        make_prompt("%s is a city in", "Rome"),
        make_prompt("The well known city of %s", "Ulm"),
        make_prompt("%s", "X"),
        make_prompt("%s is a city in", "Oslo"),
    ]


def _chances(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_tokens_come_as_often_as_their_probability_says() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, -torch.inf])
    chances = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    for temperature in (0.5, 1.0, 2.0):
        drawn = drawn_tokens(logits.expand(10_000, -1), chances, temperature)
        shares = torch.bincount(drawn, minlength=4).double() / 10_000
        torch.testing.assert_close(shares, (logits.double() / temperature).softmax(0), atol=2e-4, rtol=0)


def test_chances_at_the_ends_give_tokens_that_can_be() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]] * 2)
    ends = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert drawn_tokens(logits, ends, 1.0).tolist() == [1, 2]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_samples_are_those_of_one_row_at_a_time(
    name: str, target_of: TargetMaker, make_prompt: PromptMaker
) -> None:
    target, prompts = target_of(name), _prompts(make_prompt)
    chances = _chances(len(prompts), 3, 5)
    found = DirectEngine(target, 256).sample(prompts, chances, 1.3)
    for prompt, of_prompt, rows in zip(prompts, found, chances, strict=True):
        for answer, row in zip(of_prompt, rows, strict=True):
            ids, new = list(target.tokenizer(prompt.text)["input_ids"]), list[int]()
            for chance in row.tolist():
                with torch.no_grad():
                    logits = target.model(torch.tensor([ids + new])).logits[0, -1]
                sums = (logits.double() / 1.3).softmax(0).cumsum(0)
                new.append(int((sums <= chance * sums[-1]).sum()))
                if new[-1] in target.end_ids:
                    break
            assert answer.token_ids == tuple(new)
    assert len({answer.token_ids for of_prompt in found for answer in of_prompt}) > 6


def test_a_cold_model_says_what_is_likeliest(small_target: TargetModel, make_prompt: PromptMaker) -> None:
    prompts = _prompts(make_prompt)
    engine = make_engine("resume", small_target)
    assert isinstance(engine, DirectEngine)
    cold = engine.sample(prompts, _chances(len(prompts), 2, 4), 1e-4)
    assert [list(of_prompt) for of_prompt in cold] == [[one, one] for one in engine.complete(prompts, 4)]


def test_samples_stop_where_their_prompt_s_rule_says(
    small_target: TargetModel, make_prompt: PromptMaker
) -> None:
    prompts = _prompts(make_prompt)
    stopped = DirectEngine(small_target).sample(
        prompts, _chances(len(prompts), 2, 6), 1.0, lambda place, ids: len(ids) > place
    )
    lengths = [[len(answer.token_ids) for answer in of_prompt] for of_prompt in stopped]
    assert all(length <= place + 1 for place, of_prompt in enumerate(lengths) for length in of_prompt)
    whole = DirectEngine(small_target).sample(prompts, _chances(len(prompts), 2, 6), 1.0)
    for short, long in zip(stopped, whole, strict=True):
        for one, other in zip(short, long, strict=True):
            assert other.token_ids[: len(one.token_ids)] == one.token_ids


def test_an_engine_that_can_not_sample_is_refused(
    small_target: TargetModel, make_prompt: PromptMaker
) -> None:
    answerer = EngineAnswerer(make_engine("reference", small_target))
    assert isinstance(answerer, SamplingAnswerer)
    with pytest.raises(SuiteError, match="the engine reference"):
        answerer.sample(_prompts(make_prompt), np.zeros((4, 1, 2)), 1.0)
