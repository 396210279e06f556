"""Nothing that a model leaves behind reaches other models of the process: after all engines, classes and
modules, registries and hooks are what they were before."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn.modules import module as torch_module
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from das.engine import ENGINES, ForcedPair, make_engine
from das.engine.selftest.selftest import proven
from das.featurizers import Subspace
from das.models import FAMILIES, TargetModel
from das.models.load import target_from
from das.models.miniature import character_tokenizer, miniature
from das.sites import Site

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
IDS = torch.tensor([[1, 7, 20, 5, 9]])


def shared_with(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return by name what other models share with this one: the classes of its parts and their bases, the
    modules that these are written in, torch's and transformers' tables of functions."""
    classes = {cls for part in model.modules() for cls in type(part).__mro__}
    homes = {cls.__module__ for cls in classes} | {"transformers.masking_utils", "transformers.cache_utils"}
    tables: dict[str, Mapping[Any, Any]] = {
        "attention functions": dict(ALL_ATTENTION_FUNCTIONS),
        "mask functions": dict(ALL_MASK_ATTENTION_FUNCTIONS),
        "torch.nn.functional": vars(nn.functional),
        **{name: getattr(torch_module, name) for name in _GLOBAL_HOOKS},
        **{f"module {name}": vars(sys.modules[name]) for name in homes if name.startswith("transformers")},
        **{f"class {cls.__module__}.{cls.__qualname__}": vars(cls) for cls in classes},
    }
    return {name: dict(table) for name, table in tables.items()}


def own_of(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return each part's attributes: a `forward` that was put onto an object would stand here."""
    return {name: dict(vars(part)) for name, part in model.named_modules()}


def changed(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """Return which entries are another object than before, are gone, or are new."""
    missing = object()
    return [
        f"{name}: {key}"
        for name in before.keys() | after.keys()
        for key in before.get(name, {}).keys() | after.get(name, {}).keys()
        if before.get(name, {}).get(key, missing) is not after.get(name, {}).get(key, missing)
    ]


def use(target: TargetModel, pairs: list[ForcedPair]) -> None:
    """Test a model and run all that engines do on it."""
    proven(target)
    for name in ENGINES:
        engine = make_engine(name, target)
        for stream in target.streams:
            site = Site(1, stream, head=0 if stream == "head_output" else None)
            if name == "reference" and stream in target.family.beyond_reference:
                continue
            featurizer = Subspace(torch.eye(target.width(site))[:, :2])
            engine.collect([pair.base for pair in pairs], [site])
            engine.interchange_logits(pairs, site, featurizer)
        engine.complete([pair.base for pair in pairs], 3)


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(IDS).logits
        return logits


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES.names())
def test_a_model_leaves_nothing_on_what_others_share(name: str, make_prompt: Callable[..., Any]) -> None:
    family = FAMILIES.get(name)
    other = miniature(family, seed=1).model
    model = transformers.AutoModelForCausalLM.from_config(family.miniature()).eval()
    pairs = [
        ForcedPair(make_prompt("%s is", n), make_prompt("in %s it", "Ulm"), (5, 6)) for n in ("Bo", "Kim")
    ]
    logits_of(model)
    expected, before, own = logits_of(other), shared_with(model), own_of(other)
    use(target_from(model, character_tokenizer(), "one"), pairs)
    assert changed(before, shared_with(model)) == []
    assert changed(own, own_of(other)) == []
    assert torch.equal(logits_of(other), expected)
    left = [p for p, part in model.named_modules() if any(getattr(part, table) for table in _HOOKS)]
    assert left == []
    assert not any("forward" in vars(part) for part in model.modules())


def test_a_change_of_a_class_or_a_table_is_seen() -> None:
    model = miniature(FAMILIES.get("llama")).model
    before = shared_with(model)
    attention = type(model.model.layers[0].self_attn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "forward", copy.copy(attention.forward))
        assert changed(before, shared_with(model)) == []
        patch.setattr(attention, "forward", lambda *given, **more: None)
        assert changed(before, shared_with(model)) == [
            f"class {attention.__module__}.{attention.__qualname__}: forward"
        ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ALL_ATTENTION_FUNCTIONS, "ours", nn.functional.scaled_dot_product_attention)
        assert changed(before, shared_with(model)) == ["attention functions: ours"]
    assert changed(before, shared_with(model)) == []
