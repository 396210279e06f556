"""Models that read longer rows otherwise: each row is answered as it is alone, by every engine, whatever rows
stand beside it; and rows that are too long are refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from das.engine import DirectEngine, Engine, ForcedPair, ResumeEngine, make_engine
from das.engine.base.protocol import AnswerPair, PromptPair
from das.engine.selftest.engine_check import check_engine
from das.featurizers import MaskedBasis
from das.models import FAMILIES, TargetModel
from das.models.configs import longest_row, turning_points
from das.models.miniature import random_target
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

SMALL = {"vocab_size": 128, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2, "hidden_size": 32}
SHAPE = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
TURN = 40
"""Tokens beyond which the miniatures read a row otherwise."""


def long_rope() -> TargetModel:
    """Phi 3 with other rotary factors for the whole of a row of more than 40 tokens."""
    config = FAMILIES.get("phi3").miniature()
    half = config.hidden_size // config.num_attention_heads // 2
    config.max_position_embeddings, config.original_max_position_embeddings = 160, TURN
    config.rope_parameters = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
        "short_factor": [1.0] * half,
        "long_factor": [1.0 + 2 * i for i in range(half)],
        "original_max_position_embeddings": TURN,
    }
    config.sliding_window = None
    return random_target(config, name="long rope")


def in_chunks() -> TargetModel:
    """Llama 4's text model, whose attention begins anew after 40 tokens."""
    config = AutoConfig.for_model(
        "llama4_text",
        **{**SMALL, **SHAPE, "num_hidden_layers": 4, "intermediate_size_mlp": 48, "head_dim": 8},
        **{"num_local_experts": 2, "attention_chunk_size": TURN, "max_position_embeddings": 160},
        **{"pad_token_id": 2, "no_rope_layers": [1, 1, 1, 0], "moe_layers": []},
    )
    return random_target(config, name="in chunks")


MADE: dict[str, Callable[[], TargetModel]] = {"long rope": long_rope, "in chunks": in_chunks}


@pytest.fixture(scope="module", params=MADE)
def turning(request: pytest.FixtureRequest) -> TargetModel:
    return MADE[request.param]()


def prompt(length: int, salt: int) -> Prompt:
    """A prompt of that many characters, and with them tokens, behind the begin token."""
    text = "".join(chr(ord("a") + (7 * i * i + 3 * i + salt) % 26) for i in range(length))
    return Prompt(text, "%s", text[:3], None, (0, 3))


LENGTHS = (10, TURN - 12, TURN + 20, TURN + 45)


@pytest.fixture
def pairs() -> list[ForcedPair]:
    prompts = [prompt(length, salt) for salt, length in enumerate(LENGTHS)]
    labels = [(5, 6, 7), (8,), (9, 10), (11, 12)]
    return [
        ForcedPair(base, source, label)
        for base, source, label in zip(prompts, (*prompts[1:], prompts[0]), labels, strict=True)
    ]


def swap(target: TargetModel) -> MaskedBasis:
    return MaskedBasis((torch.arange(target.d_model) % 2).float())


