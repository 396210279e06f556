"""Makes a miniature of every causal language model that the installed transformers has, and of models that
read images too, and holds interchanges in them against plain forward hooks; writes the table of
docs/models.md. It knows no model by hand but for a few settings, as data.

    python scripts/model_classes.py [--write] [--only TYPE ...]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import multiprocessing
import re
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from das.engine import DirectEngine, ForcedPair, ResumeEngine, make_engine
from das.featurizers import MaskedBasis
from das.models.base import TargetModel
from das.models.load import target_from
from das.models.miniature import character_tokenizer
from das.models.wrappers import model_class
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.schema import Prompt

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
SECONDS = 90
"""How long one class may take."""
BOUND = 1e-4
"""Largest difference of logits that counts as exact, relative to the largest logit."""
LAYERS = 4
IMAGE_TOKENS = 120
"""First of the token ids that stand for what is no text: none of the tokenizer's ids, 0 to 98."""

WRAPPERS = (
    *("aria", "aya_vision", "cohere2_vision", "emu3", "fuyu", "gemma3", "gemma3n", "gemma4", "glm4v"),
    *("got_ocr2", "idefics2", "idefics3", "internvl", "janus", "lfm2_vl", "llama4", "llava", "llava_next"),
    *("llava_onevision", "mistral3", "mllama", "ovis2", "paligemma", "perception_lm", "qwen2_5_vl"),
    *("qwen2_vl", "qwen3_5", "qwen3_vl", "qwen3_vl_moe", "smolvlm", "vipllava", "chameleon"),
)
"""Model types that read images too; those of them that are no causal language model by name are asked of
transformers' table of models from images and text to text."""

SIZES: tuple[tuple[str, int], ...] = (
    (r"(vocab_size|vocab_size_or_config_json_file|n_vocab|n_words|n_tokens|num_tokens)", 128),
    (r"(hidden_size|d_model|n_embd|n_embed|dim|emb_dim|embed_dim|embedding_size|width)", 32),
    (r"(word_embed_proj_dim|hidden_dim|model_dim|output_hidden_size|out_hidden_size)", 32),
    (r"(num_hidden_layers|n_layer|n_layers|num_layers|decoder_layers|num_decoder_layers|depth)", LAYERS),
    (r"(num_blocks|encoder_layers|num_encoder_layers)", LAYERS),
    (r"(num_attention_heads|n_head|n_heads|num_heads|attention_heads|decoder_attention_heads)", 4),
    (r"(encoder_attention_heads|num_decoder_attention_heads|num_encoder_attention_heads)", 4),
    (r"(num_key_value_heads|num_kv_heads|n_kv_heads|multi_query_group_num)", 2),
    (r"(head_dim|kv_channels|d_kv|dim_head|attention_head_dim)", 8),
    (r"(intermediate_size|ffn_dim|ffn_hidden_size|d_ff|d_inner|n_inner|dim_ff|dff|decoder_ffn_dim)", 48),
    (r"(encoder_ffn_dim|intermediate_size_mlp|mlp_hidden_size|ffn_embed_dim|feed_forward_hidden_size)", 48),
    (r"(\w*moe_\w*intermediate_size|shared_expert_intermediate_size|expert_ffn_hidden_size)", 16),
    (r"(max_position_embeddings|n_positions|n_ctx|max_seq_len|max_target_positions|context_length)", 128),
    (r"(sliding_window|attention_window_size|window_size|local_attention)", 16),
    (r"(num_experts|num_local_experts|n_routed_experts|moe_num_experts|router_num_experts)", 4),
    (r"(num_experts_per_tok|num_experts_per_token|moe_k|moe_topk|moe_top_k|top_k_experts)", 2),
    (r"(n_group|topk_group|n_shared_experts|num_shared_experts|moe_num_shared_experts)", 1),
    (r"(state_size|ssm_state_size|mamba_d_state|mamba_state_dim|d_state)", 8),
    (r"(conv_kernel|mamba_d_conv|conv_kernel_size|linear_conv_kernel_dim|conv_L_cache|d_conv)", 4),
    (r"(time_step_rank|mamba_dt_rank)", 4),
    (r"(chunk_size|mamba_chunk_size|block_size)", 8),
    (r"(q_lora_rank|kv_lora_rank|adapter_rank|o_lora_rank)", 16),
    (r"(qk_rope_head_dim|qk_nope_head_dim|v_head_dim|\w*rope_head_dim)", 8),
    (r"(linear_\w*_head_dim|global_head_dim|swa_head_dim|\w*v_head_dim)", 8),
    (r"(linear_num_\w*_heads|swa_num_attention_heads|swa_num_key_value_heads)", 4),
    (r"(mamba_n_heads|n_mamba_heads|mamba_num_heads)", 8),
    (r"(mamba_d_head|mamba_headdim|mamba_head_dim)", 8),
    (r"(mamba_n_groups|mamba_ngroups|n_groups)", 1),
    (r"(lru_width|attention_hidden_size)", 32),
    (r"(query_pre_attn_scalar)", 8),
    (r"(image_size|img_size)", 16),
    (r"(patch_size|temporal_patch_size|spatial_patch_size)", 4),
    (r"(image_seq_length|mm_tokens_per_image|num_image_tokens)", 4),
    (r"(laurel_rank|hidden_size_per_layer_input)", 8),
    (r"(vocab_size_per_layer_input)", 128),
    (r"(rotary_dim)", 4),
    (r"(num_kv_shared_layers)", 0),
    (r"(feed_forward_size)", 48),
    (r"(num_dense_layers|first_k_dense_replace)", 1),
    (r"(index_topk)", 64),
    (r"(index_head_dim)", 8),
    (r"(index_n_heads)", 4),
)
"""What a number of a config becomes, by its name; the first pattern that fits the whole of it."""

