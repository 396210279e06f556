"""Records go to JSON and back, and refuse what they can't vouch for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from outcome_world import average_record, outcome, score_record

from evaluation.records.measured import Measured
from evaluation.records.scores import (
    SCORE_SCHEMA_VERSION,
    AverageRecord,
    ComparisonRecord,
    Outcome,
    ScoreRecord,
    read_scores,
)
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, write_jsonl, write_text

COMPARISON = ComparisonRecord(
    schema_version=SCORE_SCHEMA_VERSION,
    first="das",
    second="mdas",
    entity_type="city",
    model="bundled",
    attributes=("Country",),
    generalisation="entity",
    partition="test",
    measures={
        "cause": Measured(0.1, (0.05, 0.15)),
        "isolate": Measured(-0.2),
        "disentangle": Measured(-0.05, (-0.1, 0.0)),
    },
)


@pytest.mark.parametrize(
    "record", [score_record(), score_record(cause=None, cause_interval=None), average_record(), COMPARISON]
)
def test_records_survive_json(record: ScoreRecord | AverageRecord | ComparisonRecord) -> None:
    row = json.loads(canonical_json(record.to_json()))
    assert type(record).from_json(row, origin="here") == record


def test_outcomes_survive_a_file(tmp_path: Path) -> None:
    outcomes = [outcome("A", "A1 \u2028 ü", f"e{i}", "swapped") for i in range(3)]
    write_jsonl(tmp_path / "o.jsonl", (o.to_json() for o in outcomes))
    assert Outcome.read(tmp_path / "o.jsonl") == outcomes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unknown: extra"),
        ({"n_disentangle": 60}, "unknown: n_disentangle"),
        ({"schema_version": SCORE_SCHEMA_VERSION + 1}, "read it with the newer ravel-bench"),
        ({"cause": float("nan")}, "NaN or infinity in cause"),
        ({"cause_interval": [0.1, float("inf")]}, "NaN or infinity in cause_interval"),
    ],
)
def test_foreign_rows_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        ScoreRecord.from_json(score_record().to_json() | change, origin="here")


def test_a_missing_field_is_named_with_file_and_line(tmp_path: Path) -> None:
    row = score_record().to_json()
    write_text(tmp_path / "s.jsonl", canonical_json(row) + "\n" + canonical_json({"cell": "x"}) + "\n")
    with pytest.raises(SuiteError, match=r"s\.jsonl, line 2; got missing: attribute, cause"):
        read_scores(tmp_path / "s.jsonl")
    with pytest.raises(SuiteError, match="missing: attribute"):
        Outcome.from_json({}, origin="here")


def test_scores_and_tables_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None;"
        "import evaluation.records.scores, evaluation.records.run_folder;"
        "import evaluation.scoring.interchange.metrics, evaluation.scoring.intervals;"
        "import evaluation.scoring.averages;"
        "import evaluation.scoring.selection, evaluation.scoring.summary;"
        "import evaluation.report.tables, evaluation.report.plots"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
