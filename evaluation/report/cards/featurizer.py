"""The model card of a featurizer: what it swaps, where, for which model, and how it scored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import ScoreRecord, read_scores
from evaluation.report.cards.hub_results import eval_results, model_index, task_name
from evaluation.report.cards.markdown import filled_card, tags
from evaluation.tracks import TRACKS

if TYPE_CHECKING:
    from das.featurizers.storage import FeaturizerHeader


@dataclass(frozen=True, slots=True)
class OnHub:
    """What a featurizer is linked with on a hub."""

    dataset: str = ""
    """Hub id of the instance; empty if it is not there."""
    base_model: str = ""
    """Hub id of the target model; empty: the model's name, if that is one."""


def featurizer_card(
    folder: Path, scores: Sequence[ScoreRecord] | None = None, on_hub: OnHub | None = None
) -> str:
    """Return the card of a featurizer: what it swaps, where, for which model, how it scored, how to load it.

    Without `scores` those of the run are taken if the folder is a cell of one. Raises SuiteError if the
    featurizer is damaged.
    """
    from das.edits.base import Edit
    from das.edits.storage import load_finding
    from das.featurizers.base import Featurizer

    featurizer, header = load_finding(folder)
    records = _scores_of(folder) if scores is None else scores
    track = TRACKS.get(records[0].track if records else INTERCHANGE)
    target = "every attribute" if header.attribute == "*" else header.attribute
    title = f"{header.method} for {target} of {header.entity_type} in {header.model}"
    values = {
        "title": title,
        "featurizer": featurizer,
        "swaps": isinstance(featurizer, Featurizer),
        "steers": isinstance(featurizer, Edit),
        "header": header,
        "target": target,
        "track": track,
        "counted": [n for n in track.names if any(r.measures[n].n is not None for r in records)],
        "scores": sorted(
            (record for record in records if record.source_kind == "all"),
            key=lambda r: (r.attribute, r.partition, r.generalisation),
        ),
    }
    told = _meta(header, on_hub or OnHub())
    task = task_name(header.entity_type, header.instance_fingerprint)
    index = model_index(title, records, track, task, told.get("datasets", [""])[0])
    return filled_card("featurizer", told | ({"model-index": index} if index else {}), values)


def featurizer_results(folder: Path, dataset: str) -> Mapping[str, str]:
    """Return the files of `.eval_results/` of a featurizer that is a cell of a run, by name; none of any
    other. `dataset` is the hub id of its instance. Raises SuiteError if the featurizer is damaged."""
    from das.edits.storage import load_finding

    records = _scores_of(folder)
    if not records:
        return {}
    _, header = load_finding(folder)
    task = task_name(header.entity_type, header.instance_fingerprint)
    return eval_results(records, TRACKS.get(records[0].track), task, dataset)


def _meta(header: FeaturizerHeader, on_hub: OnHub) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "library_name": "ravel-bench",
        "tags": tags(header.method, header.entity_type, header.attribute),
    }
    base_model = on_hub.base_model or (header.model if is_hub_id(header.model) else "")
    if base_model:
        meta["base_model"] = base_model
    if on_hub.dataset:
        meta["datasets"] = [on_hub.dataset]
    return meta


def is_hub_id(name: str) -> bool:
    """Tell whether a name can be that of a hub's repository, of which the hub makes a link."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith(".")


def _scores_of(folder: Path) -> list[ScoreRecord]:
    """Return the run's records of this cell, if the folder is a cell of a run with scores."""
    place = folder.resolve()
    run = RunFolder(place.parent.parent)
    if place.parent.name != "cells" or not run.scores.is_file():
        return []
    return [record for record in read_scores(run.scores) if record.cell == place.name]
