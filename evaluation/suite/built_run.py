"""A run that begins with facts: build the instance for a model that is open, then run a suite on it.

It knows no method and no preset.
"""

from __future__ import annotations

from pathlib import Path

from das.engine import EngineAnswerer
from das.engine.base.protocol import Engine
from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.suite.run import RunSummary, run_suite_on
from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError
from ravel.common.progress import Progress, silent
from ravel.facts.tables import Tables
from ravel.instance import Instance

__all__ = ["run_built"]


def run_built(
    out: Path,
    tables: Tables,
    build: BuildConfig,
    suite: SuiteConfig,
    engine: Engine,
    *,
    progress: Progress = silent,
) -> RunSummary:
    """Build the instance, run the suite on it in `out` and return what it holds.

    An instance that `out` holds already is taken if it was built with these settings. Raises SuiteError if
    it was built with others, or if `out` holds anything but a run.
    """
    run = RunFolder(out)
    # The suite refuses these too, but only after a minute of building.
    run.refuse_foreign_files()
    instance = _instance(run, tables, build, engine, progress)
    return run_suite_on(suite, out, instance, engine, progress=progress)


def _instance(
    run: RunFolder, tables: Tables, build: BuildConfig, engine: Engine, progress: Progress
) -> Instance:
    if not run.instance.is_dir():
        return build_instance(tables, EngineAnswerer(engine), build, progress)
    instance = Instance.load(run.instance)
    if instance.manifest.config != build.model_dump(mode="json"):
        raise SuiteError(
            expected=f"a run of this kind in {run.path}",
            came="one whose instance was built with other settings",
            todo="choose another --out, or give the flags and the preset of the first time",
        )
    return instance
