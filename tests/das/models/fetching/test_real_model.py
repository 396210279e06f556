"""SmolLM2-135M as it comes from the package index; skips where neither the cache nor an index has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from das.models.base import TargetModel
from das.models.fetching.catalogue import NAMED
from das.models.fetching.provenance import provenance_of
from das.models.load import load_target
from das.models.tokenizing.probes import ids_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(smollm2_folder: Path) -> TargetModel:
    return load_target("smollm2-135m")


def test_its_shape_and_origin(target: TargetModel, smollm2_folder: Path) -> None:
    assert (target.folder, target.family.name) == (smollm2_folder, "llama")
    assert (target.n_layers, target.d_model, target.n_heads) == (30, 576, 9)
    assert target.model.get_input_embeddings().weight.shape == (49_152, 576)
    assert sum(p.numel() for p in target.model.parameters()) == NAMED["smollm2-135m"].parameters
    known = provenance_of(smollm2_folder)
    assert known is not None
    assert (known.sha256, known.licence.split()[0]) == (NAMED["smollm2-135m"].sha256, "Apache-2.0")
    assert known.quantisation == {"F32": 61, "Q4_1": 210, "Q8_0": 1}
    assert target.parts["quantisation"] != "none"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world! 123", [19556, 905, 17, 216, 33, 34, 35]),
        ("  multiple   spaces", [216, 2701, 256, 5600]),
        ("Caf\u00e9 d\u00e9j\u00e0 vu.", [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30]),
    ],
)
def test_ids_are_those_of_the_published_tokenizer(target: TargetModel, text: str, ids: list[int]) -> None:
    """HuggingFaceTB/SmolLM2-135M-Instruct; nothing is put around a text, for it was trained so."""
    assert ids_of(target.tokenizer, text, special=True) == ids


def test_blanks_before_digits_are_cut_from_them(target: TargetModel) -> None:
    """transformers alone would take GPT-2's rule, which leaves one of two blanks to the digit."""
    tokens = target.tokenizer.convert_ids_to_tokens(ids_of(target.tokenizer, "a  12", special=False))
    assert tokens == ["a", "\u0120\u0120", "1", "2"]


def test_it_knows_capitals(target: TargetModel) -> None:
    for city, country in (("Paris", " France"), ("Tokyo", " Japan"), ("Cairo", " Egypt")):
        ids = ids_of(target.tokenizer, f"The city of {city} lies in the country of", special=True)
        logits = target.model(torch.tensor([ids])).logits
        assert target.tokenizer.decode(logits[0, -1].argmax()) == country
