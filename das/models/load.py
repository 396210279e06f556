"""Loading a target model from the hub, a folder or the bundle; it knows nothing of what will be asked of
it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig
from transformers.utils import is_peft_available, logging

from das.models import FAMILIES
from das.models.adapters import unwrapped, with_adapter
from das.models.base import ModelFamily, TargetModel
from das.models.configs import quantisation_config
from das.models.fetching.cached import cached_model
from das.models.fetching.folders import converted
from das.models.fetching.gguf import is_gguf
from das.models.fetching.provenance import provenance_of
from das.models.generic import infer_family
from das.models.instrument import Instrument, instrument_of
from das.models.placing import AUTO, device_named, dtype_named
from das.models.tokenizing.tokenizers import file_of, read_tokenizer
from das.models.wrappers import model_class
from das.out_of_memory import memory_guard, ran_out_of_memory
from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError

__all__ = ["AUTO", "BUNDLED", "load_target", "target_from"]

BUNDLED = "bundled"
"""The name that stands for the target model shipped with the suite."""

_HOW_TO = "docs/how-to/add-a-model-family.md"
_LAYERS = 1000
"""Layers of a model at most."""
_LARGEST = 2**40
"""Largest whole number of a config: token limits that stand for none are written as 10^30, in tokenizers."""


def load_target(
    name_or_path: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    max_memory: Mapping[int | str, int | str] | None = None,
    adapter: Path | None = None,
    merge_adapter: bool = False,
) -> TargetModel:
    """Load a causal language model and its fast tokenizer, frozen and in eval mode.

    `name_or_path` is a hub id, a local folder, a GGUF file, the short name of a model that `fetch_model`
    brought, or `bundled`. A GGUF file is made into a folder in the cache, once. Weights are read from
    safetensors only, unless `allow_pickle`; a model's own code is run only with `trust_remote_code`. `dtype`
    is one of `DTYPES`, or `auto` for what is fastest on the device. With the device `auto` accelerate
    spreads the blocks over all GPUs, then main memory, then the disk, from where they are read for each pass;
    `max_memory` bounds each of these as accelerate has it, such as `{0: "20GiB", "cpu": "64GiB"}`. `adapter`
    is a folder of PEFT's that is put on the model: at work in its modules, or with `merge_adapter` added to
    its weights. Raises SuiteError for a model that can't be found, one in which no blocks are found, a slow
    tokenizer, missing weights, a device that is absent or full, for `auto` without accelerate, and for an
    adapter as `with_adapter` does.
    """
    if device == AUTO:
        _need_accelerate()
    place = device_named(device)
    weights_dtype = dtype_named(dtype, place)
    source = _source_of(name_or_path)
    _check_adapter(source, name_or_path)
    config = _read_config(source, name_or_path, trust_remote_code)
    _check_family(config, trust_remote_code)
    tokenizer = read_tokenizer(source, name_or_path, trust_remote_code)
    todo = "load it in a smaller dtype (--dtype bfloat16), on several devices (--device auto) or on the CPU"
    with memory_guard(f"room for {name_or_path} on {device}", todo):
        spread = {"device_map": AUTO, "max_memory": max_memory} if device == AUTO else {}
        model = _read_weights(
            source, name_or_path, config, weights_dtype, trust_remote_code, allow_pickle, spread=spread
        )
        if device != AUTO:
            model = model.to(place)
    folder = _folder_of(source)
    if adapter is None:
        return target_from(model, tokenizer, name_or_path, folder=folder)
    model = with_adapter(model, adapter, name_or_path, merged=merge_adapter)
    # What is kept beside the folder is about the weights as they lie there.
    instrument = instrument_of(model, tokenizer, made_of=provenance_of(folder))
    return target_from(model, tokenizer, name_or_path, instrument=instrument)


def target_from(
    model: Any,
    tokenizer: Any,
    name: str,
    *,
    folder: Path | None = None,
    instrument: Instrument | None = None,
) -> TargetModel:
    """Make a target of a causal language model already in memory; it is frozen and put in eval mode in place.

    A model wrapped by PEFT is read with its adapters at work. A model of no known family gets one that
    `infer_family` finds; it is tested when an engine is made for it. `folder` is where the weights came
    from, unchanged: their hash and the self-test's verdict are kept there; `instrument` is that of the
    same objects, where it was worked out before. Raises SuiteError where no family is found, for a
    tokenizer without character offsets, and for adapters that act outside the model's modules.
    """
    model = unwrapped(model)
    family = _registered(model.config.model_type) or infer_family(model)
    if family is None:
        raise _without_parts(model.config.model_type)
    if not getattr(tokenizer, "is_fast", False):
        raise SuiteError(
            expected=f"a fast tokenizer for {name}, since an entity's last token is found by offsets",
            came=f"{type(tokenizer).__name__}, which has none",
            todo="convert the tokenizer to a tokenizer.json, or choose a model that has one",
        )
    model.requires_grad_(False)
    model.eval()
    return TargetModel(
        model=model,
        tokenizer=tokenizer,
        family=family,
        name=name,
        instrument=instrument or instrument_of(model, tokenizer, folder=folder),
        folder=folder,
    )


def _need_accelerate() -> None:
    if find_spec("accelerate") is None:
        raise SuiteError(
            expected=f"the package accelerate for --device {AUTO}",
            came="a Python environment without it",
            todo="install accelerate, or choose one device such as cuda or cpu",
        )


def _source_of(name: str) -> str:
    if name == BUNDLED:
        return str(bundled_path("target_model"))
    path = Path(name).expanduser()
    if name and path.is_dir():
        return str(path)
    fetched = cached_model(name)
    if fetched is not None:
        return str(fetched)
    if name and is_gguf(path):
        return str(converted(path))
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or not name or path.is_file()
    if looks_local:
        raise SuiteError(
            expected="a model's folder or hub id",
            came=f"{name!r}, where there is no folder",
            todo="check the path; the folder holds config.json, tokenizer.json and model.safetensors",
        )
    return name


def _folder_of(source: str) -> Path | None:
    """Return the folder that weights were read from: a local one, or a snapshot in the hub's cache."""
    if Path(source).is_dir():
        return Path(source)
    found = file_of(source, "config.json")
    return None if found is None else found.parent


