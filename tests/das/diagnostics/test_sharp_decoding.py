"""Answers that prefer sharp tokens: greedy at alpha 0, by hand, and as a slow plain way has them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from das.diagnostics.sharp_decoding import SharpDecoding, preferred_tokens, sharp_answers
from das.engine.completing.completion import Completer
from das.models.base import TargetModel
from ravel.common.errors import SuiteError

TargetMaker = Callable[[str], TargetModel]
ROWS = [(5, 6, 7, 8), (9, 8, 7, 6, 5, 4, 3), (20, 21, 22, 23), (11, 12)]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_without_weight_it_is_greedy(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    found = sharp_answers(target, ROWS, SharpDecoding(layer=2, alpha=0.0), 5)
    assert found == Completer(target).complete(ROWS, 5)


def test_a_sharp_token_is_preferred_only_among_plausible_ones() -> None:
    logits = torch.tensor([[0.0, -1.0, -2.5]])
    # Token 0 is alike everywhere, tokens 1 and 2 stand out at one position.
    states = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 9.0, 9.0], [1.0, 0.0, 0.0]]])
    weight = torch.eye(3)
    assert preferred_tokens(logits, states, weight, SharpDecoding(0, 0.0)).tolist() == [0]
    assert preferred_tokens(logits, states, weight, SharpDecoding(0, 0.8)).tolist() == [0]
    # 1 nat of log probability against an entropy of ln 3.
    assert preferred_tokens(logits, states, weight, SharpDecoding(0, 1 / math.log(3) + 0.1)).tolist() == [1]
    # Token 2 stands out as much; once it alone does, it is still less than a tenth as likely.
    states[..., 1] = 0.0
    assert preferred_tokens(logits, states, weight, SharpDecoding(0, 50.0)).tolist() == [0]
    assert preferred_tokens(logits, states, weight, SharpDecoding(0, 50.0, 0.01)).tolist() == [2]


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_answers_are_those_of_one_row_at_a_time(name: str, target_of: TargetMaker) -> None:
    target, how = target_of(name), SharpDecoding(layer=1, alpha=2.0)
    found = sharp_answers(target, ROWS, how, 4, batch_tokens=20)
    weight = target.model.get_output_embeddings().weight.detach()
    for row, answer in zip(ROWS, found, strict=True):
        new: list[int] = []
        with torch.no_grad():
            first = target.model(torch.tensor([row]), output_hidden_states=True)
            states = first.hidden_states[how.layer + 1][0].double()
            while len(new) < 4 and not (new and new[-1] in target.end_ids):
                logs = target.model(torch.tensor([(*row, *new)])).logits[0, -1].double().log_softmax(-1)
                scores = {}
                for token in (logs >= logs.max() + math.log(0.1)).nonzero()[:, 0].tolist():
                    p = (states @ weight[token].double()).softmax(-1)
                    scores[token] = float(logs[token]) + 2.0 * float((p * p.log()).nansum())
                new.append(max(scores, key=scores.__getitem__))
        assert answer == tuple(new)
    assert found != Completer(target).complete(ROWS, 4)


def test_a_layer_that_is_not_there_is_refused(small_target: TargetModel) -> None:
    with pytest.raises(SuiteError, match="layer"):
        sharp_answers(small_target, ROWS, SharpDecoding(layer=4, alpha=1.0), 2)
