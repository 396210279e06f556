"""Miniature GGUF files of Llama's shape, written by the gguf package as llama.cpp's converter would."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from das.models.tokenizing.probes import PROBES

SPECIALS = ("<|endoftext|>", "<|begin|>", "<|end|>")
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CUTS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}
"""How the published tokenizers of these names cut a text (tokenizer.json of GPT-2, SmolLM and Llama 3)."""


def byte_tokenizer(cut: str, *, bos: bool = False) -> Tokenizer:
    """Return a small byte-level tokenizer trained on the probe texts, which cuts as one of `CUTS`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = CUTS[cut], decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*PROBES, "a  12   b    c 1 2 12 123 1987 "] * 3, trainer)
    if cut == "llama-bpe":
        tokenizer.model.ignore_merges = True
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{SPECIALS[1]} $A", pair=f"{SPECIALS[1]} $A $B", special_tokens=[(SPECIALS[1], 1)]
        )
    return tokenizer


def tiny_llama(
    words: int, *, tied: bool = True, rotary: dict[str, Any] | None = None, longest: int = 128
) -> LlamaForCausalLM:
    """Return a random Llama of 2 blocks and width 32."""
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=longest,
        rope_parameters=rotary or {"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return LlamaForCausalLM(config).eval()


@dataclass
class Vocabulary:
    """What a GGUF file says of its tokenizer."""

    kind: str
    tokens: Sequence[str]
    types: Sequence[int]
    pre: str | None = None
    merges: Sequence[str] | None = None
    scores: Sequence[float] | None = None
    add_bos: bool | None = None
    add_space: bool | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer, pre: str | None, *, add_bos: bool | None = None) -> Vocabulary:
        """Return the vocabulary of a byte-level tokenizer."""
        import json

        said = json.loads(tokenizer.to_str())["model"]
        tokens = sorted(said["vocab"], key=said["vocab"].get)
        merges = [" ".join(pair) for pair in said["merges"]]
        types = [3 if token in SPECIALS else 1 for token in tokens]
        return cls("gpt2", tokens, types, pre=pre, merges=merges, add_bos=add_bos)


def write_gguf(
    path: Path,
    model: LlamaForCausalLM,
    vocabulary: Vocabulary,
    *,
    architecture: str = "llama",
    stored: GGMLQuantizationType = GGMLQuantizationType.F32,
    left_out: str | None = None,
    also: Mapping[str, np.ndarray[Any, Any]] | None = None,
    settings: Mapping[str, str | float] | None = None,
) -> Path:
    """Write a model as a GGUF file; matrices are stored in a type, norms in float32. `also` are tensors, and
    `settings` what is said of the architecture, besides."""
    config = model.config
    writer = GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_license("mit")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_vocabulary(writer, vocabulary)
    for key, value in (settings or {}).items():
        write = writer.add_string if isinstance(value, str) else writer.add_float32
        write(f"{architecture}.{key}", value)
    for name, values in (also or {}).items():
        writer.add_tensor(name, values)
    for name, tensor in _tensors(model).items():
        if name == left_out:
            continue
        values = tensor.detach().float().numpy()
        if values.ndim == 1 or stored == GGMLQuantizationType.F32:
            writer.add_tensor(name, np.ascontiguousarray(values))
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: GGUFWriter, said: Vocabulary) -> None:
    writer.add_tokenizer_model(said.kind)
    writer.add_token_list(list(said.tokens))
    writer.add_token_types(list(said.types))
    if said.pre is not None:
        writer.add_tokenizer_pre(said.pre)
    if said.merges is not None:
        writer.add_token_merges(list(said.merges))
    if said.scores is not None:
        writer.add_token_scores(list(said.scores))
    if said.add_bos is not None:
        writer.add_add_bos_token(said.add_bos)
    if said.add_space is not None:
        writer.add_add_space_prefix(said.add_space)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _tensors(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    found = {
        "token_embd.weight": model.model.embed_tokens.weight,
        "output_norm.weight": model.model.norm.weight,
    }
    if not model.config.tie_word_embeddings:
        found["output.weight"] = model.lm_head.weight
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    for number, block in enumerate(model.model.layers):
        for theirs, name in _NAMES.items():
            weight = block.get_submodule(theirs).weight
            found[f"blk.{number}.{name}.weight"] = _turned(weight, heads[name]) if name in heads else weight
    return found


def _turned(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Return a projection with the rows of each head in llama.cpp's order of rotary pairs."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_wheel(folder: Path, package: str, version: str, files: dict[str, bytes]) -> Path:
    """Write a wheel that pip takes from a folder of links."""
    name = package.replace("-", "_")
    about = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in content.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{version}-py3-none-any.whl"
    target.write_bytes(buffer.getvalue())
    return target
