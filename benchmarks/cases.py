"""The models that are measured, and instances for them; it times nothing.

The bundled model gets a real instance. A model with random weights knows nothing, so that its instance comes
from an oracle that answers every question with the value in the tables: prompts, labels, positions and the
way pairs share prompts are those of a real instance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from public_way import AskedPair
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from das.engine import EngineAnswerer, ForcedPair, make_engine
from das.engine.selftest.selftest import proven
from das.methods.common.tasks import isolates_each
from das.models import FAMILIES
from das.models.base import TargetModel
from das.models.load import BUNDLED, load_target, target_from
from das.models.placing import DTYPES
from das.sites import Site
from das.training.examples import cause_pairs, isolate_pairs
from das.training.objective import TrainingPair
from evaluation.config.judging import DEFAULT_LABEL_TOKENS
from ravel.asking.answerer import Decided
from ravel.building import BuildConfig, build_instance
from ravel.common.seeds import derive_seed, python_stream
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance
from ravel.terms.schema import Completion, Prompt

__all__ = [
    "SHAPES",
    "SPLIT",
    "Case",
    "Plan",
    "asked_pair",
    "bundled_case",
    "family_case",
    "forced_shorter",
    "random_llama",
    "shape_case",
    "shape_target",
]

SPLIT = "context_test"
"""What is scored."""
FOUR_ATTRIBUTES = ("Country", "Continent", "Language", "Timezone")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of a case is run."""

    train_pairs: int
    """Cause pairs at most; of other attributes as many isolate pairs as by default."""
    evaluation_pairs: int
    """Scored pairs of each attribute."""
    keep_entities: int
    """Entities of the instance, all partitions together."""
    slow_pairs: int
    """Pairs of a repeat of the sides that keep nothing; every batch costs them the same."""
    repeats: int
    """Timed turns of each figure."""
    attributes: tuple[str, ...] | None = FOUR_ATTRIBUTES
    """Attributes of the instance; None: all six."""
    epochs: int = 3
    """Passes of a fit."""
    size: int = 16
    """Dimension of the subspace."""
    batch_size: int = 32
    """Pairs of a batch, for every side."""
    templates: int | None = None
    """Templates of each attribute and partition that are asked; None for all."""


@dataclass(frozen=True)
class Case:
    """A model, a site in it, and the pairs to run."""

    name: str
    """As printed."""
    key: str
    """As in JSON."""
    target: TargetModel
    """The model, through its self-test: that is of loading, and timed by itself."""
    site: Site
    """The middle block at the entity's last token."""
    instance: Instance
    """Prompts and pairs."""
    plan: Plan
    """How much is run."""

    @cached_property
    def training(self) -> list[TrainingPair]:
        """The pairs of an MDAS fit of the first attribute: cause, and as many of each other as by default."""
        attribute = self.instance.attributes[0]
        cause = cause_pairs(
            self.instance, attribute, "train", limit=self.plan.train_pairs, seed=0, label_tokens=3
        )
        each = isolates_each(len(cause), len(self.instance.attributes) - 1)
        isolate = isolate_pairs(self.instance, attribute, "train", limit_each=each, seed=0, label_tokens=3)
        return [*cause, *isolate]

    @cached_property
    def asked(self) -> list[AskedPair]:
        """The pairs to score, with both answers cut as they are compared."""
        return [asked_pair(self.instance, pair) for pair in self.instance.pairs(SPLIT)]

    def sampled(self, pairs: Sequence[Any]) -> list[Any]:
        """Return a fixed random choice of pairs, enough for a repeat of a slow side."""
        count = min(len(pairs), self.plan.slow_pairs)
        return python_stream(0, "slow sides", self.key).sample(list(pairs), count)

    def part(self, count: int) -> Instance:
        """Return the instance with a random choice of `count` scored pairs."""
        pairs = self.instance.pairs(SPLIT)
        if count >= len(pairs):
            return self.instance
        kept = tuple(python_stream(0, "slow sides", self.key).sample(list(pairs), count))
        prompts = {record.prompt_id: record for record in self.instance.prompts()}
        return Instance(manifest=self.instance.manifest, prompts=prompts, pairs={SPLIT: kept})


def asked_pair(instance: Instance, pair: Any) -> AskedPair:
    """Return a pair of an instance as the public way takes it."""
    base, swapped = instance.prompt(pair.base), instance.prompt(pair.swapped)
    cut = slice(DEFAULT_LABEL_TOKENS)
    source = instance.prompt(pair.source).prompt
    return AskedPair(base.prompt, source, base.label_ids[cut], swapped.label_ids[cut])


def forced_shorter(pair: AskedPair) -> ForcedPair:
    """Return the pair with the shorter of its answers forced: no judging can do with less."""
    return ForcedPair(pair.base, pair.source, min(pair.unchanged, pair.swapped, key=len))


class Oracle:
    """Answers with the values of the tables, in the tokens of a model that need not know them."""

    def __init__(self, tables: Tables, target: TargetModel) -> None:
        self._values = {facts.entity: dict(facts.values) for facts in tables.entities}
        self._tokenizer = target.tokenizer
        self._real = EngineAnswerer(make_engine("direct", target))
        self.name, self.fingerprint = target.name, target.fingerprint
        self.instrument = target.parts

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Say the entity's value and a full stop, or that it is there."""
        return [self._answer(prompt, max_new_tokens) for prompt in prompts]

    def _answer(self, prompt: Prompt, most: int) -> Completion:
        value = self._values.get(prompt.entity, {}).get(prompt.attribute or "", "there")
        ids = self._tokenizer(f" {value}.\n", add_special_tokens=False)["input_ids"][:most]
        return Completion(text=self.decode(ids), token_ids=tuple(ids))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        return self._real.decode(token_ids)

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each token's place in its text."""
        return self._real.offsets(texts)


