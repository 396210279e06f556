"""A featurizer's test scores as a hub reads them: `model-index` in its card, and files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.config.task import task_of_instance
from evaluation.records.measured import Measured
from evaluation.records.scores import ScoreRecord
from evaluation.report.cards.markdown import one_line
from evaluation.scoring.track import Track
from ravel.common.seeds import grouped
from ravel.common.strict_yaml import to_yaml
from ravel.terms.schema import split_name

RESULTS_FOLDER = ".eval_results"
_LEVEL = "95 % interval"


def task_name(entity_type: str, instance_fingerprint: str) -> str:
    """Return the name of the instance's task, or the type with the beginning of the fingerprint."""
    return task_of_instance(instance_fingerprint) or f"{entity_type}-{instance_fingerprint[:8]}"


def model_index(
    title: str, records: Sequence[ScoreRecord], track: Track[Any], task: str, dataset: str = ""
) -> list[dict[str, Any]]:
    """Return what stands in a card as `model-index`: a result per target attribute and test split, a metric
    per measure that has a value. `dataset` is the hub id of the instance; without one its task stands there.
    """
    results = [
        {
            "task": {"type": track.name, "name": f"{track.name} of {one_line(record.attribute)}"},
            "dataset": {
                "type": dataset or task,
                "name": f"{task}, {_split(record)}",
                "config": "pairs",
                "split": _split(record),
            },
            "metrics": [
                {
                    "type": name,
                    "name": f"{name} of {one_line(record.attribute)}",
                    "value": measured.value,
                    **({} if measured.interval is None else {"args": {_LEVEL: list(measured.interval)}}),
                }
                for name, measured in record.measures.items()
                if measured.value is not None
            ],
        }
        for record in _tested(records)
    ]
    return [{"name": one_line(title), "results": results}] if results else []


def eval_results(
    records: Sequence[ScoreRecord], track: Track[Any], task: str, dataset: str
) -> Mapping[str, str]:
    """Return the files of `.eval_results/` by name, one per test split: what the track chooses by, once per
    target attribute, for the data set `dataset`."""
    by_split = grouped(_tested(records), _split)
    return {
        f"{RESULTS_FOLDER}/{task}_{split}.yaml": to_yaml(
            list(_entries(own, track, task, dataset)), width=10_000
        )
        for split, own in by_split.items()
    }


def _entries(
    records: Sequence[ScoreRecord], track: Track[Any], task: str, dataset: str
) -> Iterator[dict[str, Any]]:
    for record in records:
        measured = record.measures[track.criterion]
        if measured.value is not None:
            yield {
                "dataset": {
                    "id": dataset,
                    "task_id": f"{task}_{_split(record)}_{one_line(record.attribute)}",
                },
                "value": measured.value,
                "notes": f"{track.criterion}; {_notes(record)}",
            }


def _notes(record: ScoreRecord) -> str:
    parts = [f"{name} {_told(measured)}" for name, measured in record.measures.items()]
    return "; ".join([f"method {one_line(record.method)}", *parts, f"metric {record.metric}"])


def _told(measured: Measured) -> str:
    if measured.value is None:
        return "none"
    if measured.interval is None:
        return f"{measured.value:.3f}"
    low, high = measured.interval
    return f"{measured.value:.3f} ({_LEVEL} {low:.3f} to {high:.3f})"


def _split(record: ScoreRecord) -> str:
    return split_name(record.generalisation, record.partition)


def _tested(records: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Return what is told: test pairs of every kind, in a fixed order."""
    own = (record for record in records if record.partition == "test" and record.source_kind == "all")
    return sorted(own, key=lambda record: (record.attribute, record.generalisation))
