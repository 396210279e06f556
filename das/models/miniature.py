"""Random-weight models of any family's shape with a tokenizer made on the spot; no files, no network."""

from __future__ import annotations

import string
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, processors
from transformers import PreTrainedTokenizerFast

from das.models.base import ModelFamily, TargetModel
from das.models.load import target_from
from das.models.wrappers import model_class
from ravel.common.seeds import derive_seed

SPECIALS = ("<unk>", "<bos>", "<eos>")
"""Ids 0 to 2 of every tokenizer that is made on the spot."""
_CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " \n"


def character_tokenizer(*, add_bos: bool = True) -> PreTrainedTokenizerFast:
    """Return a fast tokenizer with one token per ASCII character: ids 0 to 2 are unknown, begin and end.
    Padding is the end token, as in many real models, so that no code can rely on a padding id of its own."""
    vocabulary = {token: index for index, token in enumerate((*SPECIALS, *_CHARACTERS))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    return fast_tokenizer(backend, add_bos=add_bos)


def fast_tokenizer(backend: Tokenizer, *, add_bos: bool = True) -> PreTrainedTokenizerFast:
    """Return a backend whose vocabulary begins with `SPECIALS` as a fast tokenizer; it pads with the end."""
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<eos>",
        clean_up_tokenization_spaces=False,
    )


def random_target(config: Any, *, name: str, seed: int = 0, add_bos: bool = True) -> TargetModel:
    """Return a target with random weights of this config's shape; equal seeds give equal weights. The
    process's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights", name))
        model = model_class(config).from_config(config)
    return target_from(model, character_tokenizer(add_bos=add_bos), name)


def miniature(family: ModelFamily, *, seed: int = 0, add_bos: bool = True) -> TargetModel:
    """Return a family's miniature with random weights: 4 layers, width at most 32, a token per character."""
    return random_target(family.miniature(), name=f"miniature-{family.name}", seed=seed, add_bos=add_bos)
