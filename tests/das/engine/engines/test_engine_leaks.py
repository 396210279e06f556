"""A thousand batches take no more memory than a hundred: nothing that a pass makes outlives it, but in
stores of a stated size."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from das.engine import DirectEngine, ForcedPair, ResumeEngine
from das.featurizers import Subspace, retract
from das.models import TargetModel
from das.sites import Site

SITES = (Site(1), Site(2, "head_output", "prompt_last", head=1), Site(0, "mlp_output"))
ROUND = 12
"""Batches that differ; then the same ones come again."""
ENOUGH = 64 << 10
"""Bytes of Python objects by which 900 batches may grow: some 70 for each."""


@dataclass(frozen=True)
class Held:
    """What is alive after some batches."""

    python: int
    """Bytes of Python objects."""
    peak: int
    """The most that was alive since the last look."""
    tensors: int
    """Bytes in tensors, each storage once."""


def held() -> Held:
    """Look, and begin a new peak."""
    gc.collect()
    storages = {
        storage.data_ptr(): storage.nbytes()
        for found in gc.get_objects()
        if type(found) in (torch.Tensor, torch.nn.Parameter) and found.layout is torch.strided
        for storage in [found.untyped_storage()]
    }
    python, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    return Held(python, peak, sum(storages.values()))


def grown(batch: Callable[[int], object], *, early: int, late: int) -> tuple[int, int, int]:
    """Run the batches; return by how much memory grew from `early` to `late`: of objects, at the peaks, of
    tensors. Either peak is of the last whole rounds before it."""
    seen: list[Held] = []
    tracemalloc.start()
    try:
        for number in range(late):
            if number in (early - 2 * ROUND, late - 2 * ROUND):
                held()
            batch(number)
            if number + 1 in (early, late):
                seen.append(held())
    finally:
        tracemalloc.stop()
    first, last = seen
    return last.python - first.python, last.peak - first.peak, last.tensors - first.tensors


def batches(engine: DirectEngine, make_prompt: Callable[..., Any]) -> Callable[[int], object]:
    """Return a function that runs one batch: logits at one of some sites, every other time with gradients."""
    names = ["Rome", "Ulm", "Kyoto", "Oslo", "Bonn", "Lima", "Bern", "Riga", "Kiev", "Quito", "Doha", "Male"]
    weights = [torch.eye(engine.target.width(site))[:, :3].clone().requires_grad_() for site in SITES]

    def run(number: int) -> object:
        place = number % ROUND
        site, weight = SITES[place % len(SITES)], weights[place % len(SITES)]
        base, source = (
            make_prompt("%s is a city in", names[place]),
            make_prompt("I like %s.", names[place - 1]),
        )
        pairs = [ForcedPair(base, source, (5, 6)), ForcedPair(source, base, (7,))]
        if place % 2:
            with torch.no_grad():
                return engine.interchange_logits(pairs, site, Subspace(retract(weight)))
        logits = engine.interchange_logits(pairs, site, Subspace(retract(weight)))
        weight.grad = None
        logits.square().sum().backward()
        return logits

    return run


def small(engine_class: type[DirectEngine], target: TargetModel) -> DirectEngine:
    """An engine whose stores hold a few rows, so that they give way all the time."""
    if engine_class is ResumeEngine:
        return ResumeEngine(target, 256, cache_bytes=1 << 10, state_bytes=1 << 14)
    return DirectEngine(target, 256, cache_bytes=1 << 10)


@pytest.mark.long
@pytest.mark.parametrize("engine_class", [DirectEngine, ResumeEngine])
def test_memory_is_flat_over_a_thousand_batches(
    engine_class: type[DirectEngine], small_target: TargetModel, make_prompt: Callable[..., Any]
) -> None:
    run = batches(small(engine_class, small_target), make_prompt)
    # 96 and 996 end whole rounds, so that the same rows are in store.
    objects, peaks, tensors = grown(run, early=96, late=996)
    assert objects < ENOUGH
    assert peaks < ENOUGH
    assert tensors <= 0


def test_what_is_kept_from_each_batch_is_seen(
    small_target: TargetModel, make_prompt: Callable[..., Any]
) -> None:
    run = batches(small(DirectEngine, small_target), make_prompt)
    kept: list[Any] = []
    objects, _, tensors = grown(lambda number: kept.append((run(number), bytearray(4000))), early=24, late=60)
    assert objects > ENOUGH
    assert tensors > 0
