"""The parity of SmolLM2's daily test on other shapes: the bundled model, a narrow Gemma 3 270M with random
weights, and Gemma itself where it was fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from by_hand import check_sites, three_layers
from transformers import Gemma3TextConfig

from das.engine import ForcedPair
from das.models import TargetModel
from das.models.fetching.cached import in_cache
from das.models.fetching.catalogue import NAMED
from das.models.load import BUNDLED, load_target
from das.models.miniature import random_target

pytestmark = pytest.mark.long

GEMMA = "gemma-3-270m"


def narrow_gemma() -> TargetModel:
    """Gemma 3 270M block by block: 18 of them, every sixth sees all, four heads share one key; a tenth as
    wide, and with a window that the prompts outgrow."""
    config = Gemma3TextConfig(
        vocab_size=128,
        hidden_size=64,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        intermediate_size=205,
        sliding_window=8,
        layer_types=["full_attention" if n % 6 == 5 else "sliding_attention" for n in range(18)],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        tie_word_embeddings=True,
        initializer_range=0.2,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    return random_target(config, name="narrow gemma-3-270m")


def fetched_gemma() -> TargetModel:
    """Gemma itself; nothing is fetched for a test, for its terms are its user's to accept."""
    if in_cache(GEMMA, NAMED[GEMMA].sha256) is None:
        pytest.skip(f"NO GEMMA: fetch it with `ravel model fetch {GEMMA}`")
    return load_target(GEMMA)


@pytest.mark.parametrize(
    "made", [lambda: load_target(BUNDLED), narrow_gemma, fetched_gemma], ids=["bundled", "narrow", "gemma"]
)
def test_engines_swap_as_hooks_by_hand_do(
    made: Callable[[], TargetModel], make_prompt: Callable[..., Any]
) -> None:
    target = made()
    prompts = [
        make_prompt("The city of %s lies in the country of", "Paris"),
        make_prompt("%s was crowded during the holidays.", "Nairobi"),
        make_prompt("Hallstatt -> Austria, Banff -> Canada, %s ->", "Tokyo"),
    ]
    labels = [
        target.tokenizer(f" {name}", add_special_tokens=False)["input_ids"] for name in ("Kenya", "France")
    ]
    pairs = [
        ForcedPair(prompts[0], prompts[1], tuple(labels[0][:3])),
        ForcedPair(prompts[2], prompts[0], tuple(labels[1][:2])),
    ]
    check_sites(target, pairs, three_layers(target))
