"""A verdict on a real block: silent units are planted, and the subspace that works through them is named."""

from __future__ import annotations

import math

import pytest
import torch
from record_pairs import pair_of
from torch import Tensor
from transformers import LlamaConfig

from das.engine import DirectEngine
from das.featurizers import Subspace, retract
from das.models.base import TargetModel
from das.models.miniature import random_target
from das.sites import Site
from evaluation.records.diagnosis import Diagnosis
from evaluation.scoring.scores import FeaturizerId
from evaluation.validity.diagnosis.diagnose import DiagnosisConfig, diagnose
from ravel.asking.prompts import fill
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import Template

SITE = Site(1)
LETTERS = {"aeiou": "+", "bcdfg": "-"}
"""Letters of which the model says one answer, and those of which it says the other."""
TRAIN = ("of %s", "to %s", "so: %s", "well, %s", "I see %s")
HELD_OUT = ("(%s", "now %s")
SILENCE = 0.5
"""Far above what any prompt reaches along the dormant direction, far below what the swap writes there."""


def planted_target() -> tuple[TargetModel, Tensor, Tensor, Tensor]:
    """A Llama of which one direction is what is answered by, one says the same and is read by nobody, and one
    never varies and drives two otherwise silent units of block 2 that write the answer."""
    config = LlamaConfig(
        **{"vocab_size": 128, "max_position_embeddings": 32, "hidden_size": 32, "num_hidden_layers": 4},
        **{"num_attention_heads": 4, "intermediate_size": 48, "hidden_act": "relu", "mlp_bias": True},
        **{"initializer_range": 0.1, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2},
    )
    target = random_target(config, name="silent units")
    columns = retract(torch.randn(32, 3, generator=torch.Generator().manual_seed(4)))
    used, idle, dormant = columns.unbind(dim=1)
    hidden = torch.eye(32) - torch.outer(idle, idle) - torch.outer(dormant, dormant)
    others = hidden - torch.outer(used, used)
    for block in target.model.model.layers:
        attention, mlp = block.self_attn, block.mlp
        for reader in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            reader.weight.copy_(reader.weight @ hidden)
        for writer in (attention.o_proj, mlp.down_proj):
            writer.weight.copy_(others @ writer.weight)
    table, head = target.model.model.embed_tokens.weight, target.model.lm_head.weight
    table.copy_(table @ others)
    head.copy_(0.1 * head @ others)
    for letters, sign in zip(LETTERS, (1, -1), strict=True):
        head[token(target, LETTERS[letters])] += 4 * sign * used
        for letter in letters:
            table[token(target, letter)] += sign * (idle + 0.5 * used)
    mlp = target.model.model.layers[2].mlp
    for unit, sign in ((0, 1), (1, -1)):
        mlp.gate_proj.weight[unit] = sign * dormant
        mlp.gate_proj.bias[unit] = -SILENCE
        mlp.up_proj.weight[unit], mlp.up_proj.bias[unit] = torch.zeros(32), 1.0
        mlp.down_proj.weight[:, unit] = sign * 4.0 * used
    return target, used, idle, dormant


def token(target: TargetModel, character: str) -> int:
    return int(target.tokenizer.convert_tokens_to_ids(character))


def instance_of(target: TargetModel) -> Instance:
    """Every pair of letters with different answers, under templates for training and held-out ones."""
    records = {
        (text, letter): PromptRecord(
            f"{text} {letter}",
            fill(Template(text, "Group", "train"), letter),
            answer,
            (token(target, answer),),
            True,
        )
        for text in (*TRAIN, *HELD_OUT)
        for letters, answer in LETTERS.items()
        for letter in letters
    }
    pairs = {
        split: [
            pair_of(f"{split} {text} {base.prompt.entity} {source.prompt.entity}", base, source)
            for text in texts
            for (own, _), base in records.items()
            for (other, _), source in records.items()
            if own == other == text and base.label != source.label
        ]
        for split, texts in (("train", TRAIN), ("context_val", HELD_OUT))
    }
    return Instance.from_parts(
        entity_type="letters",
        model_name="silent units",
        model_fingerprint=target.fingerprint,
        prompts=records.values(),
        pairs=pairs,
    )


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Diagnosis]:
    """Diagnoses of the direction that is used, and of the one that works through silent units."""
    with torch.no_grad():
        target, used, idle, dormant = planted_target()
    instance, engine = instance_of(target), DirectEngine(target)
    featurizer_id = FeaturizerId("c", "das", "letters", target.name, SITE, 1, 0)
    config = DiagnosisConfig(limit_pairs=40, random_draws=1, tolerance=False)
    columns = {"used": used, "hidden": (idle + dormant) / math.sqrt(2), "idle": idle}
    return {
        name: diagnose(Subspace(column[:, None]), instance, engine, featurizer_id, "Group", config)
        for name, column in columns.items()
    }


def value(diagnosis: Diagnosis, name: str) -> float:
    check = diagnosis.check(name)
    assert check is not None
    assert check.value is not None
    return check.value


def results(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.result for check in diagnosis.checks}


def test_both_directions_bring_the_attribute(verdicts: dict[str, Diagnosis]) -> None:
    for name in ("used", "hidden"):
        full = verdicts[name].patch("full")
        assert full is not None
        assert full.cause == 1.0


def test_the_planted_pathway_is_named(verdicts: dict[str, Diagnosis]) -> None:
    found = verdicts["hidden"]
    assert value(found, "hidden_pathway") == pytest.approx(1.0, abs=0.01)
    assert "hidden pathway 1.00" in found.verdict
    assert "keeps 0% of cause" in found.verdict
    # The coefficient is read where nothing else reads, and written where nothing else varies.
    row, cross = found.patch("row", "next_block"), found.patch("cross", "next_block")
    assert row is not None
    assert cross is not None
    assert (row.cause, cross.cause) == (0.0, 1.0)


def test_the_direction_that_is_used_has_none(verdicts: dict[str, Diagnosis]) -> None:
    found = verdicts["used"]
    assert value(found, "hidden_pathway") == pytest.approx(0.0, abs=0.05)
    for name in ("hidden_pathway", "row_part", "null_part", "overshoot"):
        assert results(found)[name] == "passed"


def test_what_nobody_reads_brings_nothing_and_has_nothing_to_lose(verdicts: dict[str, Diagnosis]) -> None:
    found = verdicts["idle"]
    assert results(found)["beats_random"] == "failed"
    assert results(found)["hidden_pathway"] == "not applicable"
