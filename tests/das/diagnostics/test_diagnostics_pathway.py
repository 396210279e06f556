"""Hidden pathways: ranges and margins by hand, and a model in which silent units are planted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig

from das.diagnostics.modules import mlp_output
from das.diagnostics.natural import NaturalStates
from das.diagnostics.patches import PATCHES, patches
from das.diagnostics.pathway import (
    NaturalRanges,
    PathwayContribution,
    clamped,
    hidden_pathway_contribution,
)
from das.diagnostics.readers import next_readers
from das.engine import DirectEngine, ForcedPair
from das.engine.base.hooks import captured, clipped
from das.engine.base.protocol import PromptPair
from das.featurizers import Featurizer, Subspace, retract
from das.methods.common.base import NotApplicableError
from das.models import FAMILIES
from das.models.base import Place, TargetModel
from das.models.miniature import random_target
from das.positions import EditedTokens
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

PromptMaker = Callable[..., Prompt]
Families = Callable[[str], TargetModel]
SITE = Site(1)
GROUPS = ("aeiou", "bcdfg")
"""Letters of which a model says `+`, and those of which it says `-`."""
TEMPLATES = ("of %s", "to %s", "so: %s", "well, %s", "I see %s", "(%s", "now %s", "why %s")


def test_clipping_begins_at_each_rows_start() -> None:
    module = torch.nn.Identity()
    rows = torch.tensor([[[5.0, -5.0]] * 3, [[0.5, 9.0]] * 3])
    bounds = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 2.0])
    for side in ("input", "output"):
        with clipped(Place(module, side), torch.tensor([1, 3]), *bounds):
            out = module(rows)
        assert out[0].tolist() == [[5.0, -5.0], [1.0, -2.0], [1.0, -2.0]]
        assert torch.equal(out[1], rows[1])
    assert torch.equal(module(rows), rows)


@pytest.mark.parametrize("family", FAMILIES.names())
@pytest.mark.parametrize("text", ["block_output.1@entity_last", "attention_output.2@prompt_last"])
def test_ranges_are_quantiles_of_what_hidden_units_do(
    target_of: Families, make_prompt: PromptMaker, family: str, text: str
) -> None:
    target, site = target_of(family), Site.parse(text)
    prompts = [make_prompt("%s is", e) for e in ("Rome", "Ulm", "Oslo", "Bari")]
    labels = [(7, 8), (9,), (11, 12, 13), (7,)]
    ranges = NaturalRanges.record(target, site, prompts, labels, tail=0.1, batch_tokens=16)
    assert sorted(ranges.lowest) == sorted(ranges.highest) == [2, 3]
    encode = DirectEngine(target).encoder
    for layer in (2, 3):
        seen = []
        for prompt, label in zip(prompts, labels, strict=True):
            ids = (*encode.encode([prompt.text])[0].ids, *label[:-1])
            places = {0: Place(mlp_output(target, layer), "input")}
            with captured(places, {0: torch.arange(len(ids))[None]}) as found, torch.no_grad():
                target.model(input_ids=torch.tensor([ids]))
            seen.append(found[0][0, encode.position(prompt, site.position) :])
        values = torch.cat(seen)
        assert len(values) == ranges.tokens
        expected = torch.quantile(values, torch.tensor([0.1, 0.9]), dim=0)
        torch.testing.assert_close(ranges.lowest[layer], expected[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ranges.highest[layer], expected[1], atol=1e-5, rtol=1e-4)


def test_margins_by_hand() -> None:
    free = torch.tensor([4.0, 2.0, -1.0, 3.0])
    kept = torch.tensor([-2.0, 2.0, -9.0, 1.0])
    base = torch.tensor([-4.0, -2.0, -3.0, 5.0])
    found = hidden_pathway_contribution(free, kept, base)
    assert found.counted == 2  # the third is not swapped, the fourth gains nothing
    assert found.lost_share.tolist() == pytest.approx([6 / 8, 0.0])
    assert found.contribution == pytest.approx(6 / 12)
    assert found.answers_lost == 0.5
    plain = hidden_pathway_contribution(free, kept)
    assert plain.lost_share.tolist() == pytest.approx([1.5, 0.0, 2 / 3])
    none = hidden_pathway_contribution(-free.abs(), kept)
    assert (none.contribution, none.answers_lost, none.counted) == (None, None, 0)


@dataclass(frozen=True)
class Planted:
    """A model with silent units, directions in its stream, and pairs to try them on."""

    target: TargetModel
    idle: Tensor
    """Carries the group of the last letter and is read by nothing."""
    dormant: Tensor
    """Hardly varies, and is read by the silent units only."""
    used: Tensor
    """Carries the group of the last letter and is what the answer is read from."""
    prompts: list[Prompt]
    pairs: list[tuple[Prompt, Prompt, int]]
    """Base, source and the source's group."""


