"""The direct engine's own promises: sources run once, bounded memory, training after scoring, and errors that
say what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations, pairwise
from typing import Any

import pytest
import torch

from das.engine import ENGINES, DirectEngine, EngineAnswerer, ForcedPair, make_engine
from das.featurizers import MaskedBasis, Subspace, retract
from das.models import FAMILIES, TargetModel
from das.models.load import target_from
from das.models.miniature import character_tokenizer, miniature
from das.sites import POSITIONS, STREAMS, Site
from ravel.common.errors import SuiteError

PromptMaker = Callable[..., Any]
SITE = Site(1)
HEADS = [Site(1, "head_output", head=head) for head in range(4)]


@pytest.fixture
def pairs(make_prompt: PromptMaker) -> list[ForcedPair]:
    names = ["Rome", "Ulm", "Kyoto", "Oslo", "Bonn"]
    bases = [make_prompt("%s is a city in", name) for name in names]
    sources = [make_prompt("I like %s.", name) for name in names[:2]]
    return [ForcedPair(base, sources[i % 2], (5, 6)) for i, base in enumerate(bases)]


@contextmanager
def counted(target: TargetModel) -> Iterator[list[int]]:
    """Within, the rows of every forward pass are written down."""
    rows: list[int] = []
    block = target.family.blocks(target.model)[0]
    handle = block.register_forward_pre_hook(lambda m, inputs: rows.append(len(inputs[0])))
    try:
        yield rows
    finally:
        handle.remove()


def swap(target: TargetModel, k: int = 4) -> Subspace:
    return Subspace(torch.eye(target.d_model)[:, :k])


def test_each_source_is_run_once(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine = DirectEngine(small_target)
    with counted(small_target) as rows:
        engine.interchange_logits(pairs, SITE, swap(small_target))
        assert sum(rows) == len(pairs) + 2
        engine.interchange_logits(pairs, SITE, swap(small_target, 2))
        engine.collect([pair.source for pair in pairs], [SITE])
        assert sum(rows) == 2 * len(pairs) + 2
        engine.interchange_logits(pairs, Site(2), swap(small_target))
        assert sum(rows) == 3 * len(pairs) + 4


def test_one_pass_serves_all_sites_of_a_prompt(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    sites = [
        Site(layer, position=position) for layer in (0, 3) for position in ("entity_last", "prompt_last")
    ]
    prompts = [pair.base for pair in pairs]
    with counted(small_target) as rows:
        found = DirectEngine(small_target).collect(prompts, sites)
    assert sum(rows) == len(pairs)
    for site in sites:
        alone = DirectEngine(small_target).collect(prompts, [site])[site]
        torch.testing.assert_close(found[site], alone, rtol=0, atol=1e-5)


def test_one_pass_serves_every_stream_and_its_vectors_differ(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    sites = [*HEADS, *(Site(1, stream) for stream in STREAMS if stream != "head_output"), Site(0)]
    prompts = [pair.base for pair in pairs]
    engine = DirectEngine(small_target)
    with counted(small_target) as rows:
        found = engine.collect(prompts, sites)
        again = engine.collect(prompts, sites[::-1])
    assert sum(rows) == len(pairs)
    assert len(engine.sources.cache) == len(sites) * len(pairs)
    for site in sites:
        assert torch.equal(found[site], again[site])
        alone = DirectEngine(small_target).collect(prompts, [site])[site]
        torch.testing.assert_close(found[site], alone, rtol=0, atol=1e-5)
    for head, other in pairwise(HEADS):
        assert not torch.allclose(found[head], found[other])


@pytest.mark.parametrize(
    ("site", "runs"),
    [
        (Site(1, "head_output", head=0), {"attention": False, "mlp": False, "next": False}),
        (Site(1, "attention_output"), {"attention": True, "mlp": False, "next": False}),
        (Site(1, "mlp_output"), {"attention": True, "mlp": True, "next": False}),
        (Site(1), {"attention": True, "mlp": True, "next": False}),
        (Site(2), {"attention": True, "mlp": True, "next": True}),
    ],
    ids=str,
)
def test_a_pass_ends_after_the_last_site(
    small_target: TargetModel, pairs: list[ForcedPair], site: Site, runs: dict[str, bool]
) -> None:
    family, blocks = small_target.family, small_target.family.blocks(small_target.model)
    # Whether the module begins; the output projection is the last thing an attention does.
    modules = {
        "attention": family.projection(blocks[1]),
        "mlp": family.mlp(blocks[1]),
        "next": blocks[2],
    }
    begun = dict.fromkeys(modules, False)

    def note(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda module, inputs, output: begun.update({name: True})

    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    try:
        DirectEngine(small_target).collect([pairs[0].base], [Site(0), site])
    finally:
        for handle in handles:
            handle.remove()
    assert begun == runs


def sites_that_reach_the_answer(target: TargetModel) -> list[Site]:
    """Every site but those at the entity in the last layer, which no later token looks at."""
    return [
        Site(layer, stream, position, head=head)
        for stream in target.streams
        for head in (range(target.n_heads) if stream == "head_output" else (None,))
        for position in POSITIONS
        for layer in range(target.n_layers - (position == "entity_last"))
    ]


@pytest.mark.parametrize("name", FAMILIES.names())
def test_every_part_of_a_sites_name_counts(
    name: str, target_of: Callable[[str], TargetModel], make_prompt: PromptMaker
) -> None:
    # A layer, stream, head or position that is read and not used gives the bits of its neighbour. The entity
    # stands next to the end, within the smallest window of any miniature.
    target = target_of(name)
    engine = DirectEngine(target)
    pairs = [ForcedPair(make_prompt("In %s,", "Rome"), make_prompt("I like %s.", "Ulm"), (5,))]
    found: dict[str, torch.Tensor] = {"nothing": engine.interchange_logits(pairs, SITE, None)}
    for site in sites_that_reach_the_answer(target):
        whole = Subspace(torch.eye(target.width(site)))
        found[str(site)] = engine.interchange_logits(pairs, site, whole)
    same = [(one, other) for one, other in combinations(found, 2) if torch.equal(found[one], found[other])]
    assert same == []


def test_a_full_memory_changes_no_result(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    roomy, none = DirectEngine(small_target), DirectEngine(small_target, cache_bytes=0)
    expected = roomy.interchange_logits(pairs, SITE, swap(small_target))
    assert torch.equal(none.interchange_logits(pairs, SITE, swap(small_target)), expected)
    assert len(none.sources.cache) == 0
    assert len(roomy.sources.cache) == 2


def test_the_same_call_gives_the_same_bits(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    first, second = (
        DirectEngine(small_target).interchange_logits(pairs, SITE, swap(small_target)) for _ in "ab"
    )
    assert torch.equal(first, second)


def test_no_graph_reaches_sources_or_weights(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine = DirectEngine(small_target)
    assert not engine.interchange_logits(pairs, SITE, swap(small_target)).requires_grad
    assert not engine.collect([pairs[0].base], [SITE])[SITE].requires_grad
    weight = torch.randn(small_target.d_model, 2, requires_grad=True)
    assert engine.interchange_logits(pairs, SITE, Subspace(retract(weight))).requires_grad
    with torch.no_grad():
        assert not engine.interchange_logits(pairs, SITE, Subspace(retract(weight))).requires_grad


def test_training_works_on_sources_first_read_under_inference_mode(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    engine = DirectEngine(small_target)
    with torch.inference_mode():
        engine.interchange_logits(pairs, SITE, swap(small_target))
    weight = torch.randn(small_target.d_model, 2, requires_grad=True)
    engine.interchange_logits(pairs, SITE, Subspace(retract(weight))).sum().backward()
    assert weight.grad is not None


def test_only_later_positions_see_a_swap(small_target: TargetModel, make_prompt: PromptMaker) -> None:
    """A swap after the last block at the entity can't reach the end of the prompt, nor any label there."""
    base, source = make_prompt("%s is a city in", "Rome"), make_prompt("%s", "Bonn")
    full, last = MaskedBasis(torch.ones(small_target.d_model)), Site(3)
    engine, pair = DirectEngine(small_target), [ForcedPair(base, source, (5, 6))]
    assert torch.equal(
        engine.interchange_logits(pair, last, full), engine.interchange_logits(pair, last, None)
    )


