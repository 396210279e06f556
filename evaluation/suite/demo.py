"""The suite of `ravel demo`: bundled facts and model, five methods, a minute on two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.engine import EngineAnswerer
from das.engine.base.protocol import Engine
from evaluation.config.execution import ExecutionConfig
from evaluation.config.suite import MethodSpec, SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.records.lock import run_lock
from evaluation.records.run_folder import RunFolder
from evaluation.suite.execution.beside import available_processors
from evaluation.suite.execution.build_in_run import build_in_run
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.building.config import BuildConfig
from ravel.common.progress import Progress, silent
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What a demo does; the two that ship differ in size only."""

    build: BuildConfig
    """How the instance is built."""
    site: str
    """The one site: the entity's last token, half-way up the bundled model."""
    size: int
    """Coordinates of das, mdas and random_subspace."""
    training: Mapping[str, dict[str, Any]]
    """Settings of das and mdas that differ from their defaults, by method."""


_SITE = "block_output.2@entity_last"
_SIZE = 32
_MOST_WORKERS = 4
_TRAINING: Mapping[str, dict[str, Any]] = {"das": {"epochs": 2}, "mdas": {"epochs": 2}}

DEMO = DemoPlan(
    build=BuildConfig(
        max_entities=300, shortlist=120, max_new_tokens=6, train_pairs=800, evaluation_pairs=160
    ),
    site=_SITE,
    size=_SIZE,
    training=_TRAINING,
)
"""All six attributes of city."""

QUICK = DemoPlan(
    build=BuildConfig(
        attributes=("Country", "Continent", "Language", "Timezone"),
        max_entities=200,
        shortlist=100,
        max_new_tokens=6,
        train_pairs=600,
        evaluation_pairs=120,
    ),
    site=_SITE,
    size=_SIZE,
    training=_TRAINING,
)
"""Four attributes, fewer entities and pairs: to see in a minute that an installation works."""


def run_demo(out: Path, *, quick: bool = False, progress: Progress = silent) -> RunSummary:
    """Build the instance, run the suite in `out` and return what it holds; a finished demo is read again.

    Raises SuiteError if `out` holds anything but a demo of the same kind.
    """
    plan, run = QUICK if quick else DEMO, RunFolder(out)
    target = TargetConfig()
    _built(run, plan, read_bundled("city"), target.open(), progress)
    execution = ExecutionConfig(kind="processes", workers=min(_MOST_WORKERS, available_processors()))
    config = suite_of(plan, run).model_copy(update={"execution": execution})
    return run_suite(RunRequest(config, out, target=target), progress)


def run_demo_on(
    out: Path, plan: DemoPlan, tables: Tables, engine: Engine, *, progress: Progress = silent
) -> RunSummary:
    """Run a plan on tables and an engine that are in memory, or go on with it where it was stopped."""
    run = RunFolder(out)
    instance = _built(run, plan, tables, engine, progress)
    request = RunRequest(suite_of(plan, run), out, engine=engine, instance=instance)
    return run_suite(request, progress)


def _built(run: RunFolder, plan: DemoPlan, tables: Tables, engine: Engine, progress: Progress) -> Instance:
    """Return the instance, built if the run has none."""
    # The suite refuses these too, but only after building.
    run.refuse_foreign_files()
    with run_lock(run.path):
        return build_in_run(run, lambda: tables, lambda: EngineAnswerer(engine), plan.build, progress)


def suite_of(plan: DemoPlan, run: RunFolder) -> SuiteConfig:
    """Return the suite that a plan comes to: a user can edit the copy in the run and start from there."""
    trained = tuple(MethodSpec(name=name, config=config) for name, config in plan.training.items())
    return SuiteConfig(
        instance=str(run.instance),
        methods=trained,
        sites=(plan.site,),
        sizes=(plan.size,),
        seeds=(0,),
        generalisations=("context", "entity"),
    )