def alone(target: TargetModel, pair: ForcedPair, site: Site) -> torch.Tensor:
    """The oracle: hooks by hand, one row at a time, nothing padded, nothing kept."""
    encode = DirectEngine(target).encoder

    def run(ids: tuple[int, ...], hook: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        seen: list[torch.Tensor] = []
        block = target.family.blocks(target.model)[site.layer]

        def act(module: Any, inputs: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            seen.append(hidden)
            return None if hook is None else hook(hidden)

        handle = block.register_forward_hook(act)
        with torch.no_grad():
            logits = target.model(torch.tensor([ids]), use_cache=False).logits[0]
        handle.remove()
        return seen[0][0], logits

    base, source = encode.encode([pair.base.text, pair.source.text])
    token, brought = (encode.position(one, site.position) for one in (pair.base, pair.source))
    vector = run(source.ids)[0][brought]

    def put(hidden: torch.Tensor) -> torch.Tensor:
        changed = hidden.clone()
        changed[0, token] = swap(target).interchange(hidden[0, token][None], vector[None])[0]
        return changed

    return run(base.ids + pair.label_ids[:-1], put)[1][len(base.ids) - 1 :]


def test_what_is_turned_at(turning: TargetModel) -> None:
    assert turning.turning_points == (TURN,)
    assert [turning.side(length) for length in (1, TURN, TURN + 1)] == [0, 0, 1]
    short, longer = torch.arange(TURN)[None] % 99, torch.arange(TURN + 1)[None] % 99
    with torch.no_grad():
        one, other = turning.model(short).logits[0], turning.model(longer).logits[0, :TURN]
    if turning.name == "long rope":
        # The rule is real: a token more changes what the tokens before it say.
        assert (one - other).abs().max() > 1e-2


@pytest.mark.parametrize("engine", [DirectEngine, ResumeEngine])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_row_is_answered_as_it_is_alone(
    turning: TargetModel, pairs: list[ForcedPair], engine: type[DirectEngine], layer: int
) -> None:
    site = Site(layer)
    made = engine(turning)
    together = made.interchange_logits(pairs, site, swap(turning))
    again = made.interchange_logits(pairs[:2], site, swap(turning))
    for i, pair in enumerate(pairs):
        expected = alone(turning, pair, site)
        count = len(pair.label_ids)
        assert (together[i, :count] - expected).abs().max() <= 1e-4 * expected.abs().max()
        if i < 2:
            assert (again[i, :count] - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("engine", [DirectEngine, ResumeEngine])
def test_other_questions_agree_too(
    turning: TargetModel, pairs: list[ForcedPair], engine: type[DirectEngine]
) -> None:
    made, site = engine(turning), Site(1)
    choices = [AnswerPair(pair.base, pair.source, (pair.label_ids, (3, 4))) for pair in pairs]
    assert made.predicts(choices, site, swap(turning)) == [
        DirectEngine(turning, batch_tokens=1).predicts([choice], site, swap(turning))[0] for choice in choices
    ]
    vectors = made.collect([pair.base for pair in pairs], [site])[site]
    for pair, vector in zip(pairs, vectors, strict=True):
        own = DirectEngine(turning).collect([pair.base], [site])[site][0]
        assert (vector - own).abs().max() <= 1e-4 * own.abs().max()


def greedy(target: TargetModel, ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The oracle: whole rows, one token at a time."""
    new: tuple[int, ...] = ()
    while len(new) < count and not (new and new[-1] in target.end_ids):
        with torch.no_grad():
            logits = target.model(torch.tensor([ids + new]), use_cache=False).logits[0, -1]
        new += (int(logits.argmax()),)
    return new


@pytest.mark.parametrize("engine", [DirectEngine, ResumeEngine])
def test_completions_are_those_of_whole_rows(turning: TargetModel, engine: type[DirectEngine]) -> None:
    """Some of these rows grow past the turning point."""
    made = engine(turning)
    prompts = [prompt(length, salt) for salt, length in enumerate((8, 20, TURN - 5, TURN - 3, TURN + 8))]
    found = made.complete(prompts * 3, 8)
    for one, completion in zip(prompts * 3, found, strict=True):
        ids = made.encoder.encode([one.text])[0].ids
        assert completion.token_ids == greedy(turning, ids, 8)


@pytest.mark.parametrize("engine", [DirectEngine, ResumeEngine])
def test_swapped_completions_are_those_of_whole_rows(
    turning: TargetModel, engine: type[DirectEngine]
) -> None:
    made, site, featurizer = engine(turning), Site(1), swap(turning)
    prompts = [prompt(length, salt) for salt, length in enumerate((8, TURN - 3, TURN + 8))]
    swapped = [PromptPair(base, source) for base, source in zip(prompts, prompts[::-1], strict=True)]
    for pair, completion in zip(swapped, made.complete_swapped(swapped, site, featurizer, 6), strict=True):
        for count in range(1, len(completion.token_ids) + 1):
            grown = ForcedPair(pair.base, pair.source, completion.token_ids[:count])
            assert int(alone(turning, grown, site)[-1].argmax()) == completion.token_ids[count - 1]


def test_the_probe_at_load_reads_a_longer_row(turning: TargetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    check_engine(ResumeEngine(turning))
    # An engine that knows nothing of the rule is found out, where the rule changes all of a row.
    if turning.name == "long rope":
        monkeypatch.setattr(TargetModel, "sides", lambda self, lengths: [0 for _ in lengths])
        mixed = DirectEngine(turning)
        real = DirectEngine.interchange_logits

        def apart(self: DirectEngine, some: Any, site: Site, featurizer: Any) -> torch.Tensor:
            if self is mixed:
                return real(self, some, site, featurizer)
            return torch.cat([_padded(real(self, [pair], site, featurizer), some) for pair in some])

        monkeypatch.setattr(DirectEngine, "interchange_logits", apart)
        with pytest.raises(SuiteError, match="as one row alone does"):
            check_engine(mixed)


def _padded(logits: torch.Tensor, pairs: list[ForcedPair]) -> torch.Tensor:
    longest = max(len(pair.label_ids) for pair in pairs)
    return torch.nn.functional.pad(logits, (0, 0, 0, longest - logits.shape[1]))


# --- limits


@pytest.mark.parametrize("name", ["direct", "resume"])
def test_a_limit_under_another_name_is_checked_before_anything_runs(name: str) -> None:
    config = AutoConfig.for_model(
        "mpt", vocab_size=128, d_model=32, n_layers=3, n_heads=4, max_seq_len=24, eos_token_id=2
    )
    engine: Engine = make_engine(name, random_target(config, name="mpt"))
    assert engine.target.max_tokens == 24
    pair = ForcedPair(prompt(10, 1), prompt(30, 2), (5,))
    for work in (
        lambda: engine.interchange_logits([pair], Site(1), swap(engine.target)),
        lambda: engine.complete([pair.source], 2),
        lambda: engine.complete([prompt(20, 1)], 8),
    ):
        with pytest.raises(SuiteError, match="at most 24 tokens, the context of mpt"):
            work()


class Settings:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


@pytest.mark.parametrize(
    ("config", "longest", "turns"),
    [
        (Settings(), None, ()),
        (Settings(max_position_embeddings=64), 64, ()),
        (Settings(n_positions=32, n_ctx=48), 32, ()),
        (Settings(max_seq_len=16, max_position_embeddings=None), 16, ()),
        (
            Settings(
                max_position_embeddings=256,
                rope_parameters={"rope_type": "dynamic", "original_max_position_embeddings": 64},
            ),
            *(64, ()),
        ),
        (
            Settings(
                max_position_embeddings=256,
                rope_parameters={
                    "full_attention": {"rope_type": "default"},
                    "sliding_attention": {"rope_type": "longrope", "original_max_position_embeddings": 64},
                },
            ),
            *(256, (64,)),
        ),
        (Settings(rope_scaling={"type": "longrope"}, original_max_position_embeddings=8), None, (8,)),
        (Settings(attention_chunk_size=96, rope_parameters={"rope_type": "linear"}), None, (96,)),
    ],
)
def test_what_configs_say(config: Any, longest: int | None, turns: tuple[int, ...]) -> None:
    assert longest_row(config) == longest
    assert turning_points(config) == turns