def test_forced_labels_are_judged_as_the_model_would_write_them(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    engine = DirectEngine(small_target)
    written = engine.complete([pair.base for pair in pairs], 3)
    forced = [
        ForcedPair(pair.base, pair.source, completion.token_ids)
        for pair, completion in zip(pairs, written, strict=True)
    ]
    best = engine.interchange_logits(forced, SITE, None).argmax(-1)
    for row, completion in zip(best, written, strict=True):
        assert tuple(row[: len(completion.token_ids)].tolist()) == completion.token_ids


def test_completions_end_with_the_first_end_token(pairs: list[ForcedPair]) -> None:
    target = miniature(FAMILIES.get("gpt2"))
    prompt = pairs[0].base
    (free,) = DirectEngine(target).complete([prompt], 8)
    end = free.token_ids[3]
    target.model.generation_config.eos_token_id = [end, 127]
    (ended,) = DirectEngine(target).complete([prompt], 8)
    assert ended.token_ids == free.token_ids[: free.token_ids.index(end) + 1]
    assert make_engine("reference", target).complete([prompt], 8) == [ended]


def test_equal_prompts_are_completed_once(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    with counted(small_target) as rows:
        completions = DirectEngine(small_target).complete([pairs[0].base] * 5, 1)
    assert sum(rows) == 1
    assert len(set(completions)) == 1
    assert len(completions) == 5
    assert DirectEngine(small_target).complete([], 3) == []


def test_nothing_in_nothing_out(small_target: TargetModel) -> None:
    engine = DirectEngine(small_target)
    assert engine.interchange_logits([], SITE, None).shape == (0, 0, 128)
    assert engine.collect([], [SITE])[SITE].shape == (0, small_target.d_model)
    assert engine.collect([], HEADS)[HEADS[1]].shape == (0, small_target.head_width)


@pytest.mark.parametrize("name", ENGINES)
def test_what_does_not_fit_is_refused(
    small_target: TargetModel, pairs: list[ForcedPair], make_prompt: PromptMaker, name: str
) -> None:
    engine = make_engine(name, small_target)
    with pytest.raises(SuiteError, match="layer from 0 to 3"):
        engine.interchange_logits(pairs, Site(4), None)
    with pytest.raises(SuiteError, match="layer from 0 to 3"):
        engine.collect([pairs[0].base], [Site(4)])
    with pytest.raises(SuiteError, match=r"width 32.*one for width 8"):
        engine.interchange_logits(pairs, SITE, Subspace(torch.eye(8)[:, :2]))
    with pytest.raises(SuiteError, match="a head from 0 to 3"):
        engine.collect([pairs[0].base], [Site(1, "head_output", head=4)])
    with pytest.raises(SuiteError, match=r"width 8.*head_output\.1\.0@entity_last.*one for width 32"):
        engine.interchange_logits(pairs, HEADS[0], swap(small_target))
    with pytest.raises(SuiteError, match="at least one label token"):
        engine.interchange_logits([ForcedPair(pairs[0].base, pairs[0].source, ())], SITE, None)
    long = make_prompt("%s" + "x" * 200, "Rome")
    with pytest.raises(SuiteError, match="at most 128 tokens"):
        engine.interchange_logits([ForcedPair(long, pairs[0].source, (1,))], SITE, None)
    with pytest.raises(SuiteError, match="at most 128 tokens"):
        engine.complete([long], 1)


def test_an_unknown_engine_brings_near_misses(small_target: TargetModel) -> None:
    with pytest.raises(SuiteError, match="did you mean 'direct'"):
        make_engine("directt", small_target)


@pytest.mark.parametrize("name", ENGINES)
def test_running_out_of_memory_names_the_flag(
    small_target: TargetModel, pairs: list[ForcedPair], name: str
) -> None:
    def fail(module: Any, inputs: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    handle = small_target.family.blocks(small_target.model)[0].register_forward_pre_hook(fail)
    try:
        with pytest.raises(SuiteError, match="--batch-tokens"):
            make_engine(name, small_target).interchange_logits(pairs, SITE, None)
    finally:
        handle.remove()


def test_half_precision_is_swapped_in_float32_and_cast_back(pairs: list[ForcedPair]) -> None:
    small = miniature(FAMILIES.get("llama"))
    target = target_from(small.model.to(torch.bfloat16), character_tokenizer(), "half")
    engine = DirectEngine(target)
    assert engine.collect([pairs[0].base], [SITE])[SITE].dtype == torch.float32
    logits = engine.interchange_logits(pairs, SITE, swap(target))
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_an_answerer_speaks_for_its_engine(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine = DirectEngine(small_target)
    answerer = EngineAnswerer(engine)
    prompts = [pair.base for pair in pairs]
    assert answerer.complete(prompts, 4) == engine.complete(prompts, 4)
    assert (answerer.name, answerer.fingerprint) == (small_target.name, small_target.fingerprint)
    assert answerer.offsets(["ab"]) == [[(0, 0), (0, 1), (1, 2)]]
    ids = small_target.tokenizer("Rome in")["input_ids"]
    assert answerer.decode(ids) == "Rome in"