def _check_adapter(source: str, name: str) -> None:
    """Raise SuiteError for an adapter that transformers would leave out without a word, for want of PEFT."""
    if is_peft_available() or file_of(source, "adapter_config.json") is None:
        return
    raise SuiteError(
        expected=f"the package peft for the adapter in {name!r} (its adapter_config.json)",
        came="a Python environment without it",
        todo="install peft, merge the adapter into the weights, or take adapter_config.json away to use the "
        "model without it",
    )


def _unreachable(name: str, error: Exception) -> SuiteError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return SuiteError(
        expected=f"a causal language model at {name!r}, a local folder or a hub id that can be reached",
        came=first_line,
        todo=f"check the name, be online or have the model in the hub cache, or use the model {BUNDLED!r}",
    )


def _read_config(source: str, name: str, trust_remote_code: bool) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except Exception as error:  # noqa: BLE001, RUF100 - a damaged config fails in as many ways as it has fields
        if "trust_remote_code" in str(error):
            raise _needs_own_code(name) from None
        if "model type" in str(error) or "model_type" in str(error):
            raise _unknown_family(" ".join(str(error).split())[:160]) from None
        raise _unreachable(name, error) from None
    _check_size(config, name)
    return config


def _check_size(config: Any, name: str) -> None:
    """Raise SuiteError for a config that no model can have: making its modules would take hours or all of
    the memory before anything else could be noticed."""
    layers = getattr(config, "num_hidden_layers", 1)
    numbers = [value for value in vars(config).values() if type(value) is int]
    largest = max(numbers, key=abs, default=0)
    if type(layers) is int and 1 <= layers <= _LAYERS and abs(largest) <= _LARGEST:
        return
    raise SuiteError(
        expected=f"a config of a causal language model in {name!r}, with at most {_LAYERS} layers",
        came=f"{layers!r} layers" if abs(largest) <= _LARGEST else f"the number {largest}",
        todo="restore its config.json from where the model comes from",
    )


def _needs_own_code(name: str) -> SuiteError:
    return SuiteError(
        expected="a model that transformers knows by itself",
        came=f"{name!r}, which brings code of its own",
        todo="read that code, then allow it with --trust-remote-code",
    )


def _registered(model_type: str) -> ModelFamily | None:
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def _check_family(config: Any, trust_remote_code: bool) -> None:
    """Raise SuiteError, before any weight is read, for a model whose blocks can't be found."""
    if _registered(config.model_type) is not None:
        return
    try:
        with torch.device("meta"):
            skeleton = model_class(config).from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # noqa: BLE001, RUF100 - a model's own constructor may fail in any way
        reason = " ".join(str(error).split())[:160]
        raise _unknown_family(
            f"model type {config.model_type!r}, of which none could be made: {reason}"
        ) from None
    if infer_family(skeleton) is None:
        raise _without_parts(config.model_type)


def _without_parts(model_type: str) -> SuiteError:
    return _unknown_family(f"model type {model_type!r}, in whose modules no decoder blocks were found")


def _unknown_family(came: str) -> SuiteError:
    return SuiteError(
        expected=f"a model of a known family: {', '.join(FAMILIES.names())}",
        came=came,
        todo=f"choose another model, or add the family in one file ({_HOW_TO})",
    )


def _read_weights(
    source: str,
    name: str,
    config: Any,
    dtype: torch.dtype,
    trust_remote_code: bool,
    allow_pickle: bool,
    *,
    spread: Mapping[str, Any],
) -> nn.Module:
    try:
        with _without_bars():
            model, report = model_class(config).from_pretrained(
                source,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                use_safetensors=None if allow_pickle else True,
                output_loading_info=True,
                **spread,
            )
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and ran_out_of_memory(error):
            raise
        raise _unused_quantisation(name, config, error) or _no_weights(name, error, allow_pickle) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise SuiteError(
            expected=f"weights for every part of {name!r}",
            came=f"none for {len(missing)}, among them {missing[0]}",
            todo="use a complete checkpoint of a causal language model",
        )
    loaded: nn.Module = model
    return loaded


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the library's bars from running through those of whoever loads, unless it is told to say more than
    warnings, as by TRANSFORMERS_VERBOSITY=info."""
    if not logging.is_progress_bar_enabled() or logging.get_verbosity() <= logging.INFO:
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _unused_quantisation(name: str, config: Any, error: Exception) -> SuiteError | None:
    """Return the error for weights that were quantised by a package, if that is what is missing: it is
    absent, or can't run on this machine. transformers names it."""
    quantised = quantisation_config(config)
    if quantised is None or not isinstance(error, (ImportError, RuntimeError)):
        return None
    return SuiteError(
        expected=f"what runs weights quantised by {quantised.get('quant_method')}, for {name!r}",
        came=" ".join(str(error).split()).rstrip(".")[:240],
        todo="install that package, or take the model without quantisation or as a GGUF file",
    )


def _no_weights(name: str, error: Exception, allow_pickle: bool) -> SuiteError:
    hint = "" if allow_pickle else "; if you trust the file, read pickled weights with --allow-pickle"
    return SuiteError(
        expected=f"readable safetensors weights for {name!r}",
        came=" ".join(str(error).split())[:200],
        todo=f"use a complete checkpoint in safetensors{hint}",
    )
