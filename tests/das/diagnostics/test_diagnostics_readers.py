"""Readers against what the modules of every family really compute when the stream is rewritten."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CohereConfig, Glm4Config, OlmoConfig, Starcoder2Config

from das.diagnostics.modules import mlp_output, weight_of
from das.diagnostics.patches import patches, split
from das.diagnostics.readers import MOST_ROWS, Reader, next_readers, unembedding_rows
from das.engine.base.hooks import captured, rewritten
from das.methods.common.base import NotApplicableError
from das.models import FAMILIES
from das.models.base import Place, TargetModel
from das.models.miniature import miniature, random_target
from das.models.parts import linear_layers, norms
from das.sites import Site
from ravel.common.errors import SuiteError

Families = Callable[[str], TargetModel]
TOKENS = torch.tensor([[5, 9, 23, 40, 7]])
LAST = torch.tensor([4])


def loud(name: str) -> TargetModel:
    """A miniature with random norms and biases."""
    return made_loud(miniature(FAMILIES.get(name), seed=1))


def made_loud(target: TargetModel) -> TargetModel:
    generator = torch.Generator().manual_seed(3)
    for _, norm in norms(target.model):
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    for parameter_name, parameter in target.model.named_parameters():
        if parameter_name.endswith("bias"):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return target


def quiet(target: TargetModel) -> TargetModel:
    """The same model with blocks that add nothing to the stream, so that only direct paths are left."""
    target = copy.deepcopy(target)
    for layer, block in enumerate(target.family.blocks(target.model)):
        for writer in (target.family.projection(block), mlp_output(target, layer)):
            for parameter in writer.parameters():
                parameter.zero_()
    return target


@pytest.fixture(scope="module", params=FAMILIES.names())
def family(request: pytest.FixtureRequest) -> TargetModel:
    with torch.no_grad():
        return loud(request.param)


def read_by(target: TargetModel, modules: list[nn.Module], changes: list[tuple[Any, Tensor]]) -> Tensor:
    """What the modules return at the last token, side by side, with places rewritten there first."""
    places = dict(enumerate(map(Place, modules)))
    with torch.no_grad(), ExitStack() as stack:
        for place, vector in changes:
            where = Place(place) if isinstance(place, nn.Module) else place
            stack.enter_context(rewritten(where, LAST, lambda _, v=vector: v[None]))
        found = stack.enter_context(captured(places, dict.fromkeys(places, LAST[:, None]), stop=False))
        target.model(input_ids=TOKENS, use_cache=False)
    return torch.cat([found[i][0, 0] for i in range(len(modules))]).double()


def reading_modules(target: TargetModel, layer: int, name: str) -> list[nn.Module]:
    """The layers of a reader, by the declaration and the names that the families give them."""
    block = target.family.blocks(target.model)[layer]
    attention = target.family.attention(block)
    writers = (target.family.projection(block), mlp_output(target, layer))
    of_attention = [m for _, m in linear_layers(attention) if m is not writers[0]]
    within = list(attention.modules())
    of_mlp = [m for _, m in linear_layers(block) if all(m is not w for w in (*within, writers[1]))]
    return {"attention": of_attention, "mlp": of_mlp, "next_block": of_attention + of_mlp}[name]


def assert_reads(
    target: TargetModel,
    reader: Reader,
    modules: list[nn.Module],
    changes: Callable[[Tensor], list[tuple[Any, Tensor]]],
) -> None:
    """The modules' outputs, less those at 0, are the reader's times one positive factor per vector.

    `modules` and `changes` belong to a quiet copy.
    """
    width = reader.matrix.shape[1]
    generator = torch.Generator().manual_seed(11)
    constant = read_by(target, modules, changes(torch.zeros(width)))
    for _ in range(3):
        vector = torch.randn(width, generator=generator)
        real = read_by(target, modules, changes(vector)) - constant
        said = reader.matrix @ vector.double()
        assert real.shape == said.shape
        factor = float(real @ said / said.square().sum())
        assert factor > 0
        assert float((real - factor * said).norm() / real.norm()) < 1e-5


@pytest.mark.parametrize("name", ["attention", "mlp"])
def test_a_block_reads_the_stream_as_its_readers_say(family: TargetModel, name: str) -> None:
    site = Site(1)
    reader = {r.name: r for r in next_readers(family, site)}[name]
    still = quiet(family)
    assert_reads(still, reader, reading_modules(still, 2, name), lambda v: [(still.place(site), v)])


def test_the_vocabulary_reads_the_stream_as_its_reader_says(family: TargetModel) -> None:
    still = quiet(family)
    head = still.model.get_output_embeddings()
    for layer in (1, 3):
        place = still.place(Site(layer))
        reader = next_readers(family, Site(layer))[-1]
        assert reader.name == "unembedding"
        assert_reads(still, reader, [head], lambda v, place=place: [(place, v)])


@pytest.mark.parametrize("stream", ["attention_output", "mlp_output"])
def test_what_a_module_adds_is_read_as_its_readers_say(family: TargetModel, stream: Any) -> None:
    """The stream is made 0 first, so that norms see what the module adds and nothing else."""
    site = Site(1, stream)
    still = quiet(family)
    nothing = (still.place(Site(0)), torch.zeros(still.d_model))
    readers = {r.name: r for r in next_readers(family, site)}

    def changes(vector: Tensor) -> list[tuple[Any, Tensor]]:
        return [nothing, (still.place(site), vector)]

    own_mlp = stream == "attention_output" and not parallel(family)
    assert_reads(still, readers["attention"], reading_modules(still, 2, "attention"), changes)
    assert_reads(still, readers["mlp"], reading_modules(still, 1 if own_mlp else 2, "mlp"), changes)
    assert_reads(still, readers["unembedding"], [still.model.get_output_embeddings()], changes)


@pytest.mark.parametrize("config_class", [CohereConfig, OlmoConfig, Glm4Config, Starcoder2Config])
def test_families_that_are_not_registered_are_followed_too(config_class: Any) -> None:
    """Side by side with a centred norm; norms without weights; norms on both sides; plain LayerNorms."""
    config = config_class(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.no_grad():
        target = made_loud(random_target(config, name=config_class.__name__))
        still = quiet(target)
    place = still.place(Site(1))
    readers = {r.name: r for r in next_readers(target, Site(1))}
    for name in ("attention", "mlp"):
        assert_reads(still, readers[name], reading_modules(still, 2, name), lambda v: [(place, v)])
    assert_reads(still, readers["unembedding"], [still.model.get_output_embeddings()], lambda v: [(place, v)])


def parallel(target: TargetModel) -> bool:
    return target.family.name in ("gptj", "phi", "gpt_neox", "stablelm")


def test_a_head_is_read_by_its_part_of_the_projection(family: TargetModel) -> None:
    projection = family.family.projection(family.family.blocks(family.model)[1])
    site = Site.parse("head_output.1.2@entity_last")
    (reader,) = next_readers(family, site)
    assert reader.name == "projection"
    assert reader.matrix.shape == (family.d_model, family.head_width)
    base = read_by(family, [projection], [(family.place(site), torch.zeros(family.head_width))])
    vector = torch.linspace(-1, 1, family.head_width)
    moved = read_by(family, [projection], [(family.place(site), vector)])
    torch.testing.assert_close(moved - base, reader.matrix @ vector.double(), atol=1e-5, rtol=1e-5)


def test_names_and_shapes(family: TargetModel) -> None:
    found = next_readers(family, Site(0))
    assert [r.name for r in found] == ["attention", "mlp", "next_block", "unembedding"]
    by_name = {r.name: r.matrix for r in found}
    assert torch.equal(by_name["next_block"], torch.cat([by_name["attention"], by_name["mlp"]]))
    assert all(m.dtype == torch.float64 and m.shape[1] == family.d_model for m in by_name.values())
    last = next_readers(family, Site(3))
    assert [r.name for r in last] == ["unembedding"]
    torch.testing.assert_close(last[0].matrix, by_name["unembedding"])
    torch.testing.assert_close(unembedding_rows(family, [7, 3]), by_name["unembedding"][[7, 3]])


def test_the_mlps_last_layer_makes_what_the_mlp_returns(family: TargetModel) -> None:
    linear = mlp_output(family, 2)
    mlp = family.family.mlp(family.family.blocks(family.model)[2])
    found = read_by(family, [linear, mlp], []).chunk(2)
    assert found[0].abs().max() > 0
    assert torch.equal(*found)
    assert weight_of(linear).shape[0] == family.d_model


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2", "olmo2"])
def test_a_move_in_the_null_space_changes_no_reader_at_an_actual_forward(name: str) -> None:
    """Readers that miss three directions: a patch of the null part moves them by the norm's factor only."""
    target, site = loud(name), Site(1)
    with torch.no_grad():
        kept = torch.linalg.qr(torch.randn(32, 29, generator=torch.Generator().manual_seed(8)))[0]
        for module in reading_modules(target, 2, "attention"):
            weight = module.weight
            assert isinstance(weight, Tensor)
            narrow = weight_of(module) @ kept @ kept.mT
            weight.copy_(narrow if isinstance(module, nn.Linear) else narrow.mT)
    reader = {r.name: r.matrix for r in next_readers(target, site)}["attention"]
    assert float(split(torch.eye(32), reader).null.diagonal().sum()) == pytest.approx(3)
    basis = torch.linalg.qr(torch.randn(32, 4, generator=torch.Generator().manual_seed(9)))[0]
    made = patches(basis, reader)
    place, modules = target.place(site), reading_modules(target, 2, "attention")
    natural = read_by(target, [place.module], []).float()
    source = torch.randn(32, generator=torch.Generator().manual_seed(10))
    constant = read_by(target, modules, [(place, torch.zeros(32))])
    before = read_by(target, modules, []) - constant
    sizes = [m.shape[0] for m in (weight_of(module) for module in modules)]
    for patch, still in (("null", True), ("null_unnormalised", True), ("cross", False), ("row", False)):
        moved = made[patch].interchange(natural, source)
        assert float((moved - natural).norm()) > 0.01
        after = read_by(target, modules, [(place, moved)]) - constant
        for old, new in zip(before.split(sizes), after.split(sizes), strict=True):
            off = float((new - (new @ old) / (old @ old) * old).norm() / old.norm())
            assert (off < 1e-5) if still else (off > 1e-3)