def token(target: TargetModel, character: str) -> int:
    found: int = target.tokenizer.convert_tokens_to_ids(character)
    return found


def planted_target() -> tuple[TargetModel, list[Tensor]]:
    """A small Llama whose answer is read from `used`; nothing reads or writes `idle` and `dormant` yet."""
    config = LlamaConfig(
        vocab_size=128,
        max_position_embeddings=64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=48,
        hidden_act="relu",
        mlp_bias=True,
        initializer_range=0.1,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    target = random_target(config, name="planted")
    generator = torch.Generator().manual_seed(4)
    idle, dormant, used = retract(torch.randn(32, 3, generator=generator)).unbind(dim=1)
    off = torch.eye(32) - torch.outer(idle, idle) - torch.outer(dormant, dormant)
    model = target.model
    for block in model.model.layers:
        attention, mlp = block.self_attn, block.mlp
        for reader in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            reader.weight.copy_(reader.weight @ off)
        still = off - torch.outer(used, used)
        for writer in (attention.o_proj, mlp.down_proj):
            writer.weight.copy_(still @ writer.weight)
    table = model.model.embed_tokens.weight
    table.copy_(table @ (off - torch.outer(used, used)))
    table.add_(0.01 * torch.outer(torch.randn(128, generator=generator), dormant))
    for group, sign in zip(GROUPS, (1.0, -1.0), strict=True):
        for letter in group:
            table[token(target, letter)] += sign * (idle + 0.5 * used)
    head = model.lm_head.weight
    head.copy_(0.1 * head @ (off - torch.outer(used, used)))
    head[token(target, "+")] += 4 * used
    head[token(target, "-")] -= 4 * used
    return target, [idle, dormant, used]


@pytest.fixture(scope="module")
def planted(make_prompt: PromptMaker) -> Planted:
    with torch.no_grad():
        target, (idle, dormant, used) = planted_target()
        prompts = [make_prompt(t, letter) for t in TEMPLATES for group in GROUPS for letter in group]
        plant_silent_units(target, dormant, used, prompts)
    halves = [[p for p in prompts if p.entity in group] for group in GROUPS]
    pairs = [(b, s, 0) for b, s in zip(halves[1], reversed(halves[0]), strict=True)]
    pairs += [(b, s, 1) for b, s in zip(halves[0], reversed(halves[1]), strict=True)]
    return Planted(target, idle, dormant, used, prompts, pairs)


def plant_silent_units(
    target: TargetModel, dormant: Tensor, used: Tensor, prompts: list[Prompt], *, slack: float = 0.05
) -> None:
    """Let two units of block 2 read +dormant and -dormant above what any prompt reaches, and write the
    answer."""
    mlp = target.model.model.layers[2].mlp
    read = {0: Place(mlp.gate_proj, "input")}
    natural = torch.zeros(())
    for prompt in prompts:
        ids = torch.tensor([DirectEngine(target).encoder.encode([prompt.text])[0].ids])
        with captured(read, {0: torch.arange(ids.shape[1])[None]}) as found:
            target.model(input_ids=ids)
        natural = torch.maximum(natural, (found[0] @ dormant).abs().max())
    for unit, sign in ((0, 1.0), (1, -1.0)):
        mlp.gate_proj.weight[unit] = sign * dormant
        mlp.gate_proj.bias[unit] = -(natural + slack)
        mlp.up_proj.weight[unit] = 0.0
        mlp.up_proj.bias[unit] = 1.0
        mlp.down_proj.weight[:, unit] = sign * 4.0 * used


def margins(engine: DirectEngine, planted: Planted, featurizer: Featurizer | None) -> Tensor:
    """The swapped answer's logit less the other's, per pair."""
    answers = [token(planted.target, c) for c in "+-"]
    pairs = [ForcedPair(base, source, (answers[group],)) for base, source, group in planted.pairs]
    logits = engine.interchange_logits(pairs, SITE, featurizer)[:, 0]
    groups = torch.tensor([group for _, _, group in planted.pairs])
    first = logits[:, answers[0]] - logits[:, answers[1]]
    return torch.where(groups == 0, first, -first)


def diagnosed(planted: Planted, *columns: Tensor) -> PathwayContribution:
    subspace = Subspace(retract(torch.stack(columns, dim=1)))
    ranges = NaturalRanges.record(planted.target, SITE, planted.prompts)
    free, kept = DirectEngine(planted.target), clamped(planted.target, ranges)
    return hidden_pathway_contribution(
        margins(free, planted, subspace), margins(kept, planted, subspace), margins(free, planted, None)
    )


def test_silent_units_change_nothing_by_themselves(planted: Planted) -> None:
    bare = copy.deepcopy(planted.target)
    with torch.no_grad():
        bare.model.model.layers[2].mlp.down_proj.weight[:, :2] = 0.0
    for target in (bare, planted.target):
        base = margins(DirectEngine(target), planted, None)
        assert bool((base < 0).all())
    both = [margins(DirectEngine(t), planted, None) for t in (bare, planted.target)]
    assert torch.equal(*both)


def test_a_hidden_pathway_is_flagged_and_a_clean_subspace_passes(planted: Planted) -> None:
    hidden = diagnosed(planted, planted.idle + planted.dormant)
    clean = diagnosed(planted, planted.used)
    assert hidden.counted == clean.counted == len(planted.pairs)  # both look equally good from outside
    assert hidden.contribution is not None
    assert clean.contribution is not None
    assert hidden.contribution > 0.9
    assert hidden.answers_lost == 1.0
    assert abs(clean.contribution) < 0.05
    assert clean.answers_lost == 0.0


def test_hidden_pathways_are_told_from_clean_subspaces(planted: Planted) -> None:
    extra = retract(torch.randn(32, 6, generator=torch.Generator().manual_seed(2)))
    off = extra - planted.dormant[:, None] * (planted.dormant @ extra)
    off = off - planted.idle[:, None] * (planted.idle @ off)
    tilts = (0.6, 0.8, 1.0, 1.3)
    flagged = [diagnosed(planted, planted.idle + tilt * planted.dormant) for tilt in tilts]
    flagged += [diagnosed(planted, planted.idle + planted.dormant, column) for column in off[:, :2].mT]
    passed = [diagnosed(planted, planted.used + 0.1 * column) for column in off[:, :3].mT]
    passed += [diagnosed(planted, planted.used, column) for column in off[:, 3:].mT]
    scores = [[d.contribution for d in group if d.contribution is not None] for group in (flagged, passed)]
    assert [len(group) for group in scores] == [6, 6]
    above = [bad > good for bad in scores[0] for good in scores[1]]
    auroc = sum(above) / len(above)
    assert auroc == 1.0
    assert min(scores[0]) > 0.5 > 0.2 > max(scores[1])


def test_distance_to_natural_states_does_not_tell_them_apart(planted: Planted) -> None:
    engine = DirectEngine(planted.target)
    natural = engine.collect(planted.prompts, [SITE])[SITE]
    states = NaturalStates.fit(natural[::2], natural[1::2])
    base, source = (engine.collect([pair[i] for pair in planted.pairs], [SITE])[SITE] for i in (0, 1))
    for columns in (planted.idle + planted.dormant, planted.used):
        patched = Subspace(columns[:, None] / columns.norm()).interchange(base, source)
        assert float(states.mahalanobis_percentiles(patched).mean()) > 95
        assert float(states.neighbour_percentiles(patched).mean()) > 80


def test_the_cross_patch_does_alone_what_the_hidden_pathway_does(planted: Planted) -> None:
    reader = {r.name: r.matrix for r in next_readers(planted.target, SITE)}["next_block"]
    engine = DirectEngine(planted.target)

    def swaps(basis: Tensor) -> dict[str, bool]:
        made = patches(basis[:, None] / basis.norm(), reader)
        return {name: bool((margins(engine, planted, f) > 0).all()) for name, f in made.items()}

    hidden = swaps(planted.idle + planted.dormant)
    assert hidden == dict.fromkeys(PATCHES, False) | {"cross": True}
    clean = swaps(planted.used)
    assert clean == dict.fromkeys(PATCHES, False) | {"row": True, "row_unnormalised": True}


def test_clamping_costs_little_where_nothing_is_swapped(planted: Planted) -> None:
    ranges = NaturalRanges.record(planted.target, SITE, planted.prompts)
    engine = clamped(planted.target, ranges)
    nothing = margins(engine, planted, Subspace(torch.zeros(32, 0)))
    base = margins(engine, planted, None)
    assert torch.equal(base, margins(DirectEngine(planted.target), planted, None))
    assert float((nothing - base).abs().max()) < 0.02 * float(base.abs().min())


def test_wide_ranges_leave_an_interchange_as_it_is(planted: Planted) -> None:
    ranges = NaturalRanges.record(planted.target, SITE, planted.prompts)
    wide = NaturalRanges(
        ranges.site,
        {layer: torch.full_like(v, -1e9) for layer, v in ranges.lowest.items()},
        {layer: torch.full_like(v, 1e9) for layer, v in ranges.highest.items()},
        ranges.tokens,
    )
    subspace = Subspace(planted.used[:, None])
    free, kept = DirectEngine(planted.target), clamped(planted.target, wide, batch_tokens=40)
    torch.testing.assert_close(margins(free, planted, subspace), margins(kept, planted, subspace))
    pairs = [PromptPair(base, source) for base, source, _ in planted.pairs[:3]]
    assert kept.complete_swapped(pairs, SITE, subspace, 3) == free.complete_swapped(pairs, SITE, subspace, 3)


def test_completions_are_clamped_too(planted: Planted) -> None:
    ranges = NaturalRanges.record(planted.target, SITE, planted.prompts)
    subspace = Subspace(retract((planted.idle + planted.dormant)[:, None]))
    pairs = [PromptPair(base, source) for base, source, _ in planted.pairs]
    free = DirectEngine(planted.target).complete_swapped(pairs, SITE, subspace, 1)
    kept = clamped(planted.target, ranges).complete_swapped(pairs, SITE, subspace, 1)
    groups = [group for _, _, group in planted.pairs]
    assert [c.text for c in free] == ["+-"[group] for group in groups]
    assert [c.text for c in kept] == ["-+"[group] for group in groups]


def test_hooks_are_gone_afterwards(planted: Planted) -> None:
    ranges = NaturalRanges.record(planted.target, SITE, planted.prompts)
    margins(clamped(planted.target, ranges), planted, Subspace(planted.used[:, None]))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in planted.target.model.modules())


