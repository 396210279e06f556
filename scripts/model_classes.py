"""Makes a miniature of every causal language model that the installed transformers has, and of models that
read images too, holds interchanges in them against plain forward hooks, and writes the table of
docs/models.md. It knows no model by hand but for a few settings, as data.

    python scripts/model_classes.py [--write] [--unproved] [--only TYPE ...]

With `--unproved` the engines answer without the self-test, which shows what it keeps from being served.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import multiprocessing
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from das.engine import DirectEngine, ForcedPair, ResumeEngine, make_engine
from das.engine.selftest.law import BrokenLawError
from das.featurizers import MaskedBasis
from das.models.base import TargetModel
from das.models.load import target_from
from das.models.miniature import character_tokenizer
from das.models.wrappers import model_class
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- written by scripts/model_classes.py -->", "<!-- end -->"
Row = tuple[list[int], int]
"""Token ids and the place of the site."""
MOST_WORDS = 160
"""Characters of a reason in the table at most."""
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
    (r"(linear_(\w*_)?head_dim|global_head_dim|swa_head_dim|\w*v_head_dim)", 8),
    (r"(linear_num_(\w*_)?heads|swa_num_attention_heads|swa_num_key_value_heads)", 4),
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

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers")
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
    """Return the model types that are tried."""
    causal = list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    return causal + [model_type for model_type in WRAPPERS if model_type not in causal]


# --- miniatures


def tiny_target(model_type: str) -> TargetModel:
    """Return a miniature of a model type: four layers of width 32, random weights and a tokenizer."""
    config = tiny_config(model_type)
    torch.manual_seed(0)
    model = model_class(config).from_config(config).float()
    with torch.no_grad():
        for weight in model.parameters():
            # Weights near zero, as many classes begin with, would hide a wrong path.
            if weight.dim() > 1:
                weight.normal_(std=0.2)
    return target_from(model, character_tokenizer(), model_type)


def tiny_config(model_type: str) -> Any:
    """Return the config of a miniature."""
    config_class = CONFIG_MAPPING[model_type]
    settings = shrunk(config_class(), count())
    for name, value in OVERRIDES.get(model_type, {}).items():
        inner = settings.get(name)
        settings[name] = inner | value if isinstance(value, dict) and isinstance(inner, dict) else value
    return config_class(**settings)


def shrunk(config: Any, ids: Iterator[int]) -> dict[str, Any]:
    """Return settings that make a small config of this one's class; `ids` numbers its special tokens."""
    layers = next((vars(config)[name] for name in LAYER_COUNTS if vars(config).get(name)), 0)
    heads = vars(config).get("num_attention_heads")
    found: dict[str, Any] = {}
    for name, value in vars(config).items():
        if name in getattr(type(config), "sub_configs", {}):
            part = getattr(config, name)
            small = {**shrunk(part, ids), "model_type": part.model_type} if hasattr(part, "to_dict") else None
        elif name == "num_key_value_heads" and value in (heads, None):
            small = 4
        else:
            small = setting(name, value, layers, ids)
        if small is not None:
            found[name] = small
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "is_decoder": True}
    return found | {name: value for name, value in ends.items() if hasattr(config, name)}


def setting(name: str, value: Any, layers: int, ids: Iterator[int]) -> Any:
    """Return what a setting of this name becomes in a miniature; None: it stays as it is."""
    size = next((size for pattern, size in SIZES if re.fullmatch(pattern, name)), None)
    if name.endswith(("token_id", "token_index")):
        return IMAGE_TOKENS + next(ids) % 8 if isinstance(value, int) else None
    if isinstance(value, list) and layers and len(value) == layers:
        return few(value) if size is None else [size] * LAYERS
    if type(value) is int or (value is None and name in UNSET):
        return size
    if isinstance(value, float) and name.endswith(("dropout", "_pdrop", "_drop")):
        return 0.0
    return None


