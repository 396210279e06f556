"""What a run would do and what it would cost, from a suite or a preset; it fits nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from das.engine.base.protocol import Engine
from das.engine.kept.cache_plan import CachePlan
from das.featurizers.masked import MaskedBasis
from das.methods.registry import METHODS
from das.models.base import TargetModel
from das.sites import Site, SiteSpace
from das.training.examples import cause_pairs
from evaluation.config.preset import ModelShape, preset_named
from evaluation.config.suite import SuiteBuild, SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.judging.recognition import recognise
from evaluation.records.run_folder import RunFolder
from evaluation.suite.forecast.build import prompts_of_build
from evaluation.suite.forecast.cache import planned_cache, preset_cache
from evaluation.suite.forecast.cost import (
    TOKENS_OF_A_PAIR,
    Estimate,
    PairCounts,
    control_cells,
    duration,
    estimate,
)
from evaluation.suite.grid import Cell, check_splits, narrowed, plan_cells, resolve
from evaluation.suite.grid.model_info import ModelInfo
from ravel.building import BuildConfig
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.sources import BUNDLED, open_tables
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell of a suite and whether a run folder has it already."""

    cell: Cell
    """The cell."""
    finished: bool
    """True if it will not be fitted again."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would do."""

    cells: tuple[PlannedCell, ...]
    """Every cell of the suite."""
    estimate: Estimate
    """Cost of those that are not finished."""
    assumed: str
    """Where the rate behind the estimate comes from."""
    cache: CachePlan
    """What the engine `resume` would keep, and where."""
    device: str = "cpu"
    """Where the model is to run."""
    controls: int = 0
    """How many cells of controls there are, at points that are still to be chosen."""
    build: str | None = None
    """What building the instance adds, where there is none yet."""


def plan_run(config: SuiteConfig, out: Path, target: TargetConfig) -> RunPlan:
    """Return every cell of a suite and what the rest will cost, measured on a few pairs; none is run.

    Raises SuiteError as `run_suite` does.
    """
    run = RunFolder(out)
    if config.build is not None and not run.instance.is_dir():
        model = target.open().target
        return _estimated(config, config.build, model, _shape_of(model), run)
    instance = Instance.load(Path(config.instance) if config.build is None else run.instance)
    engine = target.open()
    recognise(engine, instance.model_fingerprint)
    model = engine.target
    resolved = resolve(config, instance, model)
    cells = plan_cells(resolved, instance, model)
    check_splits(resolved, instance)
    rate = measured_rate(instance, engine, Site.parse(resolved.sites[0]))
    cache = planned_cache(resolved, instance, model)
    counts, shape = _counts(instance), _shape_of(model)
    return _planned(cells, resolved, counts, shape, run, rate, "measured here, now", cache)


def _shape_of(model: TargetModel) -> ModelShape:
    return ModelShape(
        layers=model.n_layers,
        width=model.d_model,
        heads=model.n_heads,
        head_width=model.head_width,
        vocabulary=int(model.config.vocab_size),
        parameters=sum(parameter.numel() for parameter in model.model.parameters()),
    )


def plan_preset(
    name: str, out: Path, overrides: Mapping[str, Any] | None = None, data: str | None = None
) -> RunPlan:
    """Return the cells and the cost of a preset; neither its model nor its data are read.

    `overrides` are settings of the suite that differ from the preset's, `data` is as in `RunRequest`. The
    rate is an assumption about the device, and the cache one about the instance; both are stated in the plan.
    Which cells a run has finished already can't be told without the instance. Raises SuiteError for an
    unknown name and wrong settings.
    """
    preset = preset_named(name)
    build, config = preset.build_config(), preset.suite_config("", overrides)
    source = SuiteBuild(entity_type=preset.entity_type, data=data or preset.data, settings=build.model_dump())
    shape = preset.shape
    target = ModelInfo(
        config.model, "not loaded", {}, shape.layers, shape.heads, shape.width, shape.head_width
    )
    return _estimated(config, source, target, shape, RunFolder(out))


