"""Two neurons of which either is enough: what they carry is invisible to a plain gradient, not to GIM's."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config

from das.engine import Engine, make_engine
from das.engine.base.protocol import ForcedPair
from das.featurizers.masked import MaskedBasis
from das.methods.common.attribution import AttributionConfig, pair_attributions
from das.methods.common.contrast import ContrastPair, answer_difference
from das.models.base import TargetModel
from das.models.load import target_from
from das.models.miniature import character_tokenizer
from das.sites import Site
from ravel.terms.schema import Prompt

SITE = Site(0)
CONSTANT, ENTITY, ANSWER = (0, 1), 2, 3
REDUNDANT, DECOYS = (4, 5), (6, 7, 8, 9)
UNUSED = 10
WIDTH, LARGE, WEAK = 16, 50.0, 0.004
OLD, NEW = "o", "n"
"""The answers of the entities a, which has the redundant neurons on, and b, which has them off."""


@cache
def _target() -> TargetModel:
    """A model whose last token looks at the entity if either neuron is on: each adds 6 to the score, and 0 is
    that of the other two tokens. What it sees there is 1, and a little more by each decoy."""
    config = GPT2Config(
        vocab_size=128, n_positions=16, n_embd=WIDTH, n_layer=2, n_head=1, bos_token_id=1, eos_token_id=2
    )
    config.tie_word_embeddings = False
    model: Any = AutoModelForCausalLM.from_config(config)
    tokenizer = character_tokenizer()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
        # A large constant beside which nothing changes what norms divide by.
        model.transformer.wte.weight[:, CONSTANT[0]] = LARGE
        model.transformer.wte.weight[:, CONSTANT[1]] = -LARGE
        unit = LARGE * (2 / WIDTH) ** 0.5
        for name in "ab":
            row = model.transformer.wte.weight[tokenizer.convert_tokens_to_ids(name)]
            row[ENTITY] = 1.0
            row[list(REDUNDANT)] = float(name == "a")
            row[list(DECOYS)] = float(name == "a")
        attention = model.transformer.h[1].attn
        # Queries are constant; keys and values read what was normed, and so are scaled back.
        attention.c_attn.bias[0] = WIDTH**0.5
        attention.c_attn.weight[list(REDUNDANT), WIDTH] = 6.0 * unit
        attention.c_attn.weight[ENTITY, 2 * WIDTH] = unit
        attention.c_attn.weight[list(DECOYS), 2 * WIDTH] = WEAK * unit
        # A layer norm takes the mean off, which no sum of weights must see.
        attention.c_attn.weight[UNUSED] -= attention.c_attn.weight.sum(dim=0)
        attention.c_proj.weight[0, ANSWER] = 1.0
        old, new = (tokenizer.convert_tokens_to_ids(name) for name in (OLD, NEW))
        model.lm_head.weight[old, ANSWER], model.lm_head.weight[old, UNUSED] = unit, -unit
        model.lm_head.weight[new, CONSTANT[0]] = 0.67 * unit / LARGE
    return target_from(model, tokenizer, "an or")


def _pairs(engine: Engine) -> list[ContrastPair]:
    base, source = (Prompt(f"{name}?", "%s?", name, "A", (0, 1)) for name in "ab")
    old, new = (engine.target.tokenizer.convert_tokens_to_ids(name) for name in (OLD, NEW))
    return [ContrastPair(ForcedPair(base, source, (new,)), source, old, new)]


def _difference(engine: Engine, neurons: tuple[int, ...]) -> float:
    mask = torch.zeros(WIDTH).index_fill(0, torch.tensor(neurons, dtype=torch.long), 1.0)
    with torch.no_grad():
        return float(answer_difference(_pairs(engine), engine, SITE, MaskedBasis(mask)))


def _best(engine: Engine, gradient: str) -> tuple[int, ...]:
    config = AttributionConfig.model_validate({"gradient": gradient})
    masks = MaskedBasis(torch.zeros(WIDTH))
    scores: Tensor = pair_attributions(_pairs(engine), engine, SITE, masks, config=config)[0][0]
    return tuple(sorted(scores.argsort(descending=True)[:2].tolist()))


@pytest.mark.parametrize("name", ["direct", "resume"])
def test_only_gim_finds_both_neurons_and_only_they_swap_the_answer(name: str) -> None:
    engine = make_engine(name, _target())
    assert _difference(engine, ()) < -0.2
    assert [_difference(engine, (neuron,)) < -0.2 for neuron in REDUNDANT] == [True, True]
    assert _difference(engine, REDUNDANT) > 0.2
    assert _difference(engine, DECOYS) < -0.2
    assert set(_best(engine, "plain")) < set(DECOYS)
    assert _best(engine, "gim") == REDUNDANT
