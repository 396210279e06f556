"""The model inside PEFT's wrapper, found by its documented structure; PEFT itself is not imported."""

from __future__ import annotations

from typing import Any

from ravel.common.errors import SuiteError

__all__ = ["unwrapped"]

_IN_THE_WRAPPER = ("XLORA", "POLY")
"""Kinds of adapters that need what the wrapper's forward pass works out."""


def unwrapped(model: Any) -> Any:
    """Return the causal language model inside a `PeftModel`, with its adapters in its modules and at work;
    any other model is returned as it is.

    Raises SuiteError for adapters that act in the wrapper's own forward pass, such as learnt prompts.
    """
    # A model of transformers into which adapters were loaded has `peft_config` too, but its `base_model`
    # is no module of its own.
    if not hasattr(model, "peft_config") or "base_model" not in getattr(model, "_modules", {}):
        return model
    for name in _active(model):
        reason = _outside(model.peft_config[name])
        if reason is not None:
            raise SuiteError(
                expected="adapters that lie inside the model's modules, such as LoRA",
                came=f"{name!r}, {reason}",
                todo="merge it into the weights if its kind allows that, or choose another adapter",
            )
    return model.base_model.model


def _active(model: Any) -> list[str]:
    names = model.active_adapters
    return [names] if isinstance(names, str) else list(names)


def _outside(config: Any) -> str | None:
    if getattr(config, "is_prompt_learning", False):
        return "which puts learnt vectors in front of every prompt"
    kind = str(getattr(config, "peft_type", "")).rpartition(".")[2]
    if kind in _IN_THE_WRAPPER or getattr(config, "alora_invocation_tokens", None):
        return "which depends on what PEFT's wrapper works out for each text"
    return None
