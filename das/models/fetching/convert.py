"""A GGUF file made into a folder of safetensors with its tokenizer, once; it knows neither hub nor index."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, GgufConfig

from das.models.fetching.gguf import GgufHead, unread
from das.models.fetching.provenance import Provenance
from das.models.fetching.shape import config_of
from das.models.fetching.vocabulary import vocabulary_of
from das.models.tokenizing.probes import PROBES, SPECIAL_PROBE, ids_of
from das.models.tokenizing.tokenizers import read_tokenizer
from das.out_of_memory import memory_guard
from ravel.common.errors import StorageError, SuiteError
from ravel.common.progress import Note, Progress

BYTES_OF_A_VALUE = 4
"""Weights are written in float32: whatever a GGUF file stores, a scale of 16 bits times a few bits more, is a
float32 to the last bit or nearly so, while bfloat16 keeps 8 bits of it. A folder in float32 is also what the
default dtype maps into memory as it lies, with nothing to convert."""


def convert(head: GgufHead, folder: Path, provenance: Provenance, progress: Progress) -> None:
    """Write weights, config, tokenizer and origin of a GGUF file into `folder`, which is there and empty.

    Raises SuiteError for an architecture that transformers can't read, a tokenizer that is not known or does
    not come back the same, and where memory or disk are full.
    """
    progress(Note(f"reading {head.path.name}: {head.architecture}, {_types(head.types)}"))
    config, tokenizer = config_of(head), vocabulary_of(head)
    with memory_guard(f"room for {head.path.name} in float32", "free memory, or convert it elsewhere"):
        model = _read(head, config)
    _check_vocabulary(tokenizer, model, head)
    progress(Note("writing weights in float32, and the tokenizer"))
    try:
        with _without_bars():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            expected=f"to be able to write the model into {folder.parent}",
            came=getattr(error, "strerror", None) or str(error),
            todo="free space and permissions there",
        ) from None
    _check_tokenizer(tokenizer, folder, head)
    provenance.write(folder)


def made_with() -> Mapping[str, str]:
    """Return the versions of what reads a GGUF file."""
    return {name: version(name) for name in ("gguf", "tokenizers", "torch", "transformers")}


def _without_bars() -> redirect_stderr[io.StringIO]:
    """Keep the library's bars from running through ours; one of them can't be switched off."""
    return redirect_stderr(io.StringIO())


def _types(types: Mapping[str, int]) -> str:
    return ", ".join(f"{count} tensors of {name}" for name, count in types.items())


def _read(head: GgufHead, config: Any) -> Any:
    try:
        with _without_bars():
            model, report = AutoModelForCausalLM.from_pretrained(
                head.path.parent,
                gguf_file=head.path.name,
                config=config,
                dtype=torch.float32,
                # Said aloud: transformers else takes the weights for quantised, and refuses to write them.
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
    except MemoryError:
        raise
    except Exception as error:
        raise unread(head, error) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise SuiteError(
            expected=f"weights for every part of the model in {head.path}",
            came=f"none for {len(missing)}, among them {missing[0]}",
            todo="bring the file again, or take another conversion of the model",
        )
    _check_all_read(model, head)
    return model


def _check_all_read(model: Any, head: GgufHead) -> None:
    """Raise SuiteError for a file with weights that the model has no place for, such as biases: transformers
    leaves them out."""
    places = {tensor.data_ptr(): tensor.numel() for tensor in model.state_dict().values()}
    told = head.values
    if model.config.tie_word_embeddings:
        # Some files of models with one table for both ends have it twice.
        told -= head.tensors.get("output.weight", 0)
    if sum(places.values()) != told:
        raise SuiteError(
            expected=f"a GGUF file that transformers reads in full at {head.path}",
            came=f"one with {told} values, where its {type(model).__name__} has {sum(places.values())}",
            todo="take the model's own folder or hub id (config.json, tokenizer.json, safetensors) instead",
        )


def _check_vocabulary(tokenizer: Any, model: Any, head: GgufHead) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise SuiteError(
            expected=f"a vocabulary of at most {rows} tokens in {head.path.name}, one per embedding",
            came=f"{len(tokenizer)} tokens, those of another model",
            todo="bring the file again, or take another conversion of the model",
        )


def _check_tokenizer(tokenizer: Any, folder: Path, head: GgufHead) -> None:
    """Raise SuiteError unless the tokenizer that is read from the folder gives the ids of the one written."""
    read = read_tokenizer(str(folder), head.path.name, trust_remote_code=False)
    for text in (*PROBES, SPECIAL_PROBE):
        for special in (True, False):
            before, after = (ids_of(one, text, special=special) for one in (tokenizer, read))
            if before != after:
                raise SuiteError(
                    expected=f"the tokenizer of {head.path.name} to be the same after it was saved",
                    came=f"other ids for {text!r}: {after[:8]}, where the file gives {before[:8]}",
                    todo="take the model's own folder or hub id instead, and report this",
                )
