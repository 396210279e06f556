"""Adapters of PEFT: one put on a model from its folder, and the model inside the wrapper. What they change is
not known here."""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from das.models.fetching.catalogue import NAMED
from ravel.common.errors import SuiteError

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_MISSING = "missing adapter keys"
"""Words of the warning by which PEFT says that a file has not all that its modules need."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_IN_THE_WRAPPER = ("XLORA", "POLY")
"""Kinds of adapters that need what the wrapper's forward pass works out."""


def with_adapter(model: Any, folder: Path, name: str, *, merged: bool = False) -> Any:
    """Return a model with the adapter of a folder on it: at work in its modules or, if `merged`, added to its
    weights.

    `name` is what the user calls the model; the model is changed in place. Raises SuiteError without PEFT,
    for a folder that holds no adapter, and for an adapter of another base: one that says so, or whose
    modules, shapes or tensors are not all this model's.
    """
    _check_folder(folder)
    # Imported here, for it is an optional extra that takes a second.
    import peft

    try:
        config = peft.PeftConfig.from_pretrained(folder)
        _check_base(config.base_model_name_or_path, name, folder)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            wrapped = peft.PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
            # The same again, for only this way says what of the file the model has no place for.
            result = wrapped.load_adapter(folder, "default", autocast_adapter_dtype=False)
        inner = unwrapped(wrapped)
    except SuiteError:
        raise
    except Exception as error:  # noqa: BLE001, RUF100 - what does not fit fails in as many ways as adapters have
        raise _of_another_base(folder, name, " ".join(str(error).split()).rstrip(".")[:200]) from None
    if any(_MISSING in str(one.message) for one in said):
        raise _of_another_base(folder, name, "one without tensors for some of the modules that it changes")
    if result.unexpected_keys:
        extra = f"{len(result.unexpected_keys)} tensors, among them {result.unexpected_keys[0]}"
        raise _of_another_base(folder, name, f"one for a model that has more: {extra}")
    return wrapped.merge_and_unload() if merged else inner


def _check_folder(folder: Path) -> None:
    if find_spec("peft") is None:
        raise SuiteError(
            expected=f"the package peft for the adapter in {folder}",
            came="a Python environment without it",
            todo="install peft, or merge the adapter into the weights elsewhere",
        )
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise SuiteError(
            expected=f"a folder with {_CONFIG} and {_WEIGHTS} at {folder}, as PEFT saves an adapter",
            came=f"one without {missing[0]}" if folder.is_dir() else "no folder",
            todo="name the folder that save_pretrained of the adapter wrote, in safetensors",
        )


def _check_base(base: str | None, name: str, folder: Path) -> None:
    """Raise SuiteError where both the adapter and the user name the model by hub id, and not the same one;
    paths say nothing, for a copy of the base may lie anywhere."""
    known = NAMED[name].base if name in NAMED else name
    comparable = base is not None and _HUB_ID.fullmatch(base) and _HUB_ID.fullmatch(known)
    if comparable and not Path(known).is_dir() and str(base).casefold() != known.casefold():
        raise _of_another_base(folder, name, f"one for {base}, as its {_CONFIG} says")


def _of_another_base(folder: Path, name: str, came: str) -> SuiteError:
    return SuiteError(
        expected=f"an adapter for {name} in {folder}",
        came=came or "one that can't be put on it",
        todo="give the model that it was trained on with --model; if that is this one under another name, "
        f"say so in its {_CONFIG} (base_model_name_or_path)",
    )


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
