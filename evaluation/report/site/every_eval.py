"""An entry as a record of Every Eval Ever (schema 0.3.0): what aggregators of evaluations read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from evaluation.records.measured import Measured
from evaluation.report.site.boards import Board, BoardRow
from evaluation.report.site.entries import Entry
from ravel import __version__
from ravel.terms.schema import Generalisation

SCHEMA_VERSION = "0.3.0"
_LEVEL = 0.95
_HOW = "t interval over entities and templates as clusters"


def record_of(board: Board, entry: Entry, date: str) -> dict[str, Any]:
    """Return an entry's record, dated `date` (YYYY-MM-DD): a result per method, attribute, way of holding out
    and measure. Measures without a value are left out: the format has no holes."""
    moment = str(int(datetime.fromisoformat(date).replace(tzinfo=timezone.utc).timestamp()))
    about = entry.about
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{board.task}/{board.model}/{moment}/{about.name}",
        "retrieved_timestamp": moment,
        "source_metadata": {
            "source_name": about.name,
            "source_type": "evaluation_run",
            "source_organization_name": ", ".join(about.authors) or "unnamed",
            "evaluator_relationship": "third_party",
            "additional_details": {
                "description": about.description,
                "tuned_by": about.tuned_by,
                "checked": about.checked,
            },
        },
        "eval_library": {"name": "ravel-bench", "version": __version__},
        "model_info": {
            "name": board.model,
            "id": board.model,
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "open_weights",
                "fingerprint": board.model_fingerprint,
            },
        },
        "evaluation_results": [
            result for row in board.rows if row.entry is entry for result in _results(board, row)
        ],
    }


def _results(board: Board, row: BoardRow) -> Iterator[dict[str, Any]]:
    for generalisation, measures in row.measures.items():
        for name, measured in measures.items():
            if measured.value is not None:
                yield _result(board, row, generalisation, name, measured)


def _result(
    board: Board, row: BoardRow, generalisation: Generalisation, name: str, measured: Measured
) -> dict[str, Any]:
    declared = next(measure for measure in board.track.measures if measure.name == name)
    attribute = row.attribute or "mean over attributes"
    return {
        "evaluation_result_id": f"{row.method}/{attribute}/{generalisation}/{name}",
        "evaluation_name": f"{board.track.name} {board.task}, {attribute}",
        "source_data": {
            "dataset_name": board.task,
            "source_type": "other",
            "additional_details": {"instance_fingerprint": board.instance_fingerprint},
        },
        "metric_config": {
            "metric_id": f"ravel_bench.{board.track.name}.{name}",
            "metric_name": name,
            "metric_unit": "proportion",
            "lower_is_better": not declared.higher_is_better,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
            "metric_parameters": {
                "method": row.method,
                "attribute": attribute,
                "held_out": generalisation,
                "point": row.point,
            },
        },
        "score_details": {"score": measured.value, "uncertainty": _uncertainty(measured)},
    }


def _uncertainty(measured: Measured) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if measured.interval is not None:
        low, high = measured.interval
        said["confidence_interval"] = {
            "lower": low,
            "upper": high,
            "confidence_level": _LEVEL,
            "method": _HOW,
        }
    if measured.n is not None:
        said["num_samples"] = measured.n
    return said
