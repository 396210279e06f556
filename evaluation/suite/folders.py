"""The steps of a run one at a time, folder in and folder out: build an instance, fit, score."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from das.edits.storage import load_finding
from das.engine import EngineAnswerer
from das.featurizers.storage import FeaturizerHeader
from das.methods.registry import METHODS
from das.models.base import TargetModel
from das.models.placing import AUTO
from evaluation.config.judging import Judging
from evaluation.config.suite import MethodSpec, SuiteConfig
from evaluation.config.target import TargetConfig, TargetSettings
from evaluation.judging.recognition import check_gave_labels, note_to, recognise
from evaluation.judging.score import ScoreRequest, saved_featurizer_id, score_featurizer
from evaluation.records.headers import cell_of, read_cell_header
from evaluation.records.lock import run_lock
from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import ScoreRecord
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.fit import run_cells
from evaluation.suite.execution.build_in_run import build_into
from evaluation.suite.grid import plan_cells, resolve
from evaluation.tracks import TRACKS, track_of
from ravel.asking.kept_answers import kept_folder
from ravel.building.config import BuildConfig
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import read_json, remove_folder
from ravel.common.progress import Counted, Progress, counting, silent
from ravel.facts.sources import open_tables
from ravel.instance import Instance, Manifest


def build_folder(
    data: str,
    entity_type: str,
    target: TargetConfig,
    config: BuildConfig,
    out: Path,
    progress: Progress = silent,
) -> Instance:
    """Build the instance of an entity type for a target model and save it in the new folder `out`.

    Answers are kept in `<out>.partial` until the instance is written: a build that was killed goes on when
    it is started again, and ends in the same bytes. Raises SuiteError for a bad source, model, config or
    folder, where the model knows too little, and where another process builds there; the folder is checked
    before the model is asked anything.
    """
    tables = open_tables(data, entity_type)
    if not kept_folder(out).is_dir():
        check_new_folder(out)
    kept = kept_folder(out)
    try:
        with run_lock(kept):
            progress(Counted("model", 0, 1))
            answerer = EngineAnswerer(target.open())
            progress(Counted("model", 1, 1))
            return build_into(out, tables, answerer, config, progress)
    finally:
        if kept.is_dir() and not any(kept.iterdir()):
            remove_folder(kept)


@dataclass(frozen=True, slots=True)
class FitRequest:
    """One fit, as a user asks for it."""

    method: str
    """Name of the method."""
    settings: Mapping[str, Any]
    """Settings of the method that differ from its defaults."""
    attribute: str | None
    """The target; None where the method needs none."""
    site: str
    """Where the featurizer acts."""
    size: int | None
    """Number of coordinates; None where it follows from the method."""
    seed: int
    """Root of the fit's random streams."""


def fit_folder(
    request: FitRequest, instance_folder: Path, target: TargetConfig, out: Path, progress: Progress = silent
) -> FeaturizerHeader:
    """Fit one method and save the featurizer with its log in the new folder `out`; return its header.

    An interrupted fit leaves its checkpoints in `unfinished_fit(out)`, from which an equal call goes on.
    Raises SuiteError for an unknown name, a layer or size that the model lacks, a model that did not give
    the instance's labels, and a folder that can't be written.
    """
    method = METHODS.get(request.method)
    if method.needs_attribute and request.attribute is None:
        raise _left_out(f"a target attribute, for {method.name} needs one", "--attribute")
    if method.needs_size and request.size is None:
        raise _left_out(f"a number of coordinates, for {method.name} needs one", "--dim")
    check_new_folder(out)
    instance = Instance.load(instance_folder)
    if request.size is not None and request.size < 1:
        came = str(request.size)
        raise SuiteError(expected="at least one coordinate", came=came, todo="choose a --dim of 1 or more")
    engine = target.open()
    recognise(engine, instance.model_fingerprint, note_to(progress))
    config = _suite_of_one(request, instance, engine.target)
    (cell,) = plan_cells(config, instance, engine.target)
    work = RunFolder(unfinished_fit(out))
    track, judging = track_of(config), config.judging()
    judge = track.judge(engine, judging)
    context = RunContext(instance.without_test(), engine.target, work, track, judging, opened=judge)
    run_cells([cell], context, (), progress, keep_refusal=False)
    with new_folder(out) as staging:
        shutil.copytree(work.cell(cell.cell_id).path, staging, dirs_exist_ok=True)
    remove_folder(work.path)
    return load_finding(out)[1]


