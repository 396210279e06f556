"""Every engine on every model family, stream and position: one battery, so that a new family is tested the
moment it exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

import pytest
import torch
from pyvene.models.intervenable_modelcard import type_to_module_mapping
from torch import Tensor, nn
from weaving import woven

from das.engine import ENGINES, DirectEngine, Engine, ForcedPair, ResumeEngine, make_engine
from das.engine.base.batch import PaddedRows, PromptEncoder
from das.engine.engines.reference import ReferenceEngine
from das.featurizers import Activation, Dictionary, Featurizer, MaskedBasis, Subspace, retract
from das.models import FAMILIES, TargetModel
from das.models.miniature import random_target
from das.sites import POSITIONS, STREAMS, Position, Site, Stream
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

FAMILY_NAMES = FAMILIES.names()
KNOWN_TO_PYVENE = ("gemma2", "gpt2", "gpt_neox", "llama", "mistral", "qwen2")
KINDS = ("subspace", "neurons", "rotated", "dictionary")
# float32 sums in another order; the engines share no batch shape.
RELATIVE = 1e-4


def at(stream: Stream, layer: int = 1, position: Position = "entity_last") -> Site:
    """A site of a stream; another head in every layer."""
    return Site(layer, stream, position, head=3 - layer if stream == "head_output" else None)


EVERYWHERE = [
    at(stream, layer, position)
    for stream in STREAMS
    for layer in ((0, 2, 3) if stream == "block_output" else (0, 3))
    for position in POSITIONS
]
ONE_OF_EACH = [at(stream, 0, POSITIONS[n % 2]) for n, stream in enumerate(STREAMS)]


@pytest.fixture(params=FAMILY_NAMES)
def target(request: pytest.FixtureRequest, target_of: Callable[[str], TargetModel]) -> TargetModel:
    return target_of(request.param)


class TwoPassEngine(ReferenceEngine):
    """The oracle for the streams that pyvene can't reach: two full passes with a plain hook in each.

    A vector is found by its place among all tokens of all rows, whatever the axes are.
    """

    def _swapped_logits(
        self, pairs: Sequence[ForcedPair], base: PaddedRows, site: Site, featurizer: Featurizer
    ) -> Tensor:
        if site.stream not in self.target.family.beyond_reference:
            return super()._swapped_logits(pairs, base, site, featurizer)
        incoming = self._collect_batch([pair.source for pair in pairs], site)
        places = self._places([pair.base for pair in pairs], base, site)

        def swap(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            flat = output.flatten(0, -2).clone()
            flat[places] = featurizer.interchange(flat[places], incoming)
            return flat.view_as(output)

        handle = self.target.place(site).module.register_forward_hook(swap)
        try:
            logits: Tensor = self._forward(base)
        finally:
            handle.remove()
        return logits

    def _collect_batch(self, prompts: Sequence[Prompt], site: Site) -> Tensor:
        if site.stream not in self.target.family.beyond_reference:
            return super()._collect_batch(prompts, site)
        padded = self._pad(self._ids(prompts))
        places, found = self._places(prompts, padded, site), []
        handle = self.target.place(site).module.register_forward_hook(
            lambda module, inputs, output: found.append(output.flatten(0, -2)[places])
        )
        try:
            self._forward(padded)
        finally:
            handle.remove()
        return found[0].detach().float()

    def _forward(self, padded: PaddedRows) -> Tensor:
        logits: Tensor = self.target.model(
            input_ids=padded.ids, attention_mask=padded.attention_mask, position_ids=padded.position_ids
        ).logits
        return logits

    def _places(self, prompts: Sequence[Prompt], padded: PaddedRows, site: Site) -> list[int]:
        encoder = PromptEncoder(self.target.tokenizer)
        tokens = [encoder.position(prompt, site.position) for prompt in prompts]
        width = padded.ids.shape[1]
        return [
            row * width + token + shift
            for row, (token, shift) in enumerate(zip(tokens, padded.shifts.tolist(), strict=True))
        ]


def oracle(target: TargetModel, *settings: Any, **more: Any) -> ReferenceEngine:
    made = TwoPassEngine if target.family.beyond_reference else ReferenceEngine
    return made(target, *settings, **more)


def engine_called(name: str, target: TargetModel) -> Engine:
    return oracle(target) if name == "reference" else make_engine(name, target)


def engine_of_single_rows(name: str, target: TargetModel) -> Engine:
    made: dict[str, Callable[..., Engine]] = {
        "direct": DirectEngine,
        "reference": oracle,
        "resume": ResumeEngine,
    }
    return made[name](target, 1)


@pytest.fixture(scope="session")
def pairs(make_prompt: Callable[..., Any]) -> list[ForcedPair]:
    """Different lengths, entity positions and label lengths; one base names its entity twice, one source is
    its base."""
    near = make_prompt("%s is a city in", "Rome")
    far = make_prompt("The well known city of %s", "Ulm")
    twice = make_prompt("Oslo, yes Oslo: %s has the currency", "Oslo")
    other = make_prompt("I have been to %s and to Bonn.", "Kyoto")
    end = "<eos>"
    ended = make_prompt(f"first{end}then %s was", "Lima")
    return [
        ForcedPair(near, far, (5, 6, 7)),
        ForcedPair(far, near, (9,)),
        ForcedPair(twice, other, (30, 2)),
        ForcedPair(other, twice, (2, 2, 2)),
        ForcedPair(far, far, (11, 12)),
        ForcedPair(ended, near, (13, 14, 15)),
    ]


@dataclass(frozen=True)
class Free:
    """A featurizer under training: its parameters and what they make."""

    parameters: list[Tensor]
    make: Callable[[list[Tensor]], Featurizer]

    def fresh(self) -> tuple[list[Tensor], Featurizer]:
        leaves = [p.detach().clone().requires_grad_() for p in self.parameters]
        return leaves, self.make(leaves)


def free_featurizers(d: int) -> dict[str, Free]:
    stream = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream)

    rotation = retract(normal(d, d))
    return {
        "subspace": Free([normal(d, 3)], lambda p: Subspace(retract(p[0]))),
        "neurons": Free([normal(d)], lambda p: MaskedBasis(p[0].sigmoid())),
        "rotated": Free([normal(d)], lambda p: MaskedBasis(p[0].sigmoid(), rotation)),
        "dictionary": Free(
            [normal(d, 40), normal(40), normal(40, d)],
            lambda p: Dictionary(
                encoder=p[0],
                encoder_bias=p[1],
                decoder=p[2],
                decoder_bias=torch.zeros(d),
                mask=(torch.arange(40) % 2).float(),
                activation=Activation("relu"),
            ),
        ),
    }


def close(actual: Tensor, expected: Tensor) -> None:
    """Compare relative to the largest number: single entries near zero have no relative accuracy of their
    own."""
    assert actual.shape == expected.shape
    scale = expected.abs().max().item()
    assert (actual - expected).abs().max().item() <= RELATIVE * scale


def gradients(engine: Engine, pairs: list[ForcedPair], site: Site, free: Free) -> tuple[Tensor, list[Tensor]]:
    leaves, featurizer = free.fresh()
    logits = engine.interchange_logits(pairs, site, featurizer)
    targets = torch.tensor([(*pair.label_ids, 0, 0)[:3] for pair in pairs])
    logits.log_softmax(-1).gather(-1, targets[:, :, None]).sum().backward()
    return logits.detach(), [leaf.grad for leaf in leaves if leaf.grad is not None]


def count_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    "site",
    [pytest.param(s, marks=() if s in ONE_OF_EACH else pytest.mark.long) for s in EVERYWHERE],
    ids=str,
)
def test_engines_agree_on_logits(target: TargetModel, pairs: list[ForcedPair], site: Site) -> None:
    direct, reference = DirectEngine(target), oracle(target)
    free = free_featurizers(target.width(site))
    for kind in KINDS if site.stream == "block_output" else ("rotated",):
        _, featurizer = free[kind].fresh()
        with torch.no_grad():
            close(
                direct.interchange_logits(pairs, site, featurizer),
                reference.interchange_logits(pairs, site, featurizer),
            )


@woven("target, kind, stream", FAMILY_NAMES, KINDS, STREAMS, indirect=["target"])
def test_engines_agree_on_gradients(
    target: TargetModel, pairs: list[ForcedPair], kind: str, stream: Stream
) -> None:
    site = at(stream)
    free = free_featurizers(target.width(site))[kind]
    logits, found = gradients(DirectEngine(target), pairs, site, free)
    expected_logits, expected = gradients(oracle(target), pairs, site, free)
    close(logits, expected_logits)
    assert len(found) == len(expected) == len(free.parameters)
    for gradient, wanted in zip(found, expected, strict=True):
        assert wanted.abs().max() > 0
        close(gradient, wanted)
    assert all(p.grad is None and not p.requires_grad for p in target.model.parameters())


@pytest.mark.parametrize("position", POSITIONS)
def test_engines_agree_on_vectors_and_completions(
    target: TargetModel, pairs: list[ForcedPair], position: Any
) -> None:
    prompts = [pair.base for pair in pairs]
    sites = [at(stream, layer, position) for stream in STREAMS for layer in (0, 3)]
    direct, reference = DirectEngine(target), oracle(target)
    found, expected = direct.collect(prompts, sites), reference.collect(prompts, sites)
    for site in sites:
        assert found[site].dtype == torch.float32
        assert found[site].shape == (len(prompts), target.width(site))
        close(found[site], expected[site])
    assert direct.complete(prompts, 6) == reference.complete(prompts, 6)


def subspace_at(target: TargetModel, site: Site, size: int = 4) -> Subspace:
    return Subspace(torch.eye(target.width(site))[:, :size])


@woven("target, side, extra, stream", FAMILY_NAMES, ("left", "right"), (3, 0), STREAMS, indirect=["target"])
def test_padding_changes_nothing(
    target: TargetModel, pairs: list[ForcedPair], side: Any, extra: int, stream: Stream
) -> None:
    site = at(stream)
    subspace = subspace_at(target, site)
    plain = DirectEngine(target).interchange_logits(pairs, site, subspace)
    for engine in (
        DirectEngine(target, padding_side=side, extra_padding=extra),
        oracle(target, padding_side=side, extra_padding=extra),
    ):
        close(engine.interchange_logits(pairs, site, subspace), plain)
        close(
            engine.collect([pair.base for pair in pairs], [site])[site],
            DirectEngine(target).collect([pair.base for pair in pairs], [site])[site],
        )


@woven("target, name, stream", FAMILY_NAMES, ENGINES, STREAMS, turn=0, indirect=["target"])
def test_batch_size_and_order_change_nothing(
    target: TargetModel, pairs: list[ForcedPair], name: str, stream: Stream
) -> None:
    site = at(stream)
    subspace = subspace_at(target, site)
    single = engine_of_single_rows(name, target)
    whole = engine_called(name, target).interchange_logits(pairs, site, subspace)
    close(single.interchange_logits(pairs, site, subspace), whole)
    order = [3, 0, 5, 2, 4, 1]
    shuffled = engine_called(name, target).interchange_logits([pairs[i] for i in order], site, subspace)
    close(shuffled, whole[order])


@woven(
    "target, name, position, stream", FAMILY_NAMES, ENGINES, POSITIONS, STREAMS, turn=5, indirect=["target"]
)
def test_a_prompt_as_its_own_source_changes_nothing(
    target: TargetModel, pairs: list[ForcedPair], name: str, position: Any, stream: Stream
) -> None:
    engine, site = engine_called(name, target), at(stream, 2, position)
    own = [replace(pair, source=pair.base) for pair in pairs]
    untouched = engine.interchange_logits(own, site, None)
    for free in free_featurizers(target.width(site)).values():
        close(engine.interchange_logits(own, site, free.fresh()[1]).detach(), untouched)


@woven("target, name, stream", FAMILY_NAMES, ENGINES, STREAMS, turn=3, indirect=["target"])
def test_an_empty_choice_changes_no_bit(
    target: TargetModel, pairs: list[ForcedPair], name: str, stream: Stream
) -> None:
    engine, site = engine_called(name, target), at(stream)
    d = target.width(site)
    nothing = engine.interchange_logits(pairs, site, None)
    for empty in (
        MaskedBasis(torch.zeros(d)),
        MaskedBasis(torch.zeros(d), torch.eye(d)),
        Subspace(torch.zeros(d, 0)),
    ):
        assert torch.equal(engine.interchange_logits(pairs, site, empty), nothing)


@woven("target, name, stream", FAMILY_NAMES, ENGINES, STREAMS, turn=6, indirect=["target"])
def test_full_rank_is_the_plain_swap(
    target: TargetModel, pairs: list[ForcedPair], name: str, stream: Stream
) -> None:
    engine, site = engine_called(name, target), at(stream)
    d = target.width(site)
    rotation = retract(torch.randn(d, d, generator=torch.Generator().manual_seed(0)))
    swapped = engine.interchange_logits(pairs, site, MaskedBasis(torch.ones(d)))
    assert (swapped - engine.interchange_logits(pairs, site, None)).abs().max() > 1e-2
    close(engine.interchange_logits(pairs, site, Subspace(rotation)), swapped)
    close(engine.interchange_logits(pairs, site, MaskedBasis(torch.ones(d), rotation)), swapped)


@pytest.mark.parametrize("name", ENGINES)
def test_a_full_swap_before_the_last_prompt_token_is_read_by_it(
    target: TargetModel, pairs: list[ForcedPair], name: str
) -> None:
    """Swapping the last prompt token after the last block makes the first answer the source's own."""
    engine, site = engine_called(name, target), Site(3, position="prompt_last")
    full = MaskedBasis(torch.ones(target.d_model))
    swapped = engine.interchange_logits(pairs, site, full)[:, 0]
    own = engine.interchange_logits([ForcedPair(p.source, p.source, (1,)) for p in pairs], site, None)[:, 0]
    close(swapped, own)


