"""The model card of a featurizer: what it swaps, where, for which model, and how it scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import ScoreRecord, read_scores
from evaluation.report.cards.markdown import filled_card, tags
from evaluation.tracks import TRACKS

if TYPE_CHECKING:
    from das.featurizers.storage import FeaturizerHeader


def featurizer_card(folder: Path, scores: Sequence[ScoreRecord] | None = None) -> str:
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
    values = {
        "title": f"{header.method} for {target} of {header.entity_type} in {header.model}",
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
    return filled_card("featurizer", _meta(header), values)


def _meta(header: FeaturizerHeader) -> dict[str, Any]:
    meta = {"library_name": "ravel-bench", "tags": tags(header.method, header.entity_type)}
    # Only a hub id may stand here: the hub makes a link of it.
    if re.fullmatch(r"[\w.-]+/[\w.-]+", header.model) and not header.model.startswith("."):
        meta["base_model"] = header.model
    return meta


def _scores_of(folder: Path) -> list[ScoreRecord]:
    """Return the run's records of this cell, if the folder is a cell of a run with scores."""
    place = folder.resolve()
    run = RunFolder(place.parent.parent)
    if place.parent.name != "cells" or not run.scores.is_file():
        return []
    return [record for record in read_scores(run.scores) if record.cell == place.name]
