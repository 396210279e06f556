"""When memory does not suffice, an engine halves its passes, says so, and gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from memory_world import SAYINGS, at_calls, short_of_memory, short_on_the_way_back, too_large
from resume_cases import RELATIVE, SOME_SITES, choices_of, free_weight, make_pairs, swap_at
from safetensors.torch import save
from token_world import token_instance
from torch import Tensor

from das.engine import ENGINES, DirectEngine, Engine, ForcedPair, ResumeEngine, make_engine
from das.engine.base.labels import ForcedLabels
from das.engine.base.pass_limit import PassLimit, recomputed
from das.engine.base.protocol import FeaturizedPairs, PromptPair
from das.engine.engines.base_engine import batches_of
from das.engine.engines.reference import ReferenceEngine
from das.featurizers import Featurizer, Subspace, retract
from das.methods.common.base import Problem
from das.methods.common.tasks import CausePairsConfig, MixedPairsConfig
from das.methods.trained.das import Das
from das.methods.trained.mdas import Mdas
from das.models import TargetModel
from das.sites import Site
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError

SITE = Site(1)


@pytest.fixture(scope="module")
def pairs(make_prompt: Callable[..., Any]) -> list[ForcedPair]:
    return make_pairs(make_prompt)[1::2]


def made(name: str, target: TargetModel) -> DirectEngine | ReferenceEngine:
    engine = make_engine(name, target, batch_tokens=1024)
    assert isinstance(engine, DirectEngine | ReferenceEngine)
    return engine


def judged(
    engine: Engine, pairs: Sequence[ForcedPair], site: Site
) -> tuple[list[ForcedLabels], list[Tensor]]:
    """Labels of two groups under their own subspaces, and both gradients."""
    weights = [free_weight(engine.target, site, seed) for seed in (3, 4)]
    halves = (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :])
    groups = [
        FeaturizedPairs(half, Subspace(retract(weight))) for half, weight in zip(halves, weights, strict=True)
    ]
    found = engine.forced_labels(groups, site)
    torch.cat([labels.cross_entropy for labels in found]).sum().backward()
    return found, [weight.grad for weight in weights if weight.grad is not None]


def everything(engine: Engine, pairs: Sequence[ForcedPair], site: Site) -> list[Tensor]:
    """All that an engine can be asked, as tensors."""
    swap = swap_at(engine.target, site)
    prompts = [pair.base for pair in pairs]
    labels, gradients = judged(engine, pairs, site)
    with torch.no_grad():
        logits = engine.interchange_logits(pairs, site, swap)
    continued = engine.complete_swapped([PromptPair(p.base, p.source) for p in pairs], site, swap, 3)
    said = [completion.token_ids for completion in [*engine.complete(prompts, 3), *continued]]
    return [
        *engine.collect(prompts, SOME_SITES).values(),
        logits,
        engine.interchange_logits(pairs, site, None),
        *(one.cross_entropy.detach() for one in labels),
        *(one.correct.float() for one in labels),
        *gradients,
        torch.tensor(engine.predicts(choices_of(pairs), site, swap)).float(),
        torch.tensor([(*ids, -1, -1, -1)[:3] for ids in said]).float(),
    ]


def same(found: Sequence[Tensor], expected: Sequence[Tensor], *, exact: bool) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if exact:
            assert torch.equal(ours, theirs)
        else:
            assert (ours - theirs).abs().max() <= RELATIVE * theirs.abs().max()


@pytest.mark.parametrize(
    ("name", "site"),
    [
        *(("resume", site) for site in SOME_SITES),
        ("direct", SITE),
        ("reference", SITE),
    ],
    ids=str,
)
def test_the_numbers_are_the_same_in_smaller_passes(
    small_target: TargetModel, pairs: list[ForcedPair], name: str, site: Site
) -> None:
    expected = everything(made(name, small_target), pairs, site)
    engine, notes = made(name, small_target), list[str]()
    engine.on_note = notes.append
    before = engine.limit.size
    with short_of_memory(small_target, too_large) as failed:
        found = everything(engine, pairs, site)
    assert failed
    assert engine.limit.size < before
    # One note for each halving, and halving is all that happens.
    assert engine.limit.size == before >> len(notes)
    assert len(failed) >= len(notes)
    assert all("out of memory" in note for note in notes)
    same(found, expected, exact=False)
    # A gradient and a vector of `resume` are the same to the bit in passes of any size.
    if name == "resume":
        completions = len(found) - 1
        same(found[:completions], expected[:completions], exact=True)
    same(everything(engine, pairs, site), expected, exact=False)


@pytest.mark.parametrize("family", ["gemma2", "gpt_neox", "gptj", "opt"])
def test_a_resumed_gradient_is_the_same_to_the_bit_in_other_families(
    target_of: Callable[[str], TargetModel], pairs: list[ForcedPair], family: str
) -> None:
    target = target_of(family)
    engine = made("resume", target)
    engine.on_note = lambda text: None
    expected, gradients = judged(made("resume", target), pairs, SITE)
    with short_of_memory(target, too_large) as failed:
        found, again = judged(engine, pairs, SITE)
    assert failed
    same(again, gradients, exact=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.cross_entropy, theirs.cross_entropy)
        assert torch.equal(ours.correct, theirs.correct)


@pytest.mark.parametrize("error", SAYINGS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", ENGINES)
def test_one_failure_halves_once(
    small_target: TargetModel, pairs: list[ForcedPair], name: str, error: Exception
) -> None:
    expected = everything(made(name, small_target), pairs, SITE)
    for call in (0, 30) if name == "resume" else (7,):
        engine, notes = made(name, small_target), list[str]()
        # To learn how a block is called is no pass.
        engine.interchange_logits(pairs[:1], SITE, None)
        engine.on_note = notes.append
        before = engine.limit.size
        with short_of_memory(small_target, at_calls(call), error) as failed:
            found = everything(engine, pairs, SITE)
        assert len(failed) == len(notes) == 1
        assert engine.limit.size == before // 2
        same(found, expected, exact=False)


@pytest.mark.parametrize(
    ("name", "unit"), [("reference", "pairs"), ("direct", "tokens"), ("resume", "tokens")]
)
def test_what_bounds_batches_is_said(small_target: TargetModel, name: str, unit: str) -> None:
    engine = make_engine(name, small_target, batch_tokens=64)
    asked = 32 if name == "reference" else 64
    assert batches_of(engine) == {"engine": name, "at_most": asked, "unit": unit}
    engine.shrink("a test")
    assert batches_of(engine) == {"engine": name, "at_most": asked, "unit": unit, "lowered_to": asked // 2}


@pytest.mark.parametrize("name", ENGINES)
def test_a_single_row_that_does_not_fit_is_a_users_error(
    small_target: TargetModel, pairs: list[ForcedPair], name: str
) -> None:
    engine = made(name, small_target)
    engine.interchange_logits(pairs[:1], SITE, None)
    engine.on_note = lambda text: None
    swap = swap_at(small_target, SITE)
    asks: list[Callable[[], Any]] = [
        lambda: engine.collect([pairs[5].base], [Site(3)]),
        lambda: engine.complete([pairs[5].base], 2),
        lambda: engine.interchange_logits(pairs, SITE, swap),
        lambda: engine.predicts(choices_of(pairs), SITE, swap),
        lambda: judged(engine, pairs, SITE),
        lambda: engine.complete_swapped([PromptPair(pairs[5].base, pairs[6].source)], SITE, swap, 2),
    ]
    with short_of_memory(small_target, lambda hidden: True):
        for ask in asks:
            with pytest.raises(SuiteError, match=r"room for a forward pass .*--dtype bfloat16"):
                ask()
    # It can go on afterwards.
    assert torch.isfinite(engine.interchange_logits(pairs, SITE, swap)).all()


def test_other_errors_are_not_taken_for_it(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine = made("direct", small_target)
    with (
        short_of_memory(small_target, at_calls(0), RuntimeError("shapes differ")),
        pytest.raises(RuntimeError, match="shapes differ"),
    ):
        engine.interchange_logits(pairs, SITE, None)
    assert engine.batch_tokens == 1024


def test_kept_states_give_way(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine = ResumeEngine(small_target, state_bytes=1 << 20)
    engine.on_note = lambda text: None
    engine.interchange_logits(pairs, SITE, swap_at(small_target, SITE))
    assert engine.states.bytes > 0
    assert len(engine.sources.cache) > 0
    engine.shrink("out of memory")
    assert engine.states.bytes == len(engine.sources.cache) == 0
    assert engine.states.max_bytes == 1 << 19


def test_without_a_listener_the_note_is_logged(
    small_target: TargetModel, caplog: pytest.LogCaptureFixture
) -> None:
    made("direct", small_target).shrink("out of memory (by hand)")
    assert "out of memory (by hand): a pass held up to 1024 tokens, from now on up to 512" in caplog.text


# --- the room by itself


def _room(size: int, notes: list[str]) -> PassLimit:
    return PassLimit(size, let_go=lambda: None, tell=notes.append, todo=lambda size: "make room")


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("most", [1, 3, 10])
def test_each_item_is_done_once_and_in_order(size: int, most: int) -> None:
    notes: list[str] = []
    room, done = _room(size, notes), list[int]()

    def plan(left: Sequence[int]) -> list[list[int]]:
        return [
            list(range(first, min(first + room.size, len(left)))) for first in range(0, len(left), room.size)
        ]

    def run(batch: list[int]) -> None:
        if len(batch) > most:
            raise MemoryError
        done.extend(batch)

    room.each(10, plan, run)
    assert done == list(range(10))
    assert room.size == size >> len(notes)
    assert room.size <= most or size <= most or room.size > most >= 10


def test_a_gradient_in_batches_is_the_gradient() -> None:
    stream = torch.Generator().manual_seed(0)
    vectors, weight = torch.randn(9, 4, generator=stream), torch.randn(4, 3, generator=stream)
    slopes = torch.randn(9, 3, generator=stream)
    whole, parts = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    (expected,) = torch.autograd.grad((whole @ weight).tanh(), whole, slopes)
    sizes: list[int] = []
    room = _room(8, [])

    def run(batch: list[int], changed: Tensor) -> Tensor:
        if len(batch) > (4 if not torch.is_grad_enabled() else 2):
            raise MemoryError
        sizes.append(len(batch))
        return (changed @ weight).tanh()

    def plan(left: Sequence[int]) -> list[list[int]]:
        return [
            list(range(first, min(first + room.size, len(left)))) for first in range(0, len(left), room.size)
        ]

    found = recomputed(room, parts, plan, run)
    torch.testing.assert_close(found, (vectors @ weight).tanh())
    (gradient,) = torch.autograd.grad(found, parts, slopes)
    torch.testing.assert_close(gradient, expected)
    assert sizes == [4, 4, 1, 2, 2, 2, 2, 1]


# --- whole fits

SHORT = {"epochs": 2, "batch_size": 8, "learning_rate": 0.02, "log_every": 1}
TRAINED = [Das(CausePairsConfig(**SHORT)), Mdas(MixedPairsConfig(**SHORT))]


def _fitted(method: Das | Mdas, engine: Engine) -> Featurizer:
    problem = Problem(token_instance(engine.target.fingerprint), "A", SITE, 4, seed=0)
    return method.fit(problem, engine, SilentWorkspace())


def _bytes(featurizer: Featurizer) -> bytes:
    return save(dict(featurizer.state_dict()))


@pytest.mark.parametrize("method", TRAINED, ids=["das", "mdas"])
def test_a_fit_that_runs_out_of_memory_ends_in_the_same_bytes(
    small_target: TargetModel, method: Das | Mdas
) -> None:
    expected = _bytes(_fitted(method, made("resume", small_target)))
    engine = made("resume", small_target)
    engine.on_note = lambda text: None
    with short_of_memory(small_target, too_large) as failed:
        assert _bytes(_fitted(method, engine)) == expected
    assert failed
    for calls in ((1, 3), (1, 2, 3)):
        engine = made("resume", small_target)
        engine.on_note = lambda text: None
        with short_on_the_way_back(small_target, *calls) as failed:
            assert _bytes(_fitted(method, engine)) == expected
        assert failed == list(calls)
        assert engine.limit.size == 1024 >> len(calls)


@pytest.mark.parametrize("name", ["direct", "reference"])
def test_a_fit_on_another_engine_ends_in_the_same_place(small_target: TargetModel, name: str) -> None:
    expected = _fitted(TRAINED[1], made(name, small_target)).state_dict()["basis"]
    engine = made(name, small_target)
    engine.on_note = lambda text: None
    with short_on_the_way_back(small_target, 1, 4) as failed:
        found = _fitted(TRAINED[1], engine).state_dict()["basis"]
    assert failed == [1, 4]
    assert float(torch.linalg.svdvals(expected.T @ found).min()) > 0.999