@pytest.mark.parametrize("name", ENGINES)
def test_rows_end_with_zeros_after_their_label(
    target: TargetModel, pairs: list[ForcedPair], name: str
) -> None:
    engine = engine_called(name, target)
    logits = engine.interchange_logits(pairs, Site(1), None)
    assert logits.shape == (len(pairs), 3, target.model.config.vocab_size)
    assert logits.dtype == torch.float32
    for row, pair in zip(logits, pairs, strict=True):
        length = len(pair.label_ids)
        assert torch.count_nonzero(row[length:]) == 0
        assert all(torch.count_nonzero(place) > 0 for place in row[:length])


class BrokenError(Exception):
    """Raised on purpose inside a swap."""


@woven("target, name, stream", FAMILY_NAMES, ENGINES, STREAMS, turn=9, indirect=["target"])
def test_hooks_are_gone_after_an_exception(
    target: TargetModel, pairs: list[ForcedPair], name: str, stream: Stream
) -> None:
    site = at(stream)

    class Broken(Featurizer):
        kind = "broken"
        width = target.width(site)
        size = 1

        def encode(self, vectors: Tensor) -> Tensor:
            raise BrokenError

        def decode(self, features: Tensor) -> Tensor:
            raise BrokenError

        def mask(self) -> Tensor:
            raise BrokenError

    engine = engine_called(name, target)
    before = count_hooks(target.model)
    untouched = engine.interchange_logits(pairs, site, None)
    with pytest.raises(BrokenError):
        engine.interchange_logits(pairs, site, Broken())
    assert count_hooks(target.model) == before
    assert torch.equal(engine.interchange_logits(pairs, site, None), untouched)