def _build_config(plan: Plan) -> BuildConfig:
    return BuildConfig(
        attributes=plan.attributes,
        max_entities=max(200, plan.keep_entities) if plan.templates is None else plan.keep_entities,
        shortlist=plan.keep_entities,
        keep_entities=plan.keep_entities,
        max_new_tokens=6,
        train_pairs=plan.train_pairs,
        evaluation_pairs=plan.evaluation_pairs,
    )


def _asked(tables: Tables, plan: Plan) -> Tables:
    """Return the tables with the first templates of each attribute and partition, if not all are wanted."""
    groups = Counter[tuple[str | None, str]]()
    kept = []
    for template in tables.templates:
        groups[template.attribute, template.partition] += 1
        if plan.templates is None or groups[template.attribute, template.partition] <= plan.templates:
            kept.append(template)
    return replace(tables, templates=tuple(kept))


def bundled_case(
    plan: Plan, *, folder: Path | None = None, device: str = "cpu", model: str = BUNDLED
) -> Case:
    """Return a pretrained model with the instance in `folder`, or one of bundled facts built for it now
    (about 20 s for the bundled model)."""
    target = proven(load_target(model, device=device))
    if folder is not None:
        instance = Instance.load(folder)
    else:
        answerer = EngineAnswerer(make_engine("direct", target))
        instance = build_instance(_asked(read_bundled("city"), plan), answerer, _build_config(plan))
    name = f"{model if model != BUNDLED else 'bundled model'}, {target.n_layers} x {target.d_model}"
    return Case(name, "bundled", target, Site(target.n_layers // 2), instance, plan)


def shape_case(shape: str, plan: Plan, *, device: str = "cpu", dtype: str = "float32") -> Case:
    """Return a model of a named shape with random weights. Raises KeyError for an unknown shape."""
    config = SHAPES[shape]()
    return _random_case(shape, f"{shape} shape", config, plan, device=device, dtype=dtype)


def family_case(name: str, plan: Plan, *, device: str = "cpu", dtype: str = "float32") -> Case:
    """Return a model of a family's kind, 8 x 512, with random weights."""
    config = FAMILIES.get(name).miniature()
    kinds = getattr(config, "layer_types", None)
    changes = {"num_hidden_layers": 8, "hidden_size": 512, "intermediate_size": 1536}
    changes |= {"num_attention_heads": 8, "head_dim": 64, "ffn_dim": 1536, "word_embed_proj_dim": 512}
    changes |= {"num_key_value_heads": 4, "query_pre_attn_scalar": 64, "rotary_dim": 32}
    for attribute, value in changes.items():
        if getattr(config, attribute, None) is not None:
            setattr(config, attribute, value)
    if kinds is not None:
        config.layer_types = (list(kinds) * 8)[:8]
    return _random_case(name, f"{name}, 8 x 512", config, plan, device=device, dtype=dtype)


def _random_case(key: str, name: str, config: Any, plan: Plan, *, device: str, dtype: str) -> Case:
    target = proven(_random_model(key, config, device, dtype))
    tables = read_bundled("city")
    instance = build_instance(tables, Oracle(tables, target), _build_config(plan))
    label = f"{name}, random weights, {target.n_layers} x {target.d_model}"
    return Case(label, key, target, Site(target.n_layers // 2), instance, plan)


@cache
def _tokenizer() -> Any:
    return load_target(BUNDLED).tokenizer


def _random_model(key: str, config: Any, device: str, dtype: str) -> TargetModel:
    """Make the weights where they are to lie; short prompts of the bundled tokenizer, whatever the shape."""
    tokenizer = _tokenizer()
    config.vocab_size = max(int(config.vocab_size), len(tokenizer))
    config.eos_token_id = config.bos_token_id = config.pad_token_id = tokenizer.eos_token_id
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(derive_seed(0, "weights", key))
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    return target_from(model, tokenizer, f"random {key}")


def shape_target(shape: str) -> TargetModel:
    """Return a model of a published shape with random weights, on the CPU in float32."""
    return _random_model(shape, SHAPES[shape](), "cpu", "float32")


def random_llama(layers: int, width: int) -> TargetModel:
    """Return a Llama of this size with random weights, on the CPU in float32."""
    config = _llama(layers, width, 3 * width, width // 32, width // 32, len(_tokenizer()))
    return _random_model(f"llama-{layers}x{width}", config, "cpu", "float32")


def _gpt2() -> Any:
    return GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)


def _llama(
    layers: int,
    width: int,
    inner: int,
    heads: int,
    key_value_heads: int,
    vocabulary: int,
    *,
    tied: bool = False,
) -> Any:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=tied,
    )


SHAPES = {
    "gpt2": _gpt2,
    "llama-1b": lambda: _llama(22, 2048, 5632, 32, 4, 32_000),
    "llama-7b": lambda: _llama(32, 4096, 11_008, 32, 32, 32_000),
    "llama-tiny": lambda: _llama(4, 64, 128, 4, 2, 8_000),
    "smollm2-135m": lambda: _llama(30, 576, 1536, 9, 3, 49_152, tied=True),
}
"""Published shapes, and a tiny one to see that all runs: GPT-2 small, TinyLlama 1.1B, Llama-2 7B, SmolLM2
135M."""