def test_mistakes_are_named(planted: Planted, make_prompt: PromptMaker) -> None:
    target, prompts = planted.target, planted.prompts[:2]
    with pytest.raises(NotApplicableError, match="blocks above the site"):
        NaturalRanges.record(target, Site(3), prompts)
    assert sorted(NaturalRanges.record(target, Site(3, "attention_output"), prompts).lowest) == [3]
    with pytest.raises(SuiteError, match="at least one prompt"):
        NaturalRanges.record(target, SITE, [])
    with pytest.raises(SuiteError, match="a label for each"):
        NaturalRanges.record(target, SITE, prompts, [(1,)])
    with pytest.raises(SuiteError, match="a tail of at least 0"):
        NaturalRanges.record(target, SITE, prompts, tail=0.5)
    engine = clamped(target, NaturalRanges.record(target, SITE, prompts))
    pair = ForcedPair(prompts[0], prompts[1], (5,))
    with pytest.raises(SuiteError, match=r"at block_output\.1@entity_last, for which"):
        engine.interchange_logits([pair], Site(2), Subspace(torch.eye(32)[:, :1]))
    with pytest.raises(SuiteError, match="at the site's position alone"):
        engine.complete_swapped(
            [pair], SITE, Subspace(torch.eye(32)[:, :1]), 1, tokens=EditedTokens.parse("f2")
        )
    with pytest.raises(SuiteError, match="margins of the same pairs"):
        hidden_pathway_contribution(torch.zeros(2), torch.zeros(3))
