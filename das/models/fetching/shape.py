"""The config that a GGUF file describes, with what transformers leaves out of it; it knows no weights.

transformers takes widths and counts from the file. Of rotary scaling, windows and caps on logits it takes the
defaults of the family, without a word, where the file says otherwise: Llama 3.1 and Gemma 3 from 4B on would
answer falsely. What a config can say is put in here, and what it can't is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from das.models.fetching.gguf import ROTARY_FACTORS, GgufHead, unread
from ravel.common.errors import SuiteError

_GEMMA = ("gemma2", "gemma3")
_LARGEST_GEMMA = {"gemma2": 46, "gemma3": 62}
"""Blocks of the one size (27B) whose queries are scaled by the share of a head in the width."""
_ITS_OWN = ("gpt-oss", "gemma4")
"""Architectures whose rotary settings transformers reads by itself."""
_MUST_BE_ONE = ("rope.scale_linear", "attention.scale", "logit_scale", "embedding_scale", "residual_scale")
"""Factors that no config read from a GGUF file has."""
_SIZES = ("embedding_length", "feed_forward_length", "vocab_size", "attention.head_count", "expert_count")
"""Sizes that are no larger than the largest tensor."""
_AS_NAMED = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
"""What is taken over as it stands, under the config's name."""


def config_of(head: GgufHead) -> Any:
    """Return the config of the model in a GGUF file. Raises SuiteError for an architecture that transformers
    can't read, and for settings that its config can't say."""
    _check_sizes(head)
    try:
        config = AutoConfig.from_pretrained(head.path.parent, gguf_file=head.path.name)
    except Exception as error:  # noqa: BLE001, RUF100 - a foreign file fails in as many ways as it has fields
        raise unread(head, error) from None
    for key in _MUST_BE_ONE:
        if said(head, key, 1) not in (0, 1):
            raise _left_out(head, f"{key} {said(head, key)}")
    for key, name in _AS_NAMED.items():
        value = said(head, key)
        if value and not hasattr(config, name):
            raise _left_out(head, f"{key} {value}")
        if value:
            setattr(config, name, value)
    if head.architecture in _GEMMA:
        largest = said(head, "block_count") == _LARGEST_GEMMA[head.architecture]
        config.query_pre_attn_scalar = (
            config.hidden_size // config.num_attention_heads if largest else config.head_dim
        )
    if head.architecture not in _ITS_OWN and getattr(config, "rope_parameters", None):
        _set_rotary(config, head)
    return config


def _check_sizes(head: GgufHead) -> None:
    """Raise SuiteError for sizes that the file's tensors can't have: making such a model would take hours or
    all of the memory before anything else could be noticed."""
    largest = max(head.tensors.values(), default=0)
    for key, most in (("block_count", len(head.tensors)), *((key, largest) for key in _SIZES)):
        size = said(head, key, 1)
        if type(size) is not int or not 0 < size <= most:
            raise _left_out(head, f"{key} {size!r}, for which its tensors are too few or too small,")


def said(head: GgufHead, key: str, otherwise: Any = None) -> Any:
    """Return what the file says of its architecture under a key."""
    return head.metadata.get(f"{head.architecture}.{key}", otherwise)


def _left_out(head: GgufHead, what: str) -> SuiteError:
    return SuiteError(
        expected=f"a GGUF file that transformers reads in full at {head.path}",
        came=f"one of architecture {head.architecture!r} with {what}, which it leaves out",
        todo="take the model's own folder or hub id (config.json, tokenizer.json, safetensors) instead",
    )


def _set_rotary(config: Any, head: GgufHead) -> None:
    """Say in the config how positions are turned."""
    rotary = config.rope_parameters
    if head.architecture == "gemma3":
        # Blocks that see a window have tables of their own, which no file changes.
        rotary = rotary["full_attention"]
    theta = said(head, "rope.freq_base")
    if theta is not None:
        rotary["rope_theta"] = float(theta)
    _check_turned(config, rotary, head)
    kind, factor = said(head, "rope.scaling.type", "none"), said(head, "rope.scaling.factor", 1.0)
    if kind == "linear" and factor != 1.0:
        rotary.update(rope_type="linear", factor=float(factor))
    elif kind not in ("none", "linear"):
        raise _left_out(head, f"rotary scaling of the type {kind!r}")
    if any(name.startswith("rope_factors") for name in head.tensors):
        raise _left_out(head, "rotary factors for short and long rows")
    if head.rotary_factors and set(head.rotary_factors) != {1.0}:
        rotary.update(_as_llama3(config, rotary, head))


def _check_turned(config: Any, rotary: dict[str, Any], head: GgufHead) -> None:
    """Say which share of each head is turned, where the file says it and the family has it."""
    turned = said(head, "rope.dimension_count")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if turned is None or turned == int(width * (rotary.get("partial_rotary_factor") or 1.0)):
        return
    if "partial_rotary_factor" not in rotary:
        raise _left_out(head, f"{turned} of {width} coordinates of each head turned")
    rotary["partial_rotary_factor"] = turned / width


def _as_llama3(config: Any, rotary: Mapping[str, Any], head: GgufHead) -> dict[str, Any]:
    """Return the rotary settings of Llama 3.1 that give the file's factors; it has no other trace of them."""
    factor = max(head.rotary_factors)
    settings: dict[str, Any] = {
        **{"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": 8192,
    }
    factors = torch.tensor(head.rotary_factors, dtype=torch.float64)
    if math.isfinite(factor) and factor >= 1:
        trial = type(config).from_dict({**config.to_dict(), "rope_parameters": {**rotary, **settings}})
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](trial, torch.device("cpu"))
        plain = rotary["rope_theta"] ** -(torch.arange(len(scaled), dtype=torch.float64) / len(scaled))
        if len(factors) == len(plain) and torch.allclose(plain / scaled.double(), factors, rtol=1e-4):
            return settings
    raise _left_out(head, f"factors of its own for rotary angles ({ROTARY_FACTORS})")
