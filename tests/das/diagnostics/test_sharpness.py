"""Contextual entropy by hand, and signs of answers as a slow plain way has them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from das.diagnostics.sharpness import answer_signs, contextual_entropy
from das.methods.common.base import NotApplicableError
from das.models.base import TargetModel
from ravel.common.errors import SuiteError

TargetMaker = Callable[[str], TargetModel]


def test_entropy_by_hand() -> None:
    assert float(contextual_entropy(torch.full((4,), 3.0))) == pytest.approx(1.386294, abs=1e-6)
    assert float(contextual_entropy(torch.tensor([math.log(3), 0.0]))) == pytest.approx(0.562335, abs=1e-6)
    lonely = contextual_entropy(torch.tensor([20.0, 0.0, 0.0, 0.0]))
    # One position e^20 as heavy as each of three others: 3 (20 + 1) e^-20.
    assert float(lonely) == pytest.approx(63 * math.exp(-20), rel=1e-6)


def test_entropy_does_not_see_a_constant_nor_what_is_not_seen() -> None:
    row = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(contextual_entropy(row + 1000)) == pytest.approx(float(contextual_entropy(row)))
    seen = torch.tensor([True, True, False, True, False, False])
    assert float(contextual_entropy(row, seen)) == pytest.approx(float(contextual_entropy(row[seen])))
    assert 0 <= float(contextual_entropy(row)) <= math.log(6)
    assert float(contextual_entropy(row[:1])) == 0


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("final_norm", [False, True])
def test_signs_are_those_of_one_row_at_a_time(name: str, final_norm: bool, target_of: TargetMaker) -> None:
    target = target_of(name)
    rows = [(5, 6, 7), (9, 8, 7, 6, 5, 4, 3), (11,), (20, 21, 22, 23)]
    found = answer_signs(target, rows, (0, 2), final_norm=final_norm, batch_tokens=64)
    norm = {"llama": "model.norm", "gpt2": "transformer.ln_f", "gemma2": "model.norm"}[name]
    for i, row in enumerate(rows):
        with torch.no_grad():
            output = target.model(torch.tensor([row]), output_hidden_states=True)
        logits = output.logits[0, -1].double()
        token = int(logits.argmax())
        top = logits.topk(2).values
        assert int(found.tokens[i]) == token
        assert float(found.log_probability[i]) == pytest.approx(
            float(logits.log_softmax(-1)[token]), abs=1e-4
        )
        assert float(found.margin[i]) == pytest.approx(float(top[0] - top[1]), abs=1e-4)
        for column, layer in enumerate((0, 2)):
            state = output.hidden_states[layer + 1][0]
            if final_norm:
                state = target.model.get_submodule(norm)(state)
            activations = state.float() @ target.model.get_output_embeddings().weight[token].detach()
            p = activations.double().softmax(-1)
            slow = -float((p * p.log()).sum())
            assert float(found.entropy[i, column]) == pytest.approx(slow, abs=1e-4)


def test_a_layer_that_is_not_there_is_refused(small_target: TargetModel) -> None:
    with pytest.raises(SuiteError, match="layer"):
        answer_signs(small_target, [(5, 6)], (4,))


def test_a_last_norm_that_is_not_found_is_refused(target_of: TargetMaker) -> None:
    target = target_of("llama")
    norm = target.model.model.norm
    target.model.model.norm = torch.nn.Identity()
    try:
        with pytest.raises(NotApplicableError, match="0 norms outside"):
            answer_signs(target, [(5, 6)], (1,), final_norm=True)
    finally:
        target.model.model.norm = norm


def test_a_projection_that_reads_no_states_is_refused(target_of: TargetMaker) -> None:
    with pytest.raises(NotApplicableError, match="reads 24 numbers"):
        answer_signs(target_of("opt"), [(5, 6)], (1,))
