"""Models whose blocks lie in several places: part of them on disk, brought in for each pass by accelerate.

What a second GPU would do beyond that can't be seen on a CPU, but for the decision it leads to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from resume_cases import RELATIVE, SOME_SITES, logits_and_gradient, make_pairs, swap_at
from torch import Tensor
from transformers import AutoModelForCausalLM

from das.engine import ENGINES, ForcedPair, ResumeEngine, make_engine
from das.engine.base.protocol import PromptPair
from das.models import TargetModel
from das.models.load import load_target, target_from
from das.sites import Site
from ravel.common.errors import SuiteError

pytest.importorskip("accelerate")

SPREAD_FAMILIES = ("qwen2", "gpt2", "gemma2")


@pytest.fixture(scope="module")
def pairs(make_prompt: Callable[..., Any]) -> list[ForcedPair]:
    return make_pairs(make_prompt)[::3]


@pytest.fixture(scope="module", params=SPREAD_FAMILIES)
def both(
    request: pytest.FixtureRequest,
    target_of: Callable[[str], TargetModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[TargetModel, TargetModel]:
    """A miniature as it is, and with two of its blocks on disk."""
    plain = target_of(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    plain.model.save_pretrained(folder)
    names = dict.fromkeys(_owner(plain, name) for name in plain.model.state_dict())
    blocks = [_owner(plain, _path(plain, layer)) for layer in (1, 2)]
    places = {name: "disk" if name in blocks else "cpu" for name in names}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map=places)
    assert sum(parameter.is_meta for parameter in model.parameters()) > 4
    return plain, target_from(model, plain.tokenizer, plain.name)


def _path(target: TargetModel, layer: int) -> str:
    block = target.family.blocks(target.model)[layer]
    return next(name for name, module in target.model.named_modules() if module is block)


def _owner(target: TargetModel, name: str) -> str:
    """The block that a parameter belongs to, or else its own module."""
    paths = [_path(target, layer) for layer in range(target.n_layers)]
    inside = [path for path in paths if name == path or name.startswith(f"{path}.")]
    return inside[0] if inside else name.rpartition(".")[0]


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= RELATIVE * expected.abs().max()


def test_the_fingerprint_is_that_of_the_plain_model(both: tuple[TargetModel, TargetModel]) -> None:
    plain, spread = both
    assert spread.fingerprint == plain.fingerprint
    assert spread.device == plain.device
    assert spread.dtype == plain.dtype
    assert set(spread.block_devices) == {torch.device("cpu")}


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_gives_the_numbers_of_the_plain_model(
    both: tuple[TargetModel, TargetModel], pairs: list[ForcedPair], name: str
) -> None:
    plain, spread = both
    one, other = make_engine(name, plain), make_engine(name, spread)
    sites = SOME_SITES if name != "reference" else [Site(1)]
    prompts = [pair.base for pair in pairs]
    for site in sites:
        for found, expected in zip(
            logits_and_gradient(other, pairs, site), logits_and_gradient(one, pairs, site), strict=True
        ):
            close(found, expected)
    for vectors, wanted in zip(
        other.collect(prompts, sites).values(), one.collect(prompts, sites).values(), strict=True
    ):
        close(vectors, wanted)
    assert other.complete(prompts, 3) == one.complete(prompts, 3)
    asked = [PromptPair(pair.base, pair.source) for pair in pairs]
    swap = swap_at(plain, Site(1))
    assert other.complete_swapped(asked, Site(1), swap, 2) == one.complete_swapped(asked, Site(1), swap, 2)


def test_offloaded_blocks_are_resumed(both: tuple[TargetModel, TargetModel], pairs: list[ForcedPair]) -> None:
    engine = ResumeEngine(both[1])
    engine.interchange_logits(pairs, Site(1), None)
    assert engine.fallback is None


def test_blocks_on_several_devices_are_run_by_direct_with_the_reason(
    small_target: TargetModel, pairs: list[ForcedPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second device is simulated: only where blocks say that they are computed."""
    swap = swap_at(small_target, Site(1))
    expected = make_engine("direct", small_target).interchange_logits(pairs, Site(1), swap)
    devices = (torch.device("cpu"), torch.device("cuda:1"))
    monkeypatch.setattr(TargetModel, "block_devices", property(lambda target: devices))
    engine = ResumeEngine(small_target)
    assert engine.fallback == "its blocks are computed on several devices (cpu, cuda:1)"
    assert torch.equal(engine.interchange_logits(pairs, Site(1), swap), expected)


def test_the_device_auto_loads_what_fits_and_leaves_the_rest_on_disk() -> None:
    plain = load_target("bundled")
    whole, spread = (
        load_target("bundled", device="auto"),
        load_target("bundled", device="auto", max_memory={"cpu": 5_500_000}),
    )
    ids = torch.arange(3, 40)[None]
    assert any(parameter.is_meta for parameter in spread.model.parameters())
    for target in (whole, spread):
        assert target.fingerprint == plain.fingerprint
        assert not any(parameter.requires_grad for parameter in target.model.parameters())
        with torch.no_grad():
            close(target.model(ids).logits.cpu(), plain.model(ids).logits)


def test_without_accelerate_auto_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("das.models.load.find_spec", lambda name: None)
    with pytest.raises(SuiteError, match="accelerate for --device auto"):
        load_target("bundled", device="auto")
