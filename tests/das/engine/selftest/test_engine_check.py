"""Engines held against each pair alone: what a batch changes is refused, and the proof is cheap."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from das.engine import ResumeEngine
from das.engine.resuming.state_runner import StateRunner
from das.engine.selftest.selftest import proven
from das.models import FAMILIES, TargetModel
from das.models.miniature import miniature
from das.sites import Site, Stream
from ravel.common.errors import SuiteError


def test_a_head_that_goes_by_what_else_it_is_given_is_refused() -> None:
    """An engine asks the vocabulary at a label's tokens only, which this one takes for another question."""
    target = miniature(FAMILIES.get("llama"))
    target.model.lm_head.register_forward_hook(lambda m, inputs, out: out * (1 + inputs[0].shape[1] / 100))
    with pytest.raises(SuiteError, match="the engine direct answers as one row alone does"):
        proven(target)


@pytest.mark.parametrize("stream", ["attention_output", "mlp_output"])
def test_a_part_that_goes_by_its_company_is_refused_alone(stream: Stream) -> None:
    """The norm behind it hides from the stream that it is larger in a longer row."""
    target = miniature(FAMILIES.get("gemma2"))

    def grown(module: nn.Module, inputs: Any, out: Any) -> Any:
        return (out[0] * out[0].shape[1], *out[1:]) if isinstance(out, tuple) else out * out.shape[1]

    target.place(Site(2, stream)).module.register_forward_hook(grown)
    found = proven(target).refused
    assert found is not None
    assert set(found) == {stream}
    assert "the engine direct reads as one row alone does" in found[stream]


def test_the_self_test_is_cheap(small_target: TargetModel) -> None:
    """A load waits for it, and so does every test that loads a model."""
    runs: list[int] = []
    handles = [
        layer.mlp.register_forward_pre_hook(lambda module, inputs: runs.append(1))
        for layer in small_target.model.model.layers
    ]
    try:
        proven(small_target)
    finally:
        for handle in handles:
            handle.remove()
    assert len(runs) <= 15 * small_target.n_layers


def test_what_was_proven_is_not_held_against_the_model_again(
    small_target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = proven(small_target)
    monkeypatch.setattr(StateRunner, "_apart", lambda self: 1.0)
    assert ResumeEngine(target).fallback is None
    assert "apart from its own" in str(ResumeEngine(small_target).fallback)