def test_a_vocabulary_of_very_many_tokens_is_read_by_its_triangular_factor(
    monkeypatch: pytest.MonkeyPatch, small_target: TargetModel
) -> None:
    whole = next_readers(small_target, Site(1))[-1].matrix
    monkeypatch.setattr("das.diagnostics.readers.MOST_ROWS", 50)
    short = next_readers(small_target, Site(1))[-1].matrix
    assert MOST_ROWS > 50
    assert short.shape == (32, 32)
    torch.testing.assert_close(short.mT @ short, whole.mT @ whole)


def test_bfloat16_models_have_the_readers_of_their_weights(target_of: Families) -> None:
    for name in ("gemma2", "gpt2", "olmo2", "granite"):
        wide = target_of(name)
        narrow = copy.deepcopy(wide)
        narrow.model.to(torch.bfloat16)
        for site in (Site(1), Site(1, "attention_output")):
            pairs = zip(next_readers(wide, site), next_readers(narrow, site), strict=True)
            for first, second in pairs:
                assert first.name == second.name
                torch.testing.assert_close(first.matrix, second.matrix, atol=0.05, rtol=0.02)


def test_a_stream_that_is_normed_on_its_way_has_no_readout() -> None:
    config = FAMILIES.get("opt").miniature()
    config.do_layer_norm_before = False
    target = random_target(config, name="post-norm")
    with pytest.raises(NotApplicableError, match="only added to"):
        next_readers(target, Site(1))
    assert [r.name for r in next_readers(target, Site(3))] == ["unembedding"]


def test_a_mixture_of_experts_is_not_applicable(target_of: Families) -> None:
    target = copy.deepcopy(target_of("llama"))
    block = target.family.blocks(target.model)[2]
    target.family.mlp(block).experts = nn.ModuleList([nn.Linear(2, 2)])
    with pytest.raises(NotApplicableError, match="mixture of experts"):
        next_readers(target, Site(1))


def test_an_absent_layer_is_named(small_target: TargetModel) -> None:
    with pytest.raises(SuiteError, match="layer from 0 to 3"):
        next_readers(small_target, Site(9))