def unfinished_fit(out: Path) -> Path:
    """Return the folder that keeps the checkpoints of a fit into `out` until it is finished."""
    return out.with_name(f".{out.name}.fit")


def _left_out(expected: str, flag: str) -> SuiteError:
    return SuiteError(expected=expected, came="none", todo=f"give it with {flag}")


def _suite_of_one(request: FitRequest, instance: Instance, target: TargetModel) -> SuiteConfig:
    attributes = instance.attributes[:1] if request.attribute is None else (request.attribute,)
    config = SuiteConfig(
        instance="",
        methods=(MethodSpec(name=request.method, config=dict(request.settings)),),
        floors=False,
        attributes=attributes,
        sites=(request.site,),
        sizes=() if request.size is None else (request.size,),
        seeds=(request.seed,),
    )
    return resolve(config, instance, target)


def score_folder(
    folder: Path,
    instance_folder: Path,
    target: TargetConfig,
    request: ScoreRequest,
    progress: Progress = silent,
) -> list[ScoreRecord]:
    """Score a saved featurizer on one split, a record per target attribute; nothing is written.

    A cell of a run is asked what its track asks, any other featurizer what interchange does. Raises
    SuiteError for damaged files, a featurizer or instance of another model (unless allowed), an unknown
    attribute, and a split without pairs.
    """
    instance, stated = Instance.load(instance_folder), _cell_header(folder)
    track = TRACKS.get(stated.get("track", INTERCHANGE))
    # Before the model is loaded: a damaged file is found in milliseconds.
    load_finding(folder, instance_fingerprint=instance.fingerprint, allow_foreign=request.allow_foreign)
    engine = target.open()
    recognise(engine, instance.model_fingerprint, note_to(progress))
    if not request.allow_foreign:
        todo = "score with that model and dtype, or allow it with --allow-foreign"
        check_gave_labels(engine.target, instance, todo)
    fingerprint = engine.target.fingerprint
    featurizer, header = load_finding(
        folder, target_fingerprint=fingerprint, allow_foreign=request.allow_foreign
    )
    engine.target.check(header.site)
    served = instance.attributes if header.attribute == "*" else (header.attribute,)
    judging = Judging(request.label_tokens, request.tolerance, stated.get("track_config", {}))
    return score_featurizer(
        instance,
        track,
        track.judge(engine, judging),
        featurizer,
        saved_featurizer_id(cell_of(folder), header, featurizer.size, instance, engine),
        replace(request, attributes=request.attributes or served),
        progress=counting(progress, "pairs"),
    )


def _cell_header(folder: Path) -> dict[str, Any]:
    """Return what the cell's file states where the featurizer is a run's, else nothing."""
    cell_file = folder / "cell.json"
    return read_cell_header(cell_file) if cell_file.is_file() else {}


def model_named_in(folder: Path) -> str:
    """Return the target model that a run or an instance names: a hub id, a folder or `bundled`.

    Raises SuiteError if the folder holds neither, or its first file is damaged.
    """
    run = RunFolder(folder)
    if run.config.is_file():
        return SuiteConfig.from_file(run.config).model
    return _manifest_in(folder).model_name


_Settings = TypeVar("_Settings", bound=TargetSettings)


def with_dtype_of(target: _Settings, folder: Path) -> _Settings:
    """Return the settings with the dtype that a run or an instance was made in, if theirs is `auto`; without
    one stated there they stay. Raises SuiteError as `model_named_in`."""
    if target.dtype != AUTO:
        return target
    run = RunFolder(folder)
    if run.config.is_file():
        stated: str | None = SuiteConfig.from_file(run.config).dtype
    else:
        stated = _manifest_in(folder).instrument.get("dtype")
    return target if stated is None else target.model_copy(update={"dtype": stated})


def _manifest_in(folder: Path) -> Manifest:
    manifest = folder / "manifest.json"
    return Manifest.from_json(read_json(manifest), origin=str(manifest))
