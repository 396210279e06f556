"""Builds an instance inside the folder of a run, or takes the one that is there; it knows no suite."""

from __future__ import annotations

from collections.abc import Callable

from evaluation.records.run_folder import RunFolder
from ravel.asking.answerer import Answerer
from ravel.building import build_instance
from ravel.building.config import BuildConfig
from ravel.common.errors import SuiteError
from ravel.common.progress import Progress, silent
from ravel.facts.tables import Tables
from ravel.instance import Instance

__all__ = ["build_in_run"]


def build_in_run(
    run: RunFolder,
    tables: Callable[[], Tables],
    answerer: Callable[[], Answerer],
    config: BuildConfig,
    progress: Progress = silent,
) -> Instance:
    """Return the instance of a run, built and saved if the folder has none; tables and model are asked for
    only then.

    Raises SuiteError if the one that is there was built with other settings.
    """
    if not run.instance.is_dir():
        instance = build_instance(tables(), answerer(), config, progress)
        instance.save(run.instance)
        return instance
    instance = Instance.load(run.instance)
    if instance.manifest.config != config.model_dump(mode="json"):
        raise SuiteError(
            expected=f"a run of this kind in {run.path}",
            came="one whose instance was built with other settings",
            todo="choose another --out, or build with the settings of the first time",
        )
    return instance
