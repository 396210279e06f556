"""The resume engine against the direct one: logits, gradients, fits and judgements, whatever is kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted_world import PlantedWorld
from torch import Tensor, nn

from das.engine import DirectEngine, Engine, ForcedPair, ResumeEngine, make_engine
from das.engine.prefix import RowState, StateCache, join, plan_suffixes
from das.featurizers import MaskedBasis, Subspace, retract
from das.featurizers.base import Featurizer
from das.methods.alignment import random_columns
from das.models import FAMILIES, TargetModel
from das.models.load import target_from
from das.models.miniature import character_tokenizer, miniature
from das.sites import POSITIONS, Site
from das.training.loop import TrainingConfig, TrainingTask, train_featurizer
from das.training.objective import LossWeights, TrainingPair
from das.training.trainable import TrainableSubspace
from evaluation.judging import judge

PromptMaker = Callable[..., Any]
RELATIVE = 1e-4
SITE = Site(1)


@pytest.fixture(scope="session")
def pairs(make_prompt: PromptMaker) -> list[ForcedPair]:
    """Every prompt with every other: entities first, last and in the middle, labels of 1 to 3 tokens."""
    prompts = [
        make_prompt("%s", "X"),
        make_prompt("%s is a city in", "Rome"),
        make_prompt("The well known city of %s", "Ulm"),
        make_prompt("Oslo, yes Oslo: %s has the currency", "Oslo"),
    ]
    lengths = itertools.cycle([3, 1, 2, 1, 1])
    return [
        ForcedPair(base, source, tuple(range(5, 5 + n)))
        for (base, source), n in zip(itertools.product(prompts, prompts), lengths, strict=False)
    ]


def swap(target: TargetModel, k: int = 4) -> Subspace:
    return Subspace(torch.eye(target.d_model)[:, :k])


def close(actual: Tensor, expected: Tensor, relative: float = RELATIVE) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max().item() <= relative * expected.abs().max().item()


def answers(engine: Engine, pairs: Sequence[ForcedPair], site: Site) -> tuple[Tensor, Tensor]:
    """Logits with a trained subspace, and the gradient of a loss by its columns."""
    stream = torch.Generator().manual_seed(3)
    weight = torch.randn(engine.target.d_model, 3, generator=stream).requires_grad_()
    logits = engine.interchange_logits(pairs, site, Subspace(retract(weight)))
    ids = torch.tensor([(*pair.label_ids, 0, 0)[: logits.shape[1]] for pair in pairs])
    logits.log_softmax(-1).gather(-1, ids[:, :, None]).sum().backward()
    assert weight.grad is not None
    return logits.detach(), weight.grad


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("family", FAMILIES.names())
def test_logits_and_gradients_are_those_of_direct(
    target_of: Callable[[str], TargetModel], pairs: list[ForcedPair], family: str, layer: int, position: Any
) -> None:
    target, site = target_of(family), Site(layer, position=position)
    direct, resume = DirectEngine(target), ResumeEngine(target)
    logits, gradient = answers(direct, pairs, site)
    for _ in ("cold", "warm"):
        found, found_gradient = answers(resume, pairs, site)
        close(found, logits)
        if layer < 3 or position == "prompt_last":
            close(found_gradient, gradient)
        assert found.dtype == torch.float32
    untouched = resume.interchange_logits(pairs, site, None)
    close(untouched, direct.interchange_logits(pairs, site, None))
    assert not untouched.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in target.model.parameters())
    for row, pair in zip(untouched, pairs, strict=True):
        assert torch.count_nonzero(row[len(pair.label_ids) :]) == 0
    assert resume.fallbacks == {}


def test_only_what_a_swap_changes_is_run(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    """Warm, the block of the site is passed by, and the one above sees the tokens from the site on."""
    engine, seen = ResumeEngine(small_target), []
    blocks = small_target.family.blocks(small_target.model)
    engine.interchange_logits(pairs, SITE, swap(small_target))
    handles = [blocks[0].mlp.register_forward_hook(lambda *_: seen.append("below"))]
    handles.append(blocks[2].register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].shape[:2])))
    try:
        engine.interchange_logits(pairs, SITE, swap(small_target, 2))
        suffix_tokens = sum(rows * tokens for rows, tokens in seen)
    finally:
        for handle in handles:
            handle.remove()
    whole = sum(len(engine.encoder.encode([p.base.text])[0].ids) + len(p.label_ids) - 1 for p in pairs)
    assert suffix_tokens < whole


def test_other_streams_fall_back_and_say_so(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    site = Site(1, "mlp_output")
    direct, resume = DirectEngine(small_target), ResumeEngine(small_target)
    assert not resume.resumes(site)
    expected = direct.interchange_logits(pairs, site, swap(small_target))
    assert torch.equal(resume.interchange_logits(pairs, site, swap(small_target)), expected)
    assert "mlp_output lies inside a block" in resume.fallbacks[site]
    assert len(resume.states) == 0


def test_reading_and_writing_are_inherited(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    direct, resume = DirectEngine(small_target), make_engine("resume", small_target)
    prompts = [pair.base for pair in pairs]
    assert torch.equal(resume.collect(prompts, [SITE])[SITE], direct.collect(prompts, [SITE])[SITE])
    assert resume.complete(prompts, 4) == direct.complete(prompts, 4)
    assert resume.interchange_logits([], SITE, None).shape == (0, 0, 128)
    assert resume.name == "resume"


@pytest.mark.parametrize("state_bytes", [0, 5_000])
def test_memory_is_bounded_and_changes_no_result(
    small_target: TargetModel, pairs: list[ForcedPair], state_bytes: int
) -> None:
    tight = ResumeEngine(small_target, state_bytes=state_bytes)
    expected = ResumeEngine(small_target).interchange_logits(pairs, SITE, swap(small_target))
    for _ in range(3):
        assert torch.equal(tight.interchange_logits(pairs, SITE, swap(small_target)), expected)
        assert tight.states.bytes <= state_bytes


def test_what_came_before_changes_no_result(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    """Kept states came out of batches of another shape, so that only rounding may differ."""
    warm = ResumeEngine(small_target)
    for site in (Site(0), Site(2), Site(1, position="prompt_last")):
        warm.interchange_logits(pairs[3:], site, swap(small_target))
    for pair in pairs[::2]:
        warm.interchange_logits([pair], SITE, None)
    expected = ResumeEngine(small_target).interchange_logits(pairs, SITE, swap(small_target))
    found = warm.interchange_logits(pairs, SITE, swap(small_target))
    close(found, expected, 1e-5)
    assert torch.equal(warm.interchange_logits(pairs, SITE, swap(small_target)), found)


def test_batches_and_order_change_nothing(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    whole = ResumeEngine(small_target).interchange_logits(pairs, SITE, swap(small_target))
    close(ResumeEngine(small_target, 1).interchange_logits(pairs, SITE, swap(small_target)), whole)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1)).tolist()
    shuffled = [pairs[i] for i in order]
    close(ResumeEngine(small_target).interchange_logits(shuffled, SITE, swap(small_target)), whole[order])


def test_an_empty_choice_changes_no_bit(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine = ResumeEngine(small_target)
    nothing = engine.interchange_logits(pairs, SITE, None)
    empty = MaskedBasis(torch.zeros(small_target.d_model))
    assert torch.equal(engine.interchange_logits(pairs, SITE, empty), nothing)


def test_training_works_on_states_first_made_under_inference_mode(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    engine = ResumeEngine(small_target)
    with torch.inference_mode():
        engine.interchange_logits(pairs, SITE, swap(small_target))
    _, gradient = answers(engine, pairs, SITE)
    close(gradient, answers(DirectEngine(small_target), pairs, SITE)[1])


class BrokenError(Exception):
    """Raised on purpose inside a forward pass."""


@pytest.mark.parametrize("broken_at", [0, 1, 3])
def test_the_model_is_as_before_after_an_error(pairs: list[ForcedPair], broken_at: int) -> None:
    target = miniature(FAMILIES.get("llama"))
    engine, ids = ResumeEngine(target), torch.tensor([[1, 5, 6, 7]])
    before = target.model(ids).logits
    engine.interchange_logits(pairs[:4], SITE, swap(target))

    def fail(module: nn.Module, inputs: Any) -> None:
        raise BrokenError

    handle = target.family.blocks(target.model)[broken_at].register_forward_pre_hook(fail)
    for few in (pairs[:4], pairs):
        with pytest.raises(BrokenError):
            engine.interchange_logits(few, SITE, swap(target))
    handle.remove()
    assert all("forward" not in vars(module) for module in target.model.modules())
    assert torch.equal(target.model(ids).logits, before)


def test_half_precision_keeps_its_dtype_inside(pairs: list[ForcedPair]) -> None:
    target = target_from(
        miniature(FAMILIES.get("llama")).model.to(torch.bfloat16), character_tokenizer(), "half"
    )
    found = ResumeEngine(target).interchange_logits(pairs, SITE, swap(target))
    assert found.dtype == torch.float32
    close(found, DirectEngine(target).interchange_logits(pairs, SITE, swap(target)), 0.05)


def fit(engine: Engine, pairs: list[ForcedPair]) -> tuple[list[float], Featurizer]:
    """A whole DAS fit; the losses of its steps and what it found."""
    losses: list[float] = []

    class Listening:
        folder = None

        def log(self, row: dict[str, Any]) -> None:
            losses.append(row["loss"])

        def progress(self, done: int, total: int) -> None:
            pass

        def shared(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
            return make()

    training = [TrainingPair(pair, "cause" if i % 2 else "isolate", "A") for i, pair in enumerate(pairs)]
    task = TrainingTask(training, training[:5], SITE, LossWeights(), seed=4, identity="fit")
    trainable = TrainableSubspace(random_columns(engine.target.d_model, 3, seed=2))
    config = TrainingConfig(epochs=4, batch_size=4, log_every=1)
    return losses, train_featurizer(trainable, task, engine, Listening(), config)


def test_a_whole_fit_takes_the_same_way(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    losses, found = fit(ResumeEngine(small_target), pairs)
    expected_losses, expected = fit(DirectEngine(small_target), pairs)
    assert len(losses) > 8
    assert losses == pytest.approx(expected_losses, rel=1e-3)
    assert losses[0] != pytest.approx(losses[-1], rel=1e-3)
    assert isinstance(found, Subspace)
    assert isinstance(expected, Subspace)
    close(found.basis, expected.basis, 1e-2)


def test_judgements_are_the_same(small_target: TargetModel) -> None:
    instance = PlantedWorld(0, n_entities=40).instance(n_pairs=200, n_held_out=40)
    basis = retract(torch.randn(small_target.d_model, 8, generator=torch.Generator().manual_seed(0)))
    for featurizer in (None, Subspace(basis)):
        direct, resume = (
            judge(instance, "context_test", engine(small_target), Site(2), featurizer)
            for engine in (DirectEngine, ResumeEngine)
        )
        assert resume == direct
        assert len(direct) > 20


def test_the_memory_forgets_the_longest_unused() -> None:
    cache = StateCache(20)
    for key in "abc":
        cache.put(key, torch.zeros(2))
        cache.get("a")
    assert (cache.get("a") is None, cache.get("b") is None, cache.get("c") is None) == (False, True, False)
    assert (cache.bytes, len(cache)) == (16, 2)
    cache.put("a", torch.zeros(1))
    assert cache.bytes == 12
    cache.put("d", torch.zeros(6))
    assert (cache.bytes, len(cache)) == (0, 0)


def test_rows_meet_at_the_cut() -> None:
    states = [
        RowState(torch.ones(1, 2), torch.ones(3, 4)),
        RowState(2 * torch.ones(2, 2), 2 * torch.ones(1, 4)),
    ]
    joined = join(states)
    assert joined.prefix[:, :, 0].tolist() == [[0, 1], [2, 2]]
    assert joined.hidden[:, :, 0].tolist() == [[1, 1, 1], [2, 0, 0]]
    assert joined.position_ids.tolist() == [[1, 2, 3], [2, 2, 2]]
    assert joined.attention_mask is not None
    assert joined.attention_mask.tolist() == [[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert join(states[:1]).attention_mask is None


def test_plans_weigh_padding_against_calls() -> None:
    lengths, starts = [9, 2, 2, 8, 2], [1, 3, 1, 1, 2]
    plan = plan_suffixes(lengths, starts, batch_tokens=1000, call_tokens=5)
    assert plan == [[2, 4, 1], [3, 0]]
    assert plan_suffixes(lengths, starts, batch_tokens=1000, call_tokens=0) == [[2, 4, 1], [3], [0]]
    assert plan_suffixes(lengths, starts, batch_tokens=1000, call_tokens=50) == [[2, 4, 1, 3, 0]]
    assert plan_suffixes(lengths, starts, batch_tokens=10, call_tokens=5) == [[2, 4], [1], [3], [0]]
    assert plan_suffixes([], [], batch_tokens=10, call_tokens=5) == []


@given(
    rows=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=12),
    batch_tokens=st.integers(1, 40),
    call_tokens=st.integers(0, 20),
)
def test_plans_hold_every_row_once_within_bounds(
    rows: list[tuple[int, int]], batch_tokens: int, call_tokens: int
) -> None:
    lengths, starts = [n for n, _ in rows], [start for _, start in rows]
    plan = plan_suffixes(lengths, starts, batch_tokens=batch_tokens, call_tokens=call_tokens)
    assert sorted(itertools.chain(*plan)) == list(range(len(rows)))
    for batch in plan:
        width = max(lengths[i] for i in batch) + max(starts[i] for i in batch)
        assert len(batch) == 1 or len(batch) * width <= batch_tokens
