"""Builds an instance so that it survives a kill, in a folder of its own or inside that of a run; it knows no
suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from das.engine import EngineAnswerer
from evaluation.records.run_folder import RunFolder
from evaluation.suite.execution.decoding import sharpest
from evaluation.suite.execution.divided_answers import dividing
from ravel import __version__
from ravel.asking.kept_answers import KeptAnswers, kept_folder
from ravel.building import NothingLeftError, build_instance
from ravel.building.config import BuildConfig
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder
from ravel.common.io import remove_folder
from ravel.common.progress import Note, Progress, silent
from ravel.facts.tables import Tables
from ravel.instance import Instance, instance_warnings
from ravel.terms.schema import PARTITIONS

_AFTER_ANSWERS = (
    *("allow_ignorance", "flip_sample", "train_pairs", "evaluation_pairs", "source_shares"),
    *("label_smoothing", "label_tokens"),
)
"""Settings of a build that change no answer, and so may change before it goes on."""


def build_in_run(
    run: RunFolder,
    tables: Callable[[], Tables],
    answerer: Callable[[], EngineAnswerer],
    config: BuildConfig,
    progress: Progress = silent,
) -> Instance:
    """Return the instance of a run, built and saved if the folder has none; tables and model are asked for
    only then.

    Raises SuiteError if the one that is there was built with other settings.
    """
    if not run.instance.is_dir():
        instance = build_into(run.instance, tables(), answerer(), config, progress)
        for warning in instance_warnings(instance.manifest):
            progress(Note(warning))
    else:
        instance = Instance.load(run.instance)
        if instance.manifest.config != config.model_dump(mode="json"):
            raise SuiteError(
                expected=f"a run of this kind in {run.path}",
                came="one whose instance was built with other settings",
                todo="choose another --out, or build with the settings of the first time",
            )
    # Answers under other settings, and those of a build that was killed just behind its last write.
    remove_folder(kept_folder(run.instance))
    return instance


def build_into(
    out: Path, tables: Tables, answerer: EngineAnswerer, config: BuildConfig, progress: Progress = silent
) -> Instance:
    """Build an instance and save it in the new folder `out`.

    Answers lie in `<out>.partial` until the instance is written, so that a build which was killed at any time
    goes on when this is called again, and ends in the same bytes. They stay after an error that leaves
    something to go on with, such as a full disk or a refusal that `allow_ignorance` lifts. Raises SuiteError
    as `build_instance` does, and where the folder can't be written.
    """
    if config.decoding == "sharp":
        return _built(out, tables, sharpest(answerer.engine, tables, config, progress), config, progress)
    with dividing(answerer, _questions(tables, config)) as divided:
        return _built(out, tables, divided, config, progress)


def _questions(tables: Tables, config: BuildConfig) -> int:
    """Return how many questions there are, roughly."""
    entities = len(tables.entities)
    if config.max_entities is not None:
        entities = min(entities, len(PARTITIONS) * config.max_entities)
    return entities * len(tables.templates)


def _built(
    out: Path, tables: Tables, answerer: EngineAnswerer, config: BuildConfig, progress: Progress
) -> Instance:
    kept = KeptAnswers(answerer, kept_folder(out), _answers_key(tables, answerer, config), progress)
    if kept.begun and (out / "manifest.json").is_file():
        # Killed between its last two writes: the instance was whole before its answers went.
        instance = Instance.load(out)
    else:
        check_new_folder(out)
        try:
            instance = build_instance(tables, kept, config, progress)
        except NothingLeftError:
            kept.finish()
            raise
        instance.save(out)
    kept.finish()
    return instance


def _answers_key(tables: Tables, answerer: EngineAnswerer, config: BuildConfig) -> dict[str, Any]:
    """Return everything that determines a model's answers and their order."""
    return {
        "entity_type": tables.entity_type.name,
        "entities": [asdict(facts) for facts in tables.entities],
        "templates": [asdict(template) for template in tables.templates],
        "model": answerer.fingerprint,
        "numerics": dict(answerer.numerics),
        "config": config.model_dump(mode="json", exclude=set(_AFTER_ANSWERS)),
        "versions": [__version__, version("torch"), version("transformers")],
    }