def _estimated(
    config: SuiteConfig, source: SuiteBuild, target: SiteSpace, shape: ModelShape, run: RunFolder
) -> RunPlan:
    """Plan with assumed counts and an assumed rate."""
    build = BuildConfig.from_mapping(source.settings, origin="the suite's build")
    entity_type = source.entity_type
    attributes = build.attributes or tuple(a.name for a in ENTITY_TYPES.get(entity_type).attributes)
    planned_on = _Unbuilt(entity_type, attributes, config.model, target.fingerprint, "not built yet")
    resolved = resolve(config, planned_on, target)
    cells = plan_cells(resolved, planned_on, target)
    counts = PairCounts(build.train_pairs, build.evaluation_pairs, len(attributes))
    flops = _CPU_FLOPS if config.device == "cpu" else _GPU_FLOPS
    rate = flops / (2 * shape.parameters * TOKENS_OF_A_PAIR)
    assumed = (
        f"assumed: {flops / 1e12:g} TFLOP/s sustained on {config.device}, {TOKENS_OF_A_PAIR} tokens a row"
    )
    cache = preset_cache(resolved, build, len(attributes), shape)
    plan = _planned(cells, resolved, counts, shape, run, rate, assumed, cache)
    seconds = _TOKENS_OF_A_PROMPT * 2 * shape.parameters / flops
    return replace(plan, build=_building(source, build, seconds))


def _building(source: SuiteBuild, build: BuildConfig, seconds: float) -> str:
    """Say what a build asks, and takes at so many seconds a prompt."""
    if source.data != BUNDLED and not Path(source.data).exists():
        return "The instance is built first, which is not counted; `ravel build --plan` measures it."
    fewest, most = prompts_of_build(open_tables(source.data, source.entity_type), build)
    prompts = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return (
        f"The instance is built first: {prompts} prompts, at most about {duration(most * seconds)} at that "
        "rate (`ravel build --plan` measures it)"
    )


_TOKENS_OF_A_PROMPT = 12
"""Tokens of a prompt and its answer that are run for it alone."""
_GPU_FLOPS = 1e14
"""Operations a second that a current data-centre GPU sustains in bfloat16, about a third of its peak."""
_CPU_FLOPS = 1e11
"""The same of two CPU cores in float32."""


@dataclass(frozen=True, slots=True)
class _Unbuilt:
    """An instance that is still to be built."""

    entity_type: str
    attributes: tuple[str, ...]
    model_name: str
    model_fingerprint: str
    fingerprint: str

    @property
    def instrument(self) -> dict[str, str]:
        return {}


def _planned(
    cells: Sequence[Cell],
    config: SuiteConfig,
    counts: PairCounts,
    shape: ModelShape,
    run: RunFolder,
    rate: float,
    assumed: str,
    cache: CachePlan,
) -> RunPlan:
    if config.keep_sites is not None:
        # Which ones is not known yet; as many cost as much.
        sites = [Site.parse(site) for site in config.sites[: config.keep_sites]]
        cells = narrowed(cells, dict.fromkeys(config.attributes or (), sites))
    planned = tuple(PlannedCell(cell, run.cell(cell.cell_id).finished()) for cell in cells)
    waiting = [entry.cell for entry in planned if not entry.finished]
    cost = estimate(waiting, config, counts, shape, rate=rate, methods=METHODS)
    return RunPlan(planned, cost, assumed, cache, config.device, len(control_cells(cells, config)))


def _counts(instance: Instance) -> PairCounts:
    def largest(split: str) -> int:
        found = Counter(pair.attribute for pair in instance.pairs(split))
        return max(found.values(), default=0)

    held_out = [s for s in instance.splits() if s.endswith("_val")]
    return PairCounts(
        train=largest(TRAIN_SPLIT),
        evaluation=max((largest(split) for split in held_out), default=0),
        attributes=len(instance.attributes),
    )


def measured_rate(instance: Instance, engine: Engine, site: Site) -> float:
    """Return how many passes of a pair the engine makes in a second, on up to 256 training pairs."""
    width = engine.target.width(site)
    swap = MaskedBasis(torch.ones(width)).to(engine.target.device)
    examples = [
        pair.forced
        for attribute in instance.attributes
        for pair in cause_pairs(instance, attribute, TRAIN_SPLIT, limit=64, seed=0, label_tokens=3)
    ][:256]
    rates = []
    for _ in range(2):
        began = time.perf_counter()
        with torch.no_grad():
            engine.interchange_logits(examples, site, swap)
        rates.append(len(examples) / max(time.perf_counter() - began, 1e-9))
    # The first call reads the sources and warms up; the second is what most of a run looks like.
    return rates[-1]