UNSET = ("head_dim", "num_key_value_heads", "n_routed_experts", "n_shared_experts", "num_experts_per_tok")
"""Numbers that a miniature says even where the class leaves them open."""

_PLAIN_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_SPATIAL_ROPE = {**_PLAIN_ROPE, "mrope_section": [1, 1, 2]}
_HYBRID = ["linear_attention", "hybrid", "linear_attention", "hybrid"]
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3], "time_step_limit": (0.0, 1e4)},
    "chameleon": {"vocabulary_map": {"<image>": IMAGE_TOKENS, "IMGIMGA": IMAGE_TOKENS + 1}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _PLAIN_ROPE}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8}},
    "falcon_h1": {"mamba_d_ssm": 64, "time_step_limit": (0.0, 1e4)},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, "time_step_limit": (0.0, 1e4)},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "time_step_limit": (0.0, 1e4)},
    "mllama": {"text_config": {"cross_attention_layers": [1]}},
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "moe", "mlp", "full_attention"],
        "time_step_limit": (0.0, 1e4),
    },
    "bailing_hybrid": {"num_expert_group": 1},
    "glm4v": {"text_config": {"rope_parameters": _SPATIAL_ROPE}},
    "qwen2_5_vl": {"text_config": {"rope_parameters": _SPATIAL_ROPE}},
    "qwen2_vl": {"text_config": {"rope_parameters": _SPATIAL_ROPE}},
    "reformer": {"axial_pos_embds": False, "attention_head_size": 8},
    "xlm": {"causal": True},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": _HYBRID, "attention_hidden_size": 64, "attention_head_dim": 16},
    "zamba2": {
        **{"layers_block_type": _HYBRID, "attention_hidden_size": 64, "attention_head_dim": 16},
        **{"num_key_value_heads": 4, "time_step_limit": (0.0, 1e4)},
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""What a model type needs besides, on top of the general rule."""


def wanted_types() -> list[str]:
    return [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *(w for w in WRAPPERS if w not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)]


# --- miniatures


def shrunk(config: Any, used: list[int]) -> dict[str, Any]:
    """Return settings that make a small config of this one's class."""
    inner = getattr(type(config), "sub_configs", {})
    layers = next((getattr(config, n) for n in ("num_hidden_layers", "n_layer", "num_layers") if isinstance(getattr(config, n, None), int)), 0)
    heads = vars(config).get("num_attention_heads")
    found: dict[str, Any] = {}
    for name, value in vars(config).items():
        if name in inner:
            part = getattr(config, name)
            if part is not None and hasattr(part, "to_dict"):
                found[name] = {**shrunk(part, used), "model_type": part.model_type}
        elif name.endswith(("token_id", "token_index")) and name not in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if isinstance(value, int):
                found[name] = IMAGE_TOKENS + len(used) % 8
                used.append(1)
        elif isinstance(value, list) and layers and len(value) == layers:
            found[name] = few(value) if size_of(name) is None else [size_of(name)] * LAYERS
        elif type(value) is int:
            size = size_of(name)
            if size is not None:
                found[name] = 4 if name == "num_key_value_heads" and value == heads else size
        elif value is None and name in UNSET:
            found[name] = 4 if name == "num_key_value_heads" else size_of(name)
        elif name in ("rope_parameters", "rope_scaling") and "mrope_section" in (value or {}):
            found[name] = value | {"mrope_section": [1, 1, 2]}
        elif name.endswith("dropout") or name.endswith("_pdrop") or name.endswith("_drop"):
            if isinstance(value, float):
                found[name] = 0.0
    found |= {n: i for n, i in (("bos_token_id", 1), ("eos_token_id", 2), ("pad_token_id", 2)) if hasattr(config, n)}
    if hasattr(config, "is_decoder"):
        found["is_decoder"] = True
    return found


def size_of(name: str) -> int | None:
    return next((size for pattern, size in SIZES if re.fullmatch(pattern, name)), None)


def few(kinds: list[Any]) -> list[Any]:
    """Return the settings of the miniature's layers: of every kind one, in order, and the first ones."""
    try:
        different = list(dict.fromkeys(kinds))
    except TypeError:
        return kinds[:LAYERS]
    return (different + kinds)[:LAYERS]


def tiny_config(model_type: str) -> Any:
    config_class = CONFIG_MAPPING[model_type]
    settings = shrunk(config_class(), [])
    changes = OVERRIDES.get(model_type, {})
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(settings.get(name), dict):
            settings[name] = settings[name] | value
        elif value is None:
            settings.pop(name, None)
        else:
            settings[name] = value
    return config_class(**settings)


def tiny_target(model_type: str) -> TargetModel:
    config = tiny_config(model_type)
    torch.manual_seed(0)
    model = model_class(config).from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Many of the classes begin with zeros or ones in places where a wrong path would not be seen.
            if weight.dim() > 1:
                weight.normal_(std=0.2)
    return target_from(model.float(), character_tokenizer(), model_type)


# --- what plain hooks say


TEXTS = ("Rome is in", "The city of Ulm", "So, where is Oslo: it is the")
LABELS = ((5, 30, 7), (40, 6), (9,))


def prompts() -> list[Prompt]:
    return [Prompt(text, text, text, None, (0, len(text) - 3)) for text in TEXTS]


def blocks_by_hand(target: TargetModel, layer: int) -> nn.Module:
    return target.family.blocks(target.model)[layer]


def first_tensor(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def by_hand(target: TargetModel, base: list[int], source: list[int], places: tuple[int, int], layer: int) -> Tensor:
    """Return all logits of the base alone with the block's output at one token taken from the source."""
    block, seen = blocks_by_hand(target, layer), []
    handle = block.register_forward_hook(lambda m, i, o: seen.append(first_tensor(o).clone()))
    target.model(input_ids=torch.tensor([source]), use_cache=False)
    handle.remove()

    def put(module: nn.Module, inputs: Any, output: Any) -> None:
        first_tensor(output)[:, places[0]] = seen[0][:, places[1]]

    handle = block.register_forward_hook(put)
    logits: Tensor = target.model(input_ids=torch.tensor([base]), use_cache=False).logits
    handle.remove()
    return logits[0].float()


def expected(target: TargetModel, engine: DirectEngine, pairs: Sequence[ForcedPair], site: Site) -> list[Tensor]:
    found = []
    for pair in pairs:
        base, source = (list(e.ids) for e in engine.encoder.encode([pair.base.text, pair.source.text]))
        places = (engine.encoder.position(pair.base, site.position), engine.encoder.position(pair.source, site.position))
        logits = by_hand(target, base + list(pair.label_ids[:-1]), source, places, site.layer)
        found.append(logits[len(base) - 1 :])
    return found


def apart(engine: Any, target: TargetModel, layer: int) -> float:
    """Return the largest difference between an engine and plain hooks, relative to the largest logit."""
    some = prompts()
    pairs = [ForcedPair(b, s, ids) for b, s, ids in zip(some, (*some[1:], some[0]), LABELS, strict=True)]
    site, worst = Site(layer, "block_output", "entity_last"), 0.0
    with torch.no_grad():
        right = expected(target, engine, pairs, site)
        swap = MaskedBasis(torch.ones(target.width(site)))
        logits = engine.interchange_logits(pairs, site, swap)
        plain = engine.interchange_logits(pairs, site, None)
    assert not torch.equal(logits, plain), "the swap changes nothing"
    for row, one in zip(logits, right, strict=True):
        assert torch.isfinite(one).all(), "logits are not finite"
        worst = max(worst, float((row[: len(one)] - one).abs().max() / one.abs().max()))
    return worst


# --- one class


@dataclass(frozen=True)
class Verdict:
    """What came of one model type."""

    model_type: str
    class_name: str
    kind: str
    detail: str
    refused: dict[str, str]
    seconds: float


KINDS = ("exact with resume", "exact as direct", "refused")


def first_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def judge(model_type: str, engines: Callable[[str, TargetModel], Any]) -> tuple[str, str, dict[str, str]]:
    try:
        target = tiny_target(model_type)
    except SuiteError as error:
        return "refused", error.came, {}
    except Exception as error:
        return "no miniature", f"{type(error).__name__}: {first_line(error)}", {}
    try:
        direct = engines("direct", target)
        worst = max(apart(direct, target, layer) for layer in (0, target.n_layers // 2))
    except SuiteError as error:
        return "refused", error.came, dict(target.refusals)
    except Exception as error:
        return "refused", f"{type(error).__name__}: {first_line(error)}", dict(target.refusals)
    target = direct.target
    if worst > BOUND:
        return "wrong", f"{worst:.2g} apart", dict(target.refusals)
    try:
        resume = engines("resume", target)
        reason = resume.fallback
        if reason is None:
            worst = max(apart(resume, target, layer) for layer in (0, target.n_layers // 2))
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
    if reason is not None:
        return "exact as direct", reason, dict(target.refusals)
    return ("wrong", f"resume is {worst:.2g} apart", {}) if worst > BOUND else ("exact with resume", "", dict(target.refusals))


def unproved(name: str, target: TargetModel) -> Any:
    return {"direct": DirectEngine, "resume": ResumeEngine}[name](target)


def child(model_type: str, engines: Any, pipe: Connection) -> None:
    began = time.monotonic()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        try:
            kind, detail, refused = judge(model_type, engines)
        except BaseException as error:
            kind, detail, refused = "failed", traceback.format_exc()[-300:], {}
    pipe.send((kind, detail, refused, time.monotonic() - began))


def verdict(model_type: str, engines: Any) -> Verdict:
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=child, args=(model_type, engines, theirs))
    process.start()
    theirs.close()
    try:
        if mine.poll(SECONDS):
            kind, detail, refused, seconds = mine.recv()
        else:
            kind, detail, refused, seconds = "refused", f"not done within {SECONDS} s", {}, float(SECONDS)
    except EOFError:
        kind, detail, refused, seconds = "refused", "its process broke off", {}, 0.0
    process.kill()
    process.join()
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type, "")
    return Verdict(model_type, name, kind, detail, refused, seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--unproved", action="store_true")
    arguments = parser.parse_args()
    found = []
    # What transformers imports late is imported here once rather than in every child.
    torch.set_num_threads(1)
    judge("llama", unproved)
    for model_type in arguments.only or wanted_types():
        one = verdict(model_type, unproved if arguments.unproved else make_engine)
        found.append(one)
        print(f"{one.model_type:24} {one.kind:18} {one.seconds:5.1f}s {one.detail[:230]} | {'; '.join(f'{k}: {v}' for k, v in one.refused.items())}", flush=True)
    print(Counter(one.kind for one in found))


if __name__ == "__main__":
    main()