@pytest.mark.parametrize("name", ENGINES)
def test_the_users_own_hooks_survive(target: TargetModel, pairs: list[ForcedPair], name: str) -> None:
    """pyvene takes foreign hooks away, among them those by which transformers returns hidden states."""
    ids = torch.tensor([[1, 5, 6]])
    model, calls = target.model, []
    block = target.family.blocks(model)[1]
    handles = [
        block.register_forward_hook(lambda m, i, o: calls.append("after")),
        block.register_forward_pre_hook(lambda m, i, k: calls.append("before"), with_kwargs=True),
    ]
    try:
        states = model(ids, output_hidden_states=True).hidden_states
        engine = engine_called(name, target)
        engine.interchange_logits(pairs, Site(1), Subspace(torch.eye(target.d_model)[:, :2]))
        engine.collect([pairs[0].base], [at(stream, 2) for stream in STREAMS])
        engine.complete([pairs[0].base], 2)
        calls.clear()
        after = model(ids, output_hidden_states=True).hidden_states
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["before", "after"]
    assert len(after) == len(states) == target.n_layers + 1
    for left, right in zip(after, states, strict=True):
        assert torch.equal(left, right)
    model(ids)
    assert calls == ["before", "after"]


@contextmanager
def blocks_that_return_tuples(target: TargetModel) -> Iterator[None]:
    """Let every block return its stream in a tuple, as older transformers do; whoever comes next unpacks
    it. GPT-J's do so anyway, and its model expects it."""

    def unpack(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (inputs[0][0], *inputs[1:]) if inputs and isinstance(inputs[0], tuple) else None

    def packed(inner: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
            output = inner(*args, **kwargs)
            return output if isinstance(output, tuple) else (output, None)

        return forward

    blocks = list(target.family.blocks(target.model))
    handles = [module.register_forward_pre_hook(unpack) for module in target.model.modules()]
    for block in blocks:
        block.forward = packed(block.forward)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for block in blocks:
            del block.forward


@woven("target, name, stream", FAMILY_NAMES, ("direct", "resume"), STREAMS, turn=0, indirect=["target"])
def test_blocks_may_return_a_tensor_or_a_tuple(
    target: TargetModel, pairs: list[ForcedPair], name: str, stream: Stream
) -> None:
    site = at(stream)
    subspace = subspace_at(target, site)
    prompts = [pair.base for pair in pairs]
    bare = make_engine(name, target)
    logits, vectors = bare.interchange_logits(pairs, site, subspace), bare.collect(prompts, [site])
    with blocks_that_return_tuples(target):
        packed = make_engine(name, target)
        assert torch.equal(packed.interchange_logits(pairs, site, subspace), logits)
        assert torch.equal(packed.collect(prompts, [site])[site], vectors[site])


def heads_of(target: TargetModel, layer: int) -> list[Site]:
    return [Site(layer, "head_output", head=head) for head in range(target.n_heads)]


def norms_after(block: nn.Module) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What stands between attention or MLP and the residual stream: norms in Gemma 2, Gemma 3 and OLMo 2, a
    factor in Granite, else nothing."""
    if hasattr(block, "post_feedforward_layernorm"):
        return block.get_submodule("post_attention_layernorm"), block.post_feedforward_layernorm
    factor = getattr(block, "residual_multiplier", 1.0)
    return partial(torch.mul, other=factor), partial(torch.mul, other=factor)


@pytest.mark.parametrize("layer", [1, 3])
def test_a_block_adds_its_attentions_and_its_mlps_outputs(
    target: TargetModel, pairs: list[ForcedPair], layer: int
) -> None:
    """residual(L) = residual(L - 1) + attention(L) + mlp(L), with what a family puts before each sum."""
    sites = [Site(layer - 1), Site(layer, "attention_output"), Site(layer, "mlp_output"), Site(layer)]
    found = DirectEngine(target).collect([pair.base for pair in pairs], sites)
    before, attention, mlp, after = (found[site] for site in sites)
    after_attention, after_mlp = norms_after(target.family.blocks(target.model)[layer])
    with torch.no_grad():
        close(before + after_attention(attention) + after_mlp(mlp), after)


def test_the_heads_side_by_side_make_the_attentions_output(
    target: TargetModel, pairs: list[ForcedPair]
) -> None:
    sites, whole = heads_of(target, 2), Site(2, "attention_output")
    found = DirectEngine(target).collect([pair.base for pair in pairs], [*sites, whole])
    projection = target.family.projection(target.family.blocks(target.model)[2])
    with torch.no_grad():
        close(projection(torch.cat([found[site] for site in sites], dim=1)), found[whole])


@pytest.mark.parametrize("name", ENGINES)
def test_swapping_the_only_head_is_swapping_the_attentions_output(
    target: TargetModel, pairs: list[ForcedPair], name: str
) -> None:
    config = target.family.miniature()
    config.num_attention_heads = 1
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = 1
    single = random_target(config, name=f"one-head-{target.family.name}")
    engine, head, whole = engine_called(name, single), heads_of(single, 1), Site(1, "attention_output")
    assert len(head) == 1
    swaps = [
        engine.interchange_logits(pairs, site, MaskedBasis(torch.ones(single.width(site))))
        for site in (*head, whole)
    ]
    assert (swaps[0] - engine.interchange_logits(pairs, whole, None)).abs().max() > 1e-2
    close(swaps[0], swaps[1])


@woven("target, name, stream", FAMILY_NAMES, ("direct", "resume"), STREAMS, turn=3, indirect=["target"])
def test_a_swap_at_the_entity_reaches_the_end_through_the_layers_after_it(
    target: TargetModel, pairs: list[ForcedPair], name: str, stream: Stream
) -> None:
    """In the last block nothing reads the entity's place any more, whatever the stream."""
    engine, last = make_engine(name, target), at(stream, 3)
    full = MaskedBasis(torch.ones(target.width(last)))
    ahead = [pair for pair in pairs if not pair.base.text.endswith(pair.base.entity)]
    assert len(ahead) > 2
    nothing = engine.interchange_logits(ahead, last, None)
    assert torch.equal(engine.interchange_logits(ahead, last, full), nothing)
    assert not torch.equal(engine.interchange_logits(ahead, at(stream, 2), full), nothing)


def test_pyvene_knows_these_families_by_its_own_names(target_of: Callable[[str], TargetModel]) -> None:
    known = [name for name in FAMILY_NAMES if type(target_of(name).model) in type_to_module_mapping]
    assert known == list(KNOWN_TO_PYVENE)


def test_what_pyvene_cannot_reach_is_refused_with_the_reason(
    target_of: Callable[[str], TargetModel], pairs: list[ForcedPair]
) -> None:
    """The families are listed here: a new one must say why it needs no pyvene."""
    beyond = {name: set(family.beyond_reference) for name in FAMILY_NAMES if (family := FAMILIES.get(name))}
    assert {name: streams for name, streams in beyond.items() if streams} == {"opt": {"mlp_output"}}
    engine, site = ReferenceEngine(target_of("opt")), at("mlp_output")
    for ask in (
        lambda: engine.interchange_logits(pairs, site, subspace_at(engine.target, site)),
        lambda: engine.collect([pairs[0].base], [site]),
    ):
        with pytest.raises(SuiteError, match=r"opt; got mlp_output: .*in one axis.*--engine direct"):
            ask()


@pytest.mark.parametrize("target", KNOWN_TO_PYVENE, indirect=True)
@pytest.mark.parametrize("stream", STREAMS[1:])
def test_without_its_own_names_pyvene_finds_our_modules(
    target: TargetModel, pairs: list[ForcedPair], stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family unknown to pyvene goes by paths, and a head by its slice of the projection's input."""
    site, engine = at(stream), ReferenceEngine(target)
    free = free_featurizers(target.width(site))["subspace"]
    logits, (gradient,) = gradients(engine, pairs, site, free)
    vectors = engine.collect([pair.base for pair in pairs], [site])[site]
    monkeypatch.setattr("das.engine.engines.reference.type_to_module_mapping", {})
    found_logits, (found_gradient,) = gradients(engine, pairs, site, free)
    close(found_logits, logits)
    close(found_gradient, gradient)
    close(engine.collect([pair.base for pair in pairs], [site])[site], vectors)