def few(kinds: list[Any]) -> list[Any]:
    """Return settings of the miniature's layers: one of every kind, and then the first ones."""
    different = [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    return (different + kinds)[:LAYERS]


# --- what plain hooks say


TEXTS = ("Rome is in", "The city of Ulm", "So, where is Oslo: it is the")
"""Of different lengths, so that a batch is padded."""
LABELS = ((5, 30, 7), (40, 6), (9,))


def made_up_pairs() -> list[ForcedPair]:
    """Return pairs whose site is neither the first nor the last token."""
    prompts = [Prompt(text, text, text, None, (0, len(text) - 3)) for text in TEXTS]
    sources = (*prompts[1:], prompts[0])
    return [ForcedPair(*both, ids) for *both, ids in zip(prompts, sources, LABELS, strict=True)]


def by_hand(target: TargetModel, block: nn.Module, base: Row, source: Row) -> Tensor:
    """Return the logits of a row of token ids that runs alone, with the block's output at the row's place
    taken from another row that ran alone; each row goes with its place."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.append((output if isinstance(output, Tensor) else output[0]).clone())

    def put(module: nn.Module, inputs: Any, output: Any) -> None:
        (output if isinstance(output, Tensor) else output[0])[:, base[1]] = seen[0][:, source[1]]

    for hook, (ids, _) in ((keep, source), (put, base)):
        handle = block.register_forward_hook(hook)
        logits: Tensor = target.model(input_ids=torch.tensor([ids]), use_cache=False).logits
        handle.remove()
    return logits[0].float()


def apart(engine: Any, target: TargetModel, layer: int) -> float:
    """Return the largest difference between an engine and plain hooks, relative to the largest logit.

    Raises ValueError where nothing can be told, since the swap changes nothing or logits are no numbers."""
    pairs, site, worst = made_up_pairs(), Site(layer, "block_output", "entity_last"), 0.0
    block, encoder = target.family.blocks(target.model)[layer], engine.encoder
    swap = MaskedBasis(torch.ones(target.width(site)))
    with torch.no_grad():
        found, plain = (engine.interchange_logits(pairs, site, one) for one in (swap, None))
        for pair, row in zip(pairs, found, strict=True):
            base, source = (list(e.ids) for e in encoder.encode([pair.base.text, pair.source.text]))
            forced = (base + list(pair.label_ids[:-1]), encoder.position(pair.base, site.position))
            taken = (source, encoder.position(pair.source, site.position))
            right = by_hand(target, block, forced, taken)[len(base) - 1 :]
            worst = max(worst, float((row[: len(right)] - right).abs().max() / right.abs().max()))
    if torch.equal(found, plain) or not torch.isfinite(found).all():
        raise ValueError("a swap changes nothing, or its logits are no numbers")
    return worst


# --- one class


@dataclass(frozen=True)
class Verdict:
    """What came of one model type."""

    kind: str
    """One of `KINDS`, or `WRONG`."""
    reason: str
    """Why not resumed, why refused, or why there is no miniature."""
    refused: dict[str, str]
    """Streams that are not offered, each with the reason."""


RESUMED, DIRECT, REFUSED, UNTRIED = "exact with resume", "exact as direct", "refused", "no miniature"
KINDS = (RESUMED, DIRECT, REFUSED, UNTRIED)
WRONG = "wrong"


def judge(model_type: str, make: Callable[[str, TargetModel], Any]) -> Verdict:
    """Return what comes of a model type with engines that `make` makes."""
    try:
        target = tiny_target(model_type)
    except SuiteError as error:
        return Verdict(REFUSED, said(error), {})
    except Exception as error:  # noqa: BLE001, RUF100 - a class of a stranger may fail in any way
        return Verdict(UNTRIED, said(error), {})
    try:
        direct = make("direct", target)
        worst, refused = largest(direct), dict(direct.target.refusals)
    except Exception as error:  # noqa: BLE001, RUF100
        return Verdict(REFUSED, said(error), dict(target.refusals))
    if worst > BOUND:
        return Verdict(WRONG, f"{worst:.2g} apart", refused)
    return resumed(make, target, refused)


def resumed(make: Callable[[str, TargetModel], Any], target: TargetModel, refused: dict[str, str]) -> Verdict:
    """Return the verdict on a type whose interchanges are exact with `direct`."""
    try:
        engine = make("resume", target)
        if engine.fallback is not None:
            return Verdict(DIRECT, engine.fallback, refused)
        worst = largest(engine)
    except SuiteError as error:
        return Verdict(DIRECT, said(error), refused)
    if worst > BOUND:
        return Verdict(WRONG, f"{worst:.2g} apart with resume", refused)
    return Verdict(RESUMED, "", refused)


def largest(engine: Any) -> float:
    """Return the largest difference at the first and the middle block."""
    target = engine.target
    return max(apart(engine, target, layer) for layer in (0, target.n_layers // 2))


def said(error: BaseException) -> str:
    """Return what was wrong, in the error's own words: the law, where one is broken."""
    if isinstance(error, BrokenLawError):
        return error.law.in_words()
    if isinstance(error, SuiteError):
        return error.came
    return " ".join(str(error).split()) or type(error).__name__


def unproved(name: str, target: TargetModel) -> Any:
    """Return an engine that nobody tested on the target."""
    return {"direct": DirectEngine, "resume": ResumeEngine}[name](target)


# --- all classes, each in a process of its own


def verdicts(model_types: Sequence[str], make: Callable[[str, TargetModel], Any]) -> Iterator[Verdict]:
    """Yield the verdict on each model type, in their order."""
    torch.set_num_threads(1)
    with quiet():
        # What transformers imports late is imported here once rather than in every child.
        judge("llama", make)
    for model_type in model_types:
        yield alone(model_type, make)


def alone(model_type: str, make: Callable[[str, TargetModel], Any]) -> Verdict:
    """Judge a model type in a process that may take so long, hang or break."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(model_type, make, theirs))
    process.start()
    theirs.close()
    try:
        late = Verdict(UNTRIED, f"not done within {SECONDS} s", {})
        found: Verdict = mine.recv() if mine.poll(SECONDS) else late
    except EOFError:
        found = Verdict(UNTRIED, "its process broke off", {})
    process.kill()
    process.join()
    return found


def _child(model_type: str, make: Callable[[str, TargetModel], Any], pipe: Connection) -> None:
    with quiet():
        pipe.send(judge(model_type, make))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, nothing is written: classes warn of kernels that are missing here."""
    sink = io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


# --- the page


def counts_of(text: str) -> dict[str, int]:
    """Return the counts that a page says, by kind."""
    found = {kind: re.search(rf"^\| {kind} \| (\d+) \|$", text, re.MULTILINE) for kind in KINDS}
    return {kind: int(match[1]) if match else 0 for kind, match in found.items()}


def table(found: dict[str, Verdict]) -> str:
    """Return the generated part of the page."""
    counts = Counter(one.kind for one in found.values())
    lines = [f"transformers {transformers.__version__}, {len(found)} model types:", ""]
    lines += ["| Verdict | Model types |", "|---|---|", *(f"| {kind} | {counts[kind]} |" for kind in KINDS)]
    lines += ["", "| Model type | Class | Verdict | Not offered, and why |", "|---|---|---|---|"]
    for model_type, one in found.items():
        streams: dict[str, list[str]] = {}
        for stream, reason in one.refused.items():
            streams.setdefault(reason, []).append(f"`{stream}`")
        words = [f"{', '.join(names)}: {reason}" for reason, names in streams.items()]
        words = [f"{'resume' if one.kind == DIRECT else 'all'}: {one.reason}"] * bool(one.reason) + words
        cell = "; ".join(word[:MOST_WORDS] for word in words).replace("|", "/").replace("<", "&lt;")
        lines.append(f"| `{model_type}` | {class_name(model_type)} | {one.kind} | {cell} |")
    return "\n".join(lines)


def class_name(model_type: str) -> str:
    """Return the name of the class that a model type is loaded by."""
    names = {**MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, **MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    return names[model_type]


def written(page: str, part: str) -> str:
    """Return the page with its generated part replaced."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{part}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Print the verdicts and, if wanted, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table of docs/models.md")
    parser.add_argument("--unproved", action="store_true", help="leave the self-test out")
    parser.add_argument("--only", nargs="*", metavar="TYPE", help="model types to try")
    arguments = parser.parse_args()
    wanted = arguments.only or wanted_types()
    make = unproved if arguments.unproved else make_engine
    found: dict[str, Verdict] = {}
    for model_type, one in zip(wanted, verdicts(wanted, make), strict=True):
        found[model_type] = one
        print(f"{model_type:25} {one.kind:18} {one.reason[:200]}", *one.refused, sep=" | ", flush=True)
    print(Counter(one.kind for one in found.values()))
    if arguments.write:
        PAGE.write_text(written(PAGE.read_text("utf-8"), table(found)), "utf-8")


if __name__ == "__main__":
    main()
